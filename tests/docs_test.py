"""Checks what the pages and scripts say against what is there: links, paths, commands and flags.

Run by ctest, which names the built programs:
    /usr/bin/python3 tests/docs_test.py [--programs THRESHERD THRESHER]
"""

import pathlib
import re
import subprocess
import sys
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = []

FOLDERS = ("core", "server", "client", "proto", "deploy", "figures", "tests", "cmake")
ROOT_FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Dockerfile", "CMakeLists.txt")

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# `core/recovery/recovery.h` or `deploy/quickstart.sh`, with a suffix so that it is meant as a file.
NAMED_FILE = re.compile(r"`((?:%s)/[\w./-]+\.(?:h|cc|md|sh|py|proto|txt|yml|yaml|json))`" % "|".join(FOLDERS))
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9_]*)")


def files(*suffixes):
    """Our own files with these suffixes: (path from the root, text)."""
    paths = [REPOSITORY / name for name in ROOT_FILES]
    for folder in FOLDERS:
        paths += sorted((REPOSITORY / folder).rglob("*"))
    for path in paths:
        if path.is_file() and (path.suffix in suffixes or path.name in suffixes):
            yield path.relative_to(REPOSITORY).as_posix(), path.read_text()


def anchor(heading):
    """The anchor that a heading gets in Markdown."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text):
    return {anchor(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")}


# A call of thresherd with flags, or of thresher with a command or a flag that stands before one.
# (`thresher` is also the name of a user, an image and a folder.)
CALL = re.compile(r"""\b(?:(thresherd)["',]*\s+["']?(?=--)|(thresher)\s+(?=--(?:server|json|timeout)\b"""
                  r"""|(?:server|health|datasets|recover|prune|sweep|compare|jobs|models)\b))(.*)""")


def commands(text):
    """Each call of one of our programs in a text, its continuation lines joined."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        call = CALL.search(line)
        if call:
            yield call[1] or call[2], call[3].split("`")[0].split("|")[0]


def help_of(program, *words):
    return subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True).stdout


class PagesTest(unittest.TestCase):
    def test_links_lead_somewhere(self):
        broken = []
        for name, text in files(".md"):
            for target in LINK.findall(text):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, fragment = target.partition("#")
                file = (REPOSITORY / name).parent / path if path else REPOSITORY / name
                if not file.exists():
                    broken.append(f"{name}: {target}")
                elif fragment and file.suffix == ".md" and fragment not in anchors(file.read_text()):
                    broken.append(f"{name}: {target}: no such heading")
        self.assertEqual(broken, [])

    def test_files_that_pages_name_exist(self):
        absent = [f"{name}: {path}" for name, text in files(".md") for path in NAMED_FILE.findall(text)
                  if not (REPOSITORY / path).exists()]
        self.assertEqual(absent, [])

    def test_nothing_is_left_to_do_later(self):
        marks = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b")
        left = [f"{name}: {line.strip()}"
                for name, text in files(".h", ".cc", ".py", ".sh", ".md", ".proto", ".txt", ".yml", ".yaml")
                for line in text.splitlines() if marks.search(line)]
        self.assertEqual(left, [])


class CommandsTest(unittest.TestCase):
    """Flags that pages, scripts and the container use are flags that the programs know."""

    def setUp(self):
        if not PROGRAMS:
            self.skipTest("no programs named")
        thresherd, thresher = PROGRAMS
        words = [["datasets", "plant"], ["datasets", "upload"], ["recover"], ["prune"], ["sweep"],
                 ["sweep", "table"], ["sweep", "plot"], ["compare"]]
        words += [[group, word] for group in ("datasets", "jobs", "models") for word in ("list", "get", "delete")]
        words += [["jobs", "watch"], ["jobs", "cancel"], ["jobs", "plot"], ["models", "download"], ["models", "predict"],
                  ["models", "upload"], ["models", "convert"], ["models", "report"],
                  ["server", "info"], ["health"]]
        self.known = {
            "thresherd": set(FLAG.findall(help_of(thresherd))),
            "thresher": set(FLAG.findall(help_of(thresher) + "".join(help_of(thresher, *w) for w in words))),
        }

    def test_help_explains_the_flags_of_the_contract(self):
        contract = {
            "thresherd": "listen_address metrics_address data_dir workers threads_per_job memory_budget version",
            "thresher": "server json id num_samples num_inputs hidden_width nonzeros seed noise_db output_signs "
                        "inputs targets csv target classes dataset algorithm gates max_iterations watch version",
        }
        for program, flags in contract.items():
            self.assertEqual(set(flags.split()) - self.known[program], set(), program)

    def test_flags_that_pages_and_scripts_use_exist(self):
        wrong, seen = [], 0
        for name, text in files(".md", ".sh", "Dockerfile"):
            for program, arguments in commands(text):
                for flag in FLAG.findall(arguments):
                    seen += 1
                    if flag not in self.known[program] | {"help"}:
                        wrong.append(f"{name}: {program} {arguments}: --{flag}")
        self.assertEqual(wrong, [])
        self.assertGreater(seen, 10)

    def test_finds_a_wrong_flag(self):
        found = list(commands("  thresher recover --nonsense 3 \\\n   --watch\nENTRYPOINT [\"thresherd\", \"--x=1\"]"))
        self.assertEqual([program for program, _ in found], ["thresher", "thresherd"])
        self.assertEqual([FLAG.findall(arguments) for _, arguments in found], [["nonsense", "watch"], ["x"]])


if __name__ == "__main__":
    if "--programs" in sys.argv:
        at = sys.argv.index("--programs")
        PROGRAMS = sys.argv[at + 1:at + 3]
        del sys.argv[at:at + 3]
    unittest.main()
