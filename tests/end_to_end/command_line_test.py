"""The `thresher` program against a real server: what scripts rely on."""

import pathlib
import shutil
import tempfile
import unittest

import numpy

from processes import Thresherd, json_lines, thresher


class CommandLineTest(unittest.TestCase):
    def setUp(self):
        self.data_dir = pathlib.Path(tempfile.mkdtemp(prefix="thresher-test."))
        self.addCleanup(shutil.rmtree, self.data_dir, ignore_errors=True)
        self.server = self.enterContext(Thresherd(self.data_dir / "server", "--workers", "1"))

    def test_first_five_minutes(self):
        self.assertEqual(thresher(self.server, "health").returncode, 0)
        thresher(self.server, "datasets", "plant", "--id", "planted", "--num_samples", "1000",
                 "--num_inputs", "20", "--hidden_width", "5", "--nonzeros", "10", "--seed", "1")
        self.assertIn("planted", thresher(self.server, "datasets", "list").stdout)
        watched = thresher(self.server, "recover", "--dataset", "planted", "--hidden_width", "5",
                           "--nonzeros", "10", "--watch")
        self.assertGreater(len(watched.stdout.splitlines()), 1)
        jobs = json_lines(thresher(self.server, "--json", "jobs", "list"))
        self.assertEqual(jobs[0]["state"], "JOB_STATE_SUCCEEDED")
        model = jobs[0]["model"].removeprefix("models/")
        file = self.data_dir / "model.npz"
        thresher(self.server, "models", "download", model, "--output", str(file))
        self.assertTrue(numpy.load(file).files)

    def test_json_is_one_object_a_line(self):
        thresher(self.server, "datasets", "plant", "--id", "planted", "--num_samples", "500",
                 "--num_inputs", "10", "--hidden_width", "3", "--nonzeros", "5")
        lines = json_lines(thresher(self.server, "--json", "recover", "--dataset", "planted",
                                    "--hidden_width", "3", "--nonzeros", "5", "--watch"))
        self.assertTrue(all(isinstance(line, dict) for line in lines))
        self.assertTrue(any("JOB_STATE_SUCCEEDED" in str(line) for line in lines))

    def test_failures_have_their_own_exit_codes(self):
        usage = thresher(self.server, "recover", "--nonsense", check=False)
        absent = thresher(self.server, "jobs", "get", "absent", check=False)
        self.assertNotEqual(usage.returncode, 0)
        self.assertNotEqual(absent.returncode, 0)
        self.assertNotEqual(usage.returncode, absent.returncode)
        self.assertIn("absent", absent.stderr)


if __name__ == "__main__":
    unittest.main()
