"""Starts the real programs, and talks to them with stubs made from the .proto files.

The programs' paths come from the environment, THRESHERD and THRESHER; by hand:
    THRESHERD=build/server/thresherd THRESHER=build/client/thresher \\
        /usr/bin/python3 tests/end_to_end/service_test.py
"""

import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
THRESHERD = os.environ.get("THRESHERD", str(REPOSITORY / "build/server/thresherd"))
THRESHER = os.environ.get("THRESHER", str(REPOSITORY / "build/client/thresher"))
GOOGLEAPIS = "/usr/share/gocode/src/github.com/gogo/googleapis"
GRPC_PROTO = "/usr/share/grpc-proto"

# A machine that also compiles is slow; nothing waits so long unless it is broken.
PATIENCE_SECONDS = 60


def _generate_stubs():
    """Compiles the .proto files for Python and puts them on the import path."""
    folder = tempfile.mkdtemp(prefix="thresher-stubs.")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = sorted(str(file.relative_to(REPOSITORY / "proto"))
                   for file in (REPOSITORY / "proto/thresher/v1").glob("*.proto"))
    files += ["google/rpc/status.proto", "google/rpc/error_details.proto", "grpc/health/v1/health.proto"]
    subprocess.run(
        ["protoc", f"-I{REPOSITORY / 'proto'}", f"-I{GOOGLEAPIS}", f"-I{GRPC_PROTO}",
         f"--python_out={folder}", f"--grpc_python_out={folder}",
         "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin", *files],
        check=True)
    # The generated grpc/health would hide the package grpc, and google/rpc has no
    # package around it: give the first another name and add the second to google's.
    import google
    google.__path__.append(os.path.join(folder, "google"))
    import grpc
    grpc.__path__.append(os.path.join(folder, "grpc"))
    sys.path.insert(0, folder)


_generate_stubs()

# pylint: disable=wrong-import-position
import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc.health.v1 import health_pb2, health_pb2_grpc
from thresher.v1 import (dataset_pb2, dataset_service_pb2, dataset_service_pb2_grpc, job_pb2,
                         job_service_pb2, job_service_pb2_grpc, model_pb2, model_service_pb2,
                         model_service_pb2_grpc, recovery_pb2, server_service_pb2,
                         server_service_pb2_grpc)


def wait_until(condition, what):
    """Asks again and again; fails when the answer stays false."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_SECONDS} s for {what}")
        time.sleep(0.02)


class Thresherd:
    """A server of the test's own, on free ports, with its data in `data_dir`."""

    def __init__(self, data_dir, *flags):
        self.data_dir = data_dir
        self.flags = flags
        # Port 0: the server takes a free one and says which.
        self.address = "127.0.0.1:0"
        self.metrics_address = "127.0.0.1:0"
        self.start()

    def start(self):
        """Starts it, or starts it again on the same ports, as a client expects."""
        pathlib.Path(self.data_dir).mkdir(exist_ok=True)
        self.log_path = pathlib.Path(self.data_dir) / "thresherd.log"
        output = pathlib.Path(self.data_dir) / "thresherd.out"
        # The file is emptied: the lines that name the ports are of this start.
        with open(self.log_path, "ab") as log, open(output, "wb") as out:
            self.process = subprocess.Popen(
                [THRESHERD, "--listen_address", self.address, "--metrics_address", self.metrics_address,
                 "--data_dir", str(self.data_dir), *self.flags], stdout=out, stderr=log)

        def said(pattern):
            found = re.search(pattern, output.read_text())
            return found and found[1]

        wait_until(lambda: self.process.poll() is not None or said(r"metrics on http://(\S+)/metrics\n"),
                   "thresherd to say where it listens")
        if self.process.poll() is not None:
            raise AssertionError(f"thresherd ended with {self.process.returncode}:\n{self.log()}")
        self.address = said(r"listening on (\S+)\n")
        self.metrics_address = said(r"metrics on http://(\S+)/metrics\n")
        self.channel = grpc.insecure_channel(
            self.address, options=[("grpc.initial_reconnect_backoff_ms", 50),
                                   ("grpc.max_reconnect_backoff_ms", 200)])
        wait_until(self.serving, "thresherd to serve")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def serving(self):
        try:
            answer = health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def kill(self):
        """As a crash: nothing can be saved."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)
        self.channel.close()

    def stop(self):
        """As an operator: SIGTERM. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        self.channel.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    @property
    def jobs(self):
        return job_service_pb2_grpc.JobServiceStub(self.channel)

    @property
    def datasets(self):
        return dataset_service_pb2_grpc.DatasetServiceStub(self.channel)

    @property
    def models(self):
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    def plant(self, dataset_id, **planted):
        """Creates datasets/{dataset_id}: a small problem unless said otherwise."""
        source = dict(num_samples=1000, num_inputs=20, hidden_width=5, nonzeros=10, seed=1)
        source.update(planted)
        return self.datasets.CreateDataset(dataset_service_pb2.CreateDatasetRequest(
            dataset_id=dataset_id, dataset=dataset_pb2.Dataset(planted=dataset_pb2.PlantedSource(**source))))

    def submit(self, dataset, job_id="", request_id="", priority=0, **options):
        """Queues a recovery of a data set and returns the job."""
        given = dict(hidden_width=5, nonzeros=10, seed=1)
        given.update(options)
        spec = recovery_pb2.RecoverySpec(dataset=dataset, options=recovery_pb2.RecoveryOptions(**given))
        return self.jobs.CreateJob(job_service_pb2.CreateJobRequest(
            job_id=job_id, request_id=request_id, job=job_pb2.Job(recovery=spec, priority=priority)))

    def endless(self, dataset, **options):
        """Queues a job that runs until it is stopped."""
        return self.submit(dataset, algorithm=recovery_pb2.ALGORITHM_AIHT, max_iterations=10**9,
                           relative_residual_tolerance=0, stagnation_iterations=0, **options)

    def job(self, name):
        return self.jobs.GetJob(job_service_pb2.GetJobRequest(name=name))

    def wait_for_state(self, name, *states):
        wait_until(lambda: self.job(name).state in states, f"{name} to be in state {states}")
        return self.job(name)

    def wait_for_end(self, name):
        return self.wait_for_state(
            name, job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)

    def watch(self, name, after=0):
        return self.jobs.WatchJob(job_service_pb2.WatchJobRequest(name=name, after_event_number=after))

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics") as page:
            return page.read().decode()


def error_details(error):
    """The google.rpc details of a failed call, by the name of their message."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            found = {}
            for packed in status_pb2.Status.FromString(value).details:
                name = packed.type_url.split(".")[-1]
                message = getattr(error_details_pb2, name)()
                packed.Unpack(message)
                found[name] = message
            return found
    return {}


def thresher(server, *arguments, check=True):
    """Runs the client program; returns its result, with stdout and stderr as text."""
    result = subprocess.run([THRESHER, "--server", server.address, *arguments], capture_output=True,
                            text=True, timeout=PATIENCE_SECONDS * 2, check=False, stdin=subprocess.DEVNULL)
    if check and result.returncode != 0:
        raise AssertionError(f"{arguments} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


def json_lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]
