"""The `thresher` program against a real server: what scripts rely on."""

import csv
import json
import pathlib
import shutil
import struct
import tempfile
import unittest
import zlib

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
        # A model of the server and a file are reported and converted alike.
        for source in (model, str(file)):
            self.assertIn("multiply-adds", thresher(self.server, "models", "report", source).stdout)
            for ending in ("onnx", "safetensors", "h", "json"):
                converted = self.data_dir / f"converted.{ending}"
                thresher(self.server, "models", "convert", source, "--output", str(converted))
                self.assertGreater(converted.stat().st_size, 0)

    def test_several_outputs_and_layers_and_classes_are_recovered(self):
        thresher(self.server, "datasets", "plant", "--id", "outputs", "--num_samples", "1000",
                 "--num_inputs", "12", "--hidden_width", "4", "--nonzeros", "24", "--num_outputs", "3",
                 "--seed", "1")
        thresher(self.server, "datasets", "plant", "--id", "layers", "--num_samples", "1000",
                 "--num_inputs", "12", "--hidden_width", "4", "--nonzeros", "12", "--hidden_layers", "2",
                 "--seed", "2")
        for dataset, nonzeros, flags in (("outputs", "24", []),
                                         ("layers", "12", ["--hidden_layers", "2"])):
            watched = thresher(self.server, "recover", "--dataset", dataset, "--hidden_width", "4",
                               "--nonzeros", nonzeros, "--watch", *flags)
            self.assertIn("explains the data", watched.stdout)
        rows = numpy.random.default_rng(2).normal(size=(600, 3))
        table = self.data_dir / "three.csv"
        lines = [",".join(f"{x:.6f}" for x in row) + f",{'abc'[int(row.argmax())]}" for row in rows]
        table.write_text("\n".join(["x,y,z,class", *lines]) + "\n")
        thresher(self.server, "datasets", "upload", "--id", "three", "--csv", str(table),
                 "--target", "class", "--targets_are_classes")
        thresher(self.server, "recover", "--dataset", "three", "--hidden_width", "6", "--nonzeros", "24",
                 "--loss", "cross_entropy", "--watch")
        job = json_lines(thresher(self.server, "--json", "jobs", "list"))[0]
        self.assertGreater(job["recoveryReport"]["heldOut"]["accuracy"], 0.85)  # a third by chance

    def test_an_image_from_a_png_to_a_png(self):
        pixels = [bytes([0] + [16 * (r + c) for c in range(9)]) for r in range(7)]
        png = b"\x89PNG\r\n\x1a\n"
        for kind, data in ((b"IHDR", struct.pack(">IIBBBBB", 9, 7, 8, 0, 0, 0, 0)),
                           (b"IDAT", zlib.compress(b"".join(pixels))), (b"IEND", b"")):
            png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        image = self.data_dir / "image.png"
        image.write_bytes(png)
        uploaded = thresher(self.server, "datasets", "upload", "--id", "image", "--image", str(image),
                            "--num_features", "40", "--crop", "8x6+1+0")
        self.assertIn("48 samples of 40 inputs, an image of 8 x 6 pixels, grey", uploaded.stdout)
        self.assertIn("scaled", thresher(self.server, "datasets", "get", "image").stdout)
        thresher(self.server, "recover", "--dataset", "image", "--hidden_width", "4", "--nonzeros", "40",
                 "--output_signs", "mixed", "--held_out_fraction", "0", "--watch")
        model = json_lines(thresher(self.server, "--json", "models", "list"))[0]["name"]
        file = self.data_dir / "reconstruction.png"
        said = thresher(self.server, "models", "download", model, "--output", str(file))
        self.assertIn("PSNR against the image: ", said.stdout)
        self.assertEqual(struct.unpack(">II", file.read_bytes()[16:24]), (8, 6))
        downloaded = json_lines(thresher(self.server, "--json", "models", "download", model, "--output",
                                         str(file)))[0]
        self.assertGreater(downloaded["psnrDb"], 20)

    def test_a_pruning_of_classes_from_a_table_to_its_model(self):
        # Three classes, by the largest of three inputs.
        rows = numpy.random.default_rng(1).normal(size=(600, 3))
        table = self.data_dir / "classes.csv"
        lines = [",".join(f"{x:.6f}" for x in row) + f",{'abc'[int(row.argmax())]}" for row in rows]
        table.write_text("\n".join(["x,y,z,class", *lines]) + "\n")
        thresher(self.server, "datasets", "upload", "--id", "classes", "--csv", str(table),
                 "--target", "class", "--targets_are_classes")
        watched = thresher(self.server, "prune", "--dataset", "classes", "--hidden_widths", "16",
                           "--nonzeros", "40", "--method", "imp", "--loss", "cross_entropy", "--bias",
                           "--epochs", "10", "--batch_size", "60", "--learning_rate", "0.01",
                           "--prune_fraction", "0.3", "--watch")
        self.assertIn("Pruned to the budget", watched.stdout)
        self.assertIn("epoch 10", watched.stdout)
        job = json_lines(thresher(self.server, "--json", "jobs", "list"))[0]
        self.assertEqual(job["state"], "JOB_STATE_SUCCEEDED")
        report = job["pruningReport"]
        self.assertLessEqual(int(report["nonzeros"]), 40)
        self.assertEqual(report["heldOut"]["numSamples"], "120")
        self.assertGreater(report["heldOut"]["accuracy"], 0.8)  # a third by chance
        self.assertIn("right", thresher(self.server, "jobs", "get", job["name"]).stdout)
        model = job["model"].removeprefix("models/")
        self.assertIn("Pruned to the budget", thresher(self.server, "models", "get", model).stdout)
        file = self.data_dir / "model.npz"
        thresher(self.server, "models", "download", model, "--output", str(file))
        self.assertTrue(numpy.load(file).files)

    def test_a_network_of_another_tool_comes_back_smaller(self):
        # The largest of three inputs names the class: x = (x)_+ - (-x)_+, among small weights that
        # are in the way.
        random = numpy.random.default_rng(3)
        first, second = 0.02 * random.normal(size=(40, 3)), 0.02 * random.normal(size=(3, 40))
        for q in range(3):
            first[2 * q, q], first[2 * q + 1, q] = 1, -1
            second[q, 2 * q], second[q, 2 * q + 1] = 4, -4
        plain, net = self.data_dir / "net.npz", self.data_dir / "net.onnx"
        arrays = {"0.weight": first, "0.bias": numpy.zeros(40), "2.weight": second, "2.bias": numpy.zeros(3)}
        numpy.savez(plain, **{name: array.astype(numpy.float32) for name, array in arrays.items()})
        thresher(self.server, "models", "convert", str(plain), "--output", str(net))
        rows = random.normal(size=(600, 3))
        table = self.data_dir / "classes.csv"
        lines = [",".join(f"{x:.6f}" for x in row) + f",{'abc'[int(row.argmax())]}" for row in rows]
        table.write_text("\n".join(["x,y,z,class", *lines]) + "\n")
        thresher(self.server, "datasets", "upload", "--id", "classes", "--csv", str(table),
                 "--target", "class", "--targets_are_classes")
        watched = thresher(self.server, "prune", "--id", "small", "--model", str(net), "--dataset",
                           "classes", "--nonzeros", "12", "--epochs", "20", "--watch")
        for text in ("Uploaded models/", "epoch 20", "Pruned by distill", "Before and after", "of 240 in 40",
                     "thresher"):
            self.assertIn(text, watched.stdout)
        report = json_lines(thresher(self.server, "--json", "jobs", "get", "small"))[0]["pruningReport"]
        self.assertLessEqual(int(report["nonzeros"]), 12)
        self.assertGreater(report["modelReport"]["givenHeldOut"]["accuracy"], 0.9)
        self.assertGreater(report["heldOut"]["accuracy"], 0.9)
        small = self.data_dir / "small.onnx"
        thresher(self.server, "models", "download", "small", "--output", str(small))
        self.assertLess(small.stat().st_size, net.stat().st_size)
        predicted = json_lines(thresher(self.server, "--json", "models", "predict", "small",
                                        "--row", "3,0,-1", "--row", "-1,0,2"))[0]["outputs"]
        self.assertEqual([int(numpy.argmax(predicted[k:k + 3])) for k in (0, 3)], [0, 2])
        # Every budget of a path is a model.
        watched = thresher(self.server, "prune", "--id", "path", "--model", "models/small", "--dataset",
                           "classes", "--method", "obs", "--min_nonzeros", "2", "--num_points", "3", "--watch")
        self.assertIn("<- knee", watched.stdout)
        self.assertIn("path-2", thresher(self.server, "models", "list").stdout)
        # All methods at the same budgets, and one without a model beside them.
        table, picture = self.data_dir / "methods.csv", self.data_dir / "methods.png"
        compared = thresher(self.server, "compare", "--model", str(net), "--dataset", "classes", "--nonzeros",
                            "60,12", "--methods", "magnitude,activation,obs,curvature,distill,imp",
                            "--hidden_width", "10", "--epochs", "10", "--table", str(table), "--picture",
                            str(picture))
        for text in ("Uploaded models/", "12 of 12 cells", "(given)"):
            self.assertIn(text, compared.stdout)
        table_rows = list(csv.DictReader(table.read_text().splitlines()))
        self.assertEqual(len(table_rows), 12)
        for row in table_rows:
            self.assertEqual(row["state"], "SUCCEEDED", row)
            self.assertLessEqual(int(row["network_nonzeros"]), int(row["nonzeros"]))
            self.assertNotEqual(row["held_out_accuracy"], "", row)
            self.assertEqual(row["given_nonzeros"], "" if row["method"] == "imp" else "240")
            if row["method"] == "distill":
                self.assertGreater(float(row["held_out_accuracy"]), 0.9)
        self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        refused = thresher(self.server, "prune", "--model", "small", "--dataset", "classes", "--nonzeros",
                           "1000", check=False)
        self.assertEqual(refused.returncode, 3)
        self.assertIn("nonzeros", refused.stderr)

    def test_a_comparison_ends_with_a_table_and_a_picture(self):
        thresher(self.server, "datasets", "plant", "--id", "planted", "--num_samples", "500",
                 "--num_inputs", "10", "--hidden_width", "3", "--nonzeros", "6", "--seed", "1")
        table, picture = self.data_dir / "table.csv", self.data_dir / "picture.png"
        compared = thresher(self.server, "compare", "--dataset", "planted", "--hidden_width", "3",
                            "--nonzeros", "4,6", "--methods", "auto,imp", "--epochs", "3",
                            "--table", str(table), "--picture", str(picture))
        self.assertIn("4 of 4 cells", compared.stdout)
        rows = list(csv.DictReader(table.open(newline="")))
        self.assertEqual([(row["method"], row["nonzeros"]) for row in rows],
                         [("auto", "4"), ("imp", "4"), ("auto", "6"), ("imp", "6")])
        self.assertTrue(all(row["state"] == "SUCCEEDED" for row in rows), rows)
        self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        jobs = json_lines(thresher(self.server, "--json", "jobs", "list"))
        self.assertEqual(len(jobs), 1)
        heat_map = self.data_dir / "heat_map.svg"
        thresher(self.server, "sweep", "plot", jobs[0]["name"], "--output", str(heat_map))
        self.assertIn("</svg>", heat_map.read_text())
        self.assertIn("imp", thresher(self.server, "sweep", "table", jobs[0]["name"]).stdout)

    def test_a_sweep_from_a_file(self):
        spec = {"planted": {"num_samples": 200, "num_inputs": 5}, "hidden_widths": [2],
                "nonzeros": [3, 1000], "methods": [{"name": "auto", "recovery": {}}]}
        file, table = self.data_dir / "sweep.json", self.data_dir / "table.json"
        file.write_text(json.dumps(spec))
        thresher(self.server, "sweep", "--file", str(file), "--table", str(table))
        report = json.loads(table.read_text())["sweepReport"]
        self.assertEqual(report["cellsFailed"], "1")
        self.assertEqual([row["state"] for row in report["rows"]],
                         ["SWEEP_CELL_STATE_SUCCEEDED", "SWEEP_CELL_STATE_FAILED"])
        self.assertEqual(json_lines(thresher(self.server, "--json", "datasets", "list")), [])

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
