"""Checks the files in deploy/ against each other, the sources and the tools that read them.

Run by ctest, which names the built programs:
    /usr/bin/python3 tests/deploy_test.py [--programs THRESHERD THRESHER]
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = REPOSITORY / "deploy"
PROGRAMS = []

# Series that Prometheus makes itself, and the suffixes that it gives a histogram's.
OF_PROMETHEUS = {"up", "ALERTS"}
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def packages(name):
    lines = (DEPLOY / "packages" / f"{name}.txt").read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def dashboard():
    return json.loads((DEPLOY / "grafana/dashboards/thresher.json").read_text())


def dashboard_expressions():
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def alert_rules():
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metric_names(expression):
    """The names of the metrics that an expression reads."""
    without_labels = re.sub(r"\{[^}]*\}", "{}", re.sub(r'"[^"]*"', '""', expression))
    return {SUFFIXES.sub("", name) for name in re.findall(r"\b(?:thresher|process)_\w+", without_labels)}


class MetricsTest(unittest.TestCase):
    """Alerts and dashboard parse, and read only metrics that the server writes."""

    def setUp(self):
        self.promtool = shutil.which("promtool")
        self.assertTrue(self.promtool, "promtool is not on the PATH: see deploy/promtool.sh")

    def assert_runs(self, *command, **options):
        result = run(self.promtool, *command, **options)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_prometheus_takes_the_configuration(self):
        self.assert_runs("check", "config", "prometheus.yml", cwd=DEPLOY / "prometheus")

    def test_alerts_fire_when_they_should(self):
        self.assert_runs("test", "rules", "alerts_test.yml", cwd=DEPLOY / "prometheus")

    def test_every_alert_is_tested(self):
        text = (DEPLOY / "prometheus/alerts_test.yml").read_text()
        untested = [rule["alert"] for rule in alert_rules() if rule["alert"] not in text]
        self.assertEqual(untested, [])

    def test_prometheus_takes_the_expressions_of_the_dashboard(self):
        rules = []
        for number, expression in enumerate(dashboard_expressions()):
            expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
            self.assertNotIn("$", expression)
            rules.append({"record": f"dashboard:{number}", "expr": expression})
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            self.assert_runs("check", "rules", file.name)

    def test_metrics_are_written_by_the_server(self):
        sources = "".join(
            file.read_text() for file in (REPOSITORY / "server").rglob("*") if file.suffix in (".h", ".cc"))
        expressions = dashboard_expressions() + [rule["expr"] for rule in alert_rules()]
        named = set().union(*map(metric_names, expressions))
        self.assertTrue(named)
        unknown = sorted(name for name in named - OF_PROMETHEUS if f'"{name}"' not in sources)
        self.assertEqual(unknown, [], "no such metric in server/")


class ContainerTest(unittest.TestCase):
    """Dockerfile, compose.yaml and Prometheus name the same ports and users."""

    def setUp(self):
        self.dockerfile = (REPOSITORY / "Dockerfile").read_text()
        self.compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        self.exposed = re.search(r"^EXPOSE (.*)$", self.dockerfile, re.M)[1].split()

    def test_ports_agree(self):
        entrypoint = json.loads(re.search(r"^ENTRYPOINT (.*)$", self.dockerfile, re.M)[1])
        flags = dict(argument[2:].split("=") for argument in entrypoint[1:])
        listening = [flags[flag].split(":")[1] for flag in ("listen_address", "metrics_address")]
        self.assertEqual(listening, self.exposed)
        published = self.compose["services"]["thresherd"]["ports"]
        self.assertEqual([port.split(":")[2] for port in published], self.exposed)
        prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        self.assertEqual(
            prometheus["scrape_configs"][0]["static_configs"][0]["targets"], [f"thresherd:{self.exposed[1]}"])

    def test_only_this_machine_reaches_the_ports(self):
        for name, service in self.compose["services"].items():
            for port in service["ports"]:
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")

    def test_runs_as_nobody_special(self):
        self.assertIn("USER 65532:65532", self.dockerfile)
        self.assertLess(self.dockerfile.index("\nUSER "), self.dockerfile.index("\nENTRYPOINT "))

    def test_copies_only_what_dockerignore_lets_through(self):
        allowed = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
        for line in re.findall(r"^COPY (?!--from)(.*)$", self.dockerfile, re.M):
            for source in line.split()[:-1]:
                self.assertTrue((REPOSITORY / source).exists(), source)
                self.assertTrue(
                    any(source.rstrip("/") == path or source.startswith(path + "/") for path in allowed), source)

    def test_mounted_files_exist(self):
        for service in self.compose["services"].values():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((DEPLOY / source).exists(), source)
                else:
                    self.assertIn(source, self.compose["volumes"])


class PackagesTest(unittest.TestCase):
    def test_lists_name_a_package_once(self):
        for file in (DEPLOY / "packages").iterdir():
            names = packages(file.stem)
            self.assertTrue(names, file.name)
            self.assertEqual(len(names), len(set(names)), file.name)

    def test_run_list_holds_every_library_of_the_programs(self):
        if not PROGRAMS:
            self.skipTest("no programs named")
        always_there = {"libc6", "libgcc-s1", "libstdc++6"}
        for program in PROGRAMS:
            needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", program).stdout)
            self.assertTrue(needed, program)
            for library in needed:
                owners = {line.split(":")[0] for line in run("dpkg-query", "-S", f"*/{library}").stdout.splitlines()}
                self.assertTrue(
                    owners & (set(packages("run")) | always_there), f"{program} needs {library} of {sorted(owners)}")

    def test_unknown_list_is_refused_by_name(self):
        result = run(DEPLOY / "install_packages.sh", "nonsense")
        self.assertEqual(result.returncode, 1)
        self.assertIn("there is no list named 'nonsense'", result.stderr)

    def test_nothing_to_install_is_silent(self):
        result = run(DEPLOY / "install_packages.sh", "test")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_a_refusing_sudo_is_a_clear_sentence(self):
        with tempfile.TemporaryDirectory() as folder:
            programs = pathlib.Path(folder)
            for name, script in {"id": "echo 1000", "sudo": "exit 1",
                                 "dpkg-query": "exit 1", "apt-get": "exit 100"}.items():
                (programs / name).write_text(f"#!/bin/sh\n{script}\n")
                (programs / name).chmod(0o755)
            result = run(DEPLOY / "install_packages.sh", "run",
                         env={"PATH": f"{folder}:/usr/bin:/bin"})
        self.assertEqual(result.returncode, 1)
        self.assertIn("sudo refused. As root, run: apt-get update && apt-get install", result.stderr)


class QuickstartTest(unittest.TestCase):
    def test_piped_progress_is_thinned_but_keeps_its_last_line_and_all_others(self):
        script = (DEPLOY / "quickstart.sh").read_text()
        function = re.search(r"^thin_progress\(\) \{.*?^\}", script, re.M | re.S).group(0)
        progress = [f"22:34:25  #{i + 2}  iteration {i}  residual 0.1" for i in range(1, 101)]
        lines = ["22:34:25  #2  RUNNING  started", *progress, "22:34:25  #103  SUCCEEDED", "The end."]
        result = run("bash", "-c", f"{function}\nthin_progress", input="\n".join(lines) + "\n")
        shown = result.stdout.splitlines()
        self.assertEqual([line for line in shown if " iteration " not in line],
                         [line for line in lines if " iteration " not in line])
        shown_progress = [line for line in shown if " iteration " in line]
        self.assertLess(len(shown_progress), 20)
        self.assertEqual((shown_progress[0], shown_progress[-1]), (progress[0], progress[-1]))
        self.assertEqual(shown_progress, [line for line in progress if line in shown_progress])


if __name__ == "__main__":
    if "--programs" in sys.argv:
        at = sys.argv.index("--programs")
        PROGRAMS = sys.argv[at + 1:at + 3]
        del sys.argv[at:at + 3]
    unittest.main()
