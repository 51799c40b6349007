"""Asks programs that are not ours about the files that core/ writes: the ONNX checker, ONNX
Runtime, the readers of safetensors and of SciPy. And reads ONNX files that another tool wrote.

Run by ctest with the program that writes the files; what is not installed is skipped:
    python3-onnx; npm's onnxruntime-node, by the environment's NODE_PATH
    /usr/bin/python3 tests/onnx_test.py WRITE_MODEL_FILES
"""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import numpy as np

try:
    import onnx
    import onnx.checker
except ImportError:
    onnx = None

WRITER = None

# Prints the outputs of each .onnx file that is an argument on the inputs of its .json file.
RUN = """
const ort = require('onnxruntime-node');
const fs = require('fs');
(async () => {
  const found = [];
  for (const path of process.argv.slice(1)) {
    const cases = JSON.parse(fs.readFileSync(path.replace(/(_sparse)?\\.onnx$/, '.json')));
    const session = await ort.InferenceSession.create(path);
    const {dims, type} = JSON.parse(process.env.INPUTS)[path];
    const array = type === 'float64' ? Float64Array : Float32Array;
    const input = new ort.Tensor(type, array.from(cases.inputs), dims);
    const outputs = await session.run({[session.inputNames[0]]: input});
    found.push({path, input: session.inputNames[0], output: session.outputNames[0],
                outputs: Array.from(outputs[session.outputNames[0]].data)});
  }
  console.log(JSON.stringify(found));
})().catch(error => { console.error(String(error)); process.exit(1); });
"""


def has_runtime():
    if shutil.which("node") is None:
        return False
    return subprocess.run(["node", "-e", "require('onnxruntime-node')"], capture_output=True).returncode == 0


class WrittenFilesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        subprocess.run([WRITER, cls.folder.name], check=True)
        cls.files = sorted(cls.root.glob("*.onnx"))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_files_are_there(self):
        self.assertGreater(len(self.files), 20)

    @unittest.skipIf(onnx is None, "python3-onnx is not installed")
    def test_the_onnx_checker_passes(self):
        for path in self.files:
            with self.subTest(path.name):
                model = onnx.load(str(path))
                # Shape inference of ONNX 1.12 does not know sparse weights.
                onnx.checker.check_model(model, full_check="sparse" not in path.name)
                self.assertEqual(model.opset_import[0].version, 13)
                if "sparse" in path.name:
                    dense = [t for t in model.graph.initializer
                             if len(t.dims) == 2 and t.name != "gates.weight"]
                    self.assertEqual(b"".join(t.raw_data for t in dense).strip(b"\0"), b"")

    @unittest.skipIf(onnx is None, "python3-onnx is not installed")
    @unittest.skipUnless(has_runtime(), "node or onnxruntime-node is not installed")
    def test_onnx_runtime_gives_the_same_outputs(self):
        inputs = {}
        for path in self.files:
            value = onnx.load(str(path)).graph.input[0]
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            double = value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
            inputs[str(path)] = {"dims": [5] + dims[1:], "type": "float64" if double else "float32"}
        run = subprocess.run(["node", "-e", RUN, *map(str, self.files)], capture_output=True, text=True,
                             env={**os.environ, "INPUTS": json.dumps(inputs)})
        self.assertEqual(run.returncode, 0, run.stderr)
        for found in json.loads(run.stdout):
            path = pathlib.Path(found["path"])
            with self.subTest(path.name):
                case = path.with_name(path.name.replace("_sparse", "")).with_suffix(".json")
                wanted = np.array(json.loads(case.read_text())["outputs"])
                np.testing.assert_allclose(found["outputs"], wanted, rtol=1e-5, atol=1e-5)
                if path.stem.split("_")[0] == "0":
                    self.assertEqual((found["input"], found["output"]), ("pixels", "logits"))

    def test_safetensors_hold_the_network(self):
        for path in sorted(self.root.glob("*.safetensors")):
            with self.subTest(path.name):
                data = path.read_bytes()
                size = struct.unpack("<Q", data[:8])[0]
                header = json.loads(data[8:8 + size])
                header.pop("__metadata__", None)
                tensors = {}
                for name, entry in header.items():
                    begin, end = entry["data_offsets"]
                    dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
                    tensors[name] = np.frombuffer(data[8 + size:][begin:end], dtype).reshape(entry["shape"])
                case = json.loads(path.with_suffix(".json").read_text())
                z = np.array(case["inputs"]).reshape(5, -1)
                if "input_offset" in tensors:
                    z = (z - tensors["input_offset"]) / tensors["input_scale"]
                layers = sum(name.startswith("layers.") and name.endswith(".weight") for name in tensors)
                if "gates.weight" in tensors:
                    open_gates = z @ tensors["gates.weight"].T.astype(float) + tensors.get("gates.bias", 0) > 0
                    y = z @ tensors["weight"].T + tensors.get("bias", 0)
                    z = (y * open_gates).sum(axis=1)
                for l in range(layers):
                    z = z @ tensors[f"layers.{l}.weight"].T + tensors.get(f"layers.{l}.bias", 0)
                    z = np.maximum(z, 0) if l + 1 < layers else z
                z = z * tensors.get("target_scale", 1) + tensors.get("target_offset", 0)
                np.testing.assert_allclose(z.ravel(), case["outputs"], rtol=1e-5, atol=1e-5)

    def test_npz_opens_in_scipy(self):
        import scipy.sparse
        for path in sorted(self.root.glob("*.npz")):
            with self.subTest(path.name):
                self.assertGreater(scipy.sparse.load_npz(path).shape[1], 0)


if __name__ == "__main__":
    WRITER = sys.argv[1]
    unittest.main(argv=sys.argv[:1], verbosity=2)
