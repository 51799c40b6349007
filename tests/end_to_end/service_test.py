"""The whole path through the API: data in, job watched, network out; kills and stops on the way."""

import io
import shutil
import subprocess
import tempfile
import threading
import unittest

import numpy
import scipy.sparse

from processes import (Thresherd, dataset_pb2, dataset_service_pb2, error_details, grpc, job_pb2,
                       job_service_pb2, model_service_pb2, wait_until)

ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


def npy(array):
    file = io.BytesIO()
    numpy.save(file, array)
    return file.getvalue()


class ServiceTest(unittest.TestCase):
    def setUp(self):
        self.data_dir = tempfile.mkdtemp(prefix="thresher-test.")
        self.addCleanup(shutil.rmtree, self.data_dir, ignore_errors=True)
        self.server = self.enterContext(Thresherd(self.data_dir, "--workers", "1", "--threads_per_job", "1"))

    def assert_call_fails(self, code, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception

    def download(self, name, file_format):
        chunks = self.server.models.DownloadModel(
            model_service_pb2.DownloadModelRequest(name=name, format=file_format))
        return b"".join(part.chunk for part in chunks)

    def test_planted_problem_from_creation_to_prediction(self):
        self.server.plant("planted")
        job = self.server.submit("datasets/planted", job_id="first")
        self.assertEqual(job.name, "jobs/first")
        events = list(self.server.watch(job.name))
        numbers = [event.event.number for event in events]
        self.assertEqual(numbers, sorted(set(numbers)))
        ended = events[-1].event.job
        self.assertEqual(ended.state, job_pb2.JOB_STATE_SUCCEEDED, ended.error)
        self.assertEqual(ended, self.server.job(job.name))
        self.assertLessEqual(ended.recovery_report.nonzeros, 10)
        self.assertTrue(ended.recovery_report.HasField("planted"))

        # A reader that is not ours computes what Predict answers.
        weights = scipy.sparse.load_npz(io.BytesIO(
            self.download(ended.model, model_service_pb2.MODEL_FORMAT_NPZ)))
        self.assertEqual(weights.nnz, ended.recovery_report.nonzeros)
        inputs = numpy.random.default_rng(1).standard_normal((7, 20)).astype(numpy.float32)
        answer = self.server.models.Predict(model_service_pb2.PredictRequest(
            name=ended.model,
            inputs=model_service_pb2.Matrix(num_rows=7, num_columns=20, values=inputs.ravel())))
        dense = weights.toarray()
        dense = dense if dense.shape[0] == 20 else dense.T
        numpy.testing.assert_allclose(
            answer.outputs, numpy.maximum(inputs.astype(float) @ dense, 0).sum(axis=1), rtol=1e-5, atol=1e-6)

    def test_a_planted_linear_term_is_recovered_and_read(self):
        self.server.plant("beside", linear_term=True)
        job = self.server.wait_for_end(self.server.submit("datasets/beside", linear_term=True).name)
        self.assertEqual(job.state, job_pb2.JOB_STATE_SUCCEEDED, job.error)
        self.assertTrue(job.recovery_report.planted.exact)
        self.assertTrue(self.server.models.GetModel(model_service_pb2.GetModelRequest(name=job.model)).linear_term)
        file = self.download(job.model, model_service_pb2.MODEL_FORMAT_NPZ)
        weights = scipy.sparse.load_npz(io.BytesIO(file))
        linear = numpy.load(io.BytesIO(file))["linear"]
        inputs = numpy.random.default_rng(1).standard_normal((7, 20)).astype(numpy.float32)
        answer = self.server.models.Predict(model_service_pb2.PredictRequest(
            name=job.model,
            inputs=model_service_pb2.Matrix(num_rows=7, num_columns=20, values=inputs.ravel())))
        inputs = inputs.astype(float)
        numpy.testing.assert_allclose(
            answer.outputs, numpy.maximum(weights @ inputs.T, 0).sum(axis=0) + inputs @ linear, rtol=1e-5, atol=1e-6)

    def test_uploaded_arrays_are_what_is_fitted(self):
        rng = numpy.random.default_rng(2)
        inputs = rng.standard_normal((400, 6))
        targets = numpy.maximum(inputs[:, 0] * 2, 0) + numpy.maximum(inputs[:, 1] - inputs[:, 2], 0)
        parts = [dataset_service_pb2.UploadDatasetRequest(header=dataset_service_pb2.UploadDatasetHeader(
            dataset_id="mine", dataset=dataset_pb2.Dataset(
                upload=dataset_pb2.UploadSource(format=dataset_pb2.FILE_FORMAT_NPY))))]
        parts += [dataset_service_pb2.UploadDatasetRequest(inputs_chunk=npy(inputs))]
        parts += [dataset_service_pb2.UploadDatasetRequest(targets_chunk=npy(targets))]
        dataset = self.server.datasets.UploadDataset(iter(parts))
        self.assertEqual((dataset.num_samples, dataset.num_inputs, dataset.num_outputs), (400, 6, 1))
        job = self.server.wait_for_end(self.server.submit(dataset.name, hidden_width=4, nonzeros=8).name)
        self.assertEqual(job.state, job_pb2.JOB_STATE_SUCCEEDED, job.error)
        self.assertLess(job.recovery_report.held_out.relative_residual, 1)

    def test_errors_name_the_field_and_carry_details(self):
        self.server.plant("planted")
        error = self.assert_call_fails(
            grpc.StatusCode.INVALID_ARGUMENT, lambda: self.server.submit("datasets/planted", nonzeros=10**9))
        details = error_details(error)
        self.assertEqual(details["ErrorInfo"].domain, "thresher")
        self.assertIn("nonzeros", details["BadRequest"].field_violations[0].field)
        self.assert_call_fails(grpc.StatusCode.NOT_FOUND, lambda: self.server.submit("datasets/absent"))
        self.assert_call_fails(grpc.StatusCode.NOT_FOUND, lambda: self.server.job("jobs/absent"))

    def test_request_id_makes_a_retry_safe(self):
        self.server.plant("planted")
        first = self.server.submit("datasets/planted", request_id="once")
        again = self.server.submit("datasets/planted", request_id="once")
        self.assertEqual(first.name, again.name)
        self.assert_call_fails(
            grpc.StatusCode.ALREADY_EXISTS,
            lambda: self.server.submit("datasets/planted", request_id="once", nonzeros=9))

    def test_cancel_keeps_the_best_iterate(self):
        self.server.plant("planted")
        job = self.server.endless("datasets/planted")
        wait_until(lambda: self.server.job(job.name).progress.iteration > 0, "a first step")
        self.server.jobs.CancelJob(job_service_pb2.CancelJobRequest(name=job.name))
        ended = self.server.wait_for_end(job.name)
        self.assertEqual(ended.state, job_pb2.JOB_STATE_CANCELLED)
        self.assertTrue(ended.model)
        self.assertTrue(ended.recovery_report.partial)

    def test_a_crash_loses_nothing_that_was_acknowledged(self):
        self.server.plant("planted")
        running = self.server.endless("datasets/planted", job_id="running")
        queued = self.server.submit("datasets/planted", job_id="queued")
        wait_until(lambda: self.server.job(running.name).progress.iteration > 0, "a first step")
        last = max(self.server.job(name).latest_event_number for name in (running.name,))
        self.server.kill()

        self.server.start()
        resumed = self.server.wait_for_state(running.name, job_pb2.JOB_STATE_RUNNING)
        self.assertGreaterEqual(resumed.attempt_count, 2)
        self.assertEqual(self.server.job(queued.name).state, job_pb2.JOB_STATE_QUEUED)
        # A watcher goes on from the last number it saw.
        for answer in self.server.watch(running.name, after=last):
            self.assertGreater(answer.event.number, last)
            if answer.event.HasField("progress"):
                break
        self.server.jobs.CancelJob(job_service_pb2.CancelJobRequest(name=running.name))
        self.assertEqual(self.server.wait_for_end(queued.name).state, job_pb2.JOB_STATE_SUCCEEDED)

    def test_sigterm_requeues_the_running_job_and_exits_0(self):
        self.server.plant("planted")
        job = self.server.endless("datasets/planted")
        wait_until(lambda: self.server.job(job.name).progress.iteration > 0, "a first step")
        ended = []

        def read():
            try:
                for _ in self.server.watch(job.name):
                    pass
            except grpc.RpcError as error:
                ended.append(error.code())

        reader = threading.Thread(target=read)
        reader.start()
        self.assertEqual(self.server.stop(), 0, self.server.log())
        reader.join()
        self.assertIn(ended, ([grpc.StatusCode.UNAVAILABLE], [grpc.StatusCode.CANCELLED]))
        self.server.start()
        self.assertGreaterEqual(
            self.server.wait_for_state(job.name, job_pb2.JOB_STATE_RUNNING).attempt_count, 2)

    def test_metrics_page_is_what_prometheus_expects(self):
        self.server.plant("planted")
        self.server.wait_for_end(self.server.submit("datasets/planted").name)
        page = self.server.metrics()
        self.assertIn('thresher_jobs_total{kind="recovery",outcome="succeeded"} 1', page)
        checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True,
                                 check=False)
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
