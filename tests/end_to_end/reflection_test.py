"""A client that knows nothing but the address: buf curl asks the server what it serves.

Skipped where buf is absent; tests/proto_lint.sh installs it.
"""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from processes import REPOSITORY, Thresherd

BUF = REPOSITORY / "build-tools/buf/node_modules/.bin/buf"


@unittest.skipUnless(BUF.exists(), "buf is not installed: run tests/proto_lint.sh")
class ReflectionTest(unittest.TestCase):
    def setUp(self):
        self.data_dir = pathlib.Path(tempfile.mkdtemp(prefix="thresher-test."))
        self.addCleanup(shutil.rmtree, self.data_dir, ignore_errors=True)
        self.server = self.enterContext(Thresherd(self.data_dir / "server"))

    def curl(self, *arguments):
        return subprocess.run(
            [BUF, "curl", "--http2-prior-knowledge", "--protocol", "grpc", *arguments],
            capture_output=True, text=True, check=False, timeout=60, cwd=self.data_dir)

    def call(self, method, request):
        result = self.curl("-d", json.dumps(request), f"http://{self.server.address}/{method}")
        self.assertEqual(result.returncode, 0, result.stderr)
        return [json.loads(line) for line in result.stdout.replace("}\n{", "}\x00{").split("\x00") if line]

    def test_services_are_listed(self):
        result = self.curl("--list-services", f"http://{self.server.address}")
        self.assertEqual(result.returncode, 0, result.stderr)
        services = set(result.stdout.split())
        for name in ("JobService", "DatasetService", "ModelService", "ServerService"):
            self.assertIn(f"thresher.v1.{name}", services)
        self.assertIn("grpc.health.v1.Health", services)

    def test_a_job_from_beginning_to_end(self):
        self.call("thresher.v1.DatasetService/CreateDataset", {
            "datasetId": "planted", "dataset": {"planted": {
                "numSamples": 1000, "numInputs": 20, "hiddenWidth": 5, "nonzeros": 10}}})
        self.call("thresher.v1.JobService/CreateJob", {"jobId": "first", "job": {"recovery": {
            "dataset": "datasets/planted", "options": {"hiddenWidth": 5, "nonzeros": 10}}}})
        events = self.call("thresher.v1.JobService/WatchJob", {"name": "jobs/first"})
        self.assertEqual(events[-1]["event"]["stateChange"]["state"], "JOB_STATE_SUCCEEDED")

    def test_health_can_be_described_and_called(self):
        answer = self.call("grpc.health.v1.Health/Check", {})
        self.assertEqual(answer[0]["status"], "SERVING")

    def test_errors_arrive_with_their_code(self):
        result = self.curl("-d", json.dumps({"name": "jobs/absent"}),
                           f"http://{self.server.address}/thresher.v1.JobService/GetJob")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("not_found", result.stderr)


if __name__ == "__main__":
    unittest.main()
