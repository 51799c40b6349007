"""Checks that includes follow the layers: client -> proto <- server -> core.

Run by ctest; by hand: /usr/bin/python3 tests/layering_test.py
"""

import pathlib
import re
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# Third-party headers by the library that they come from.
LIBRARIES = {
    "grpc": r"grpc/|grpcpp/|grpc\+\+/|.*\.grpc\.pb\.h$",
    "protobuf": r"google/|thresher/v1/|.*\.pb\.h$",
    "sqlite": r"sqlite3",
    "spdlog": r"spdlog/|fmt/",
    "prometheus": r"prometheus/|civetweb",
    "cli11": r"CLI/",
    "openssl": r"openssl/",
}
ALL = set(LIBRARIES)

# The rooms of core in the order of their dependencies: each may include those
# that stand before it, and itself.
CORE_ROOMS = ["formats", "gates", "network", "model_files", "samples", "kernels", "iteration",
              "refinement", "pruning", "recovery"]

# Folder -> (libraries it must not see, folders of ours it may include from).
# The longest matching folder decides; a file may be named as well.
FOLDERS = {
    "core": (ALL, ["core"]),
    "server/store": ({"grpc", "protobuf", "cli11", "prometheus"}, ["core", "server/store"]),
    "server/jobs": ({"grpc", "protobuf", "cli11", "prometheus", "sqlite"},
                    ["core", "server/store", "server/jobs"]),
    "server/telemetry": ({"grpc", "protobuf", "sqlite", "cli11"},
                         ["core", "server/store", "server/jobs", "server/telemetry"]),
    "server/rpc": ({"sqlite", "cli11"}, ["core", "server"]),
    "server": (set(), ["core", "server"]),
    # Files on the user's machine are converted without a server.
    "client": ({"sqlite", "prometheus"}, ["client", "core/model_files"]),
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder_of(path):
    """The longest folder of FOLDERS that holds `path`, or None."""
    fitting = [folder for folder in FOLDERS if path.startswith(folder + "/")]
    return max(fitting, key=len, default=None)


def violations(root):
    """Every include under `root` that breaks a rule, as 'file:line: sentence'."""
    found = []
    for top in ("core", "server", "client"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in (".h", ".cc"):
                continue
            path = file.relative_to(root).as_posix()
            folder = folder_of(path)
            for number, line in enumerate(file.read_text().splitlines(), 1):
                include = INCLUDE.match(line)
                if include:
                    sentence = judge(path, folder, include[1], include[2])
                    if sentence:
                        found.append(f"{path}:{number}: {sentence}")
    return found


def judge(path, folder, quote, header):
    """What is wrong with `path` including `header`, or None."""
    forbidden, allowed = FOLDERS[folder]
    first = header.split("/")[0]
    if first in ("core", "server", "client", "tests"):
        if quote == "<":
            return f'write "{header}", not <{header}>: it is ours'
        if not any(header.startswith(other + "/") for other in allowed):
            return f"{folder} must not include {header}"
        if first == "core" and folder == "core":
            room, other = path.split("/")[1], header.split("/")[1]
            for name in (room, other):
                if name not in CORE_ROOMS:
                    return f"core/{name} is not in CORE_ROOMS: say where it stands"
            if CORE_ROOMS.index(other) > CORE_ROOMS.index(room):
                return f"core/{room} stands before core/{other} and must not include {header}"
        return None
    for library in sorted(forbidden):
        if re.match(LIBRARIES[library], header):
            return f"{folder} must not see {library} ({header})"
    if quote == '"' and "/" not in header:
        return f'name "{header}" from the root of the repository'
    return None


class TreeTest(unittest.TestCase):
    def test_includes_follow_the_layers(self):
        self.assertEqual(violations(REPOSITORY), [])

    def test_finds_sources_in_every_layer(self):
        for top in ("core", "server", "client"):
            self.assertTrue(list((REPOSITORY / top).rglob("*.cc")), f"no sources under {top}")

    def test_every_core_room_is_ordered(self):
        rooms = {path.name for path in (REPOSITORY / "core").iterdir() if path.is_dir()}
        self.assertEqual(rooms - set(CORE_ROOMS), set())


class RulesTest(unittest.TestCase):
    """A planted violation of each rule is found; what is allowed is not."""

    def assert_found(self, path, line, sentence):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True)
            file.write_text(f"// Comment.\n{line}\n")
            found = violations(pathlib.Path(folder))
        if sentence is None:
            self.assertEqual(found, [])
        else:
            self.assertEqual(len(found), 1, f"{path}: {line}")
            self.assertTrue(found[0].startswith(f"{path}:2: "), found[0])
            self.assertIn(sentence, found[0])

    def test_forbidden(self):
        for path, line, sentence in [
            ("core/recovery/a.cc", "#include <grpcpp/grpcpp.h>", "core must not see grpc"),
            ("core/network/a.h", '#include "thresher/v1/job.pb.h"', "core must not see protobuf"),
            ("core/network/a.h", "#include <google/protobuf/message.h>", "core must not see protobuf"),
            ("core/samples/a.cc", "#include <sqlite3.h>", "core must not see sqlite"),
            ("core/kernels/a.cc", "#  include <spdlog/spdlog.h>", "core must not see spdlog"),
            ("core/gates/a.cc", '#include "server/jobs/job.h"', "core must not include"),
            ("core/formats/a.cc", '#include "core/recovery/recovery.h"', "stands before"),
            ("core/samples/a.cc", '#include "core/kernels/parallel.h"', "stands before"),
            ("server/jobs/a.cc", "#include <grpcpp/server.h>", "must not see grpc"),
            ("server/jobs/a.h", '#include "thresher/v1/job.pb.h"', "must not see protobuf"),
            ("server/jobs/a.h", '#include "server/rpc/convert.h"', "must not include"),
            ("server/jobs/a.cc", '#include "server/telemetry/metrics.h"', "must not include"),
            ("server/store/a.cc", '#include "server/jobs/job.h"', "must not include"),
            ("server/store/a.cc", '#include "thresher/v1/job.pb.h"', "must not see protobuf"),
            ("server/telemetry/a.cc", "#include <grpcpp/server.h>", "must not see grpc"),
            ("server/rpc/a.cc", "#include <sqlite3.h>", "must not see sqlite"),
            ("server/rpc/a.cc", '#include "client/client.h"', "must not include"),
            ("client/a.cc", '#include "core/network/network.h"', "client must not include"),
            ("client/a.cc", '#include "server/jobs/job.h"', "client must not include"),
            ("client/a.cc", "#include <core/network/network.h>", "it is ours"),
            ("core/gates/a.cc", '#include "random_gates.h"', "from the root of the repository"),
        ]:
            with self.subTest(path=path, line=line):
                self.assert_found(path, line, sentence)

    def test_allowed(self):
        for path, line in [
            ("core/recovery/a.cc", '#include "core/formats/npy.h"'),
            ("core/recovery/a.cc", "#include <absl/status/status.h>"),
            ("core/recovery/a.cc", "#include <vector>"),
            ("core/recovery/a.cc", "// #include <grpcpp/grpcpp.h>"),
            ("server/jobs/a.cc", '#include "core/recovery/recovery.h"'),
            ("server/store/a.cc", "#include <sqlite3.h>"),
            ("server/rpc/a.cc", '#include "thresher/v1/job.grpc.pb.h"'),
            ("server/rpc/a.cc", '#include "core/recovery/recovery.h"'),
            ("server/thresherd.cc", "#include <CLI/CLI.hpp>"),
            ("client/a.cc", '#include "thresher/v1/job.grpc.pb.h"'),
        ]:
            with self.subTest(path=path, line=line):
                self.assert_found(path, line, None)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
