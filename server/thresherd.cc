// thresherd: the server's main program. Puts the parts together, waits for a signal,
// takes them apart again.
#include <grpc/support/log.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/flags.h"
#include "server/jobs/job_manager.h"
#include "server/jobs/runner.h"
#include "server/listen_address.h"
#include "server/rpc/server.h"
#include "server/store/store.h"
#include "server/telemetry/job_telemetry.h"
#include "server/telemetry/logging.h"
#include "server/telemetry/metrics.h"

namespace thresher {
namespace {

using telemetry::Log;
using telemetry::LogLevel;

// A quarter of the jobs' budget, on top of it.
int64_t IngestMemory(const Flags& flags) {
  return std::max<int64_t>(flags.memory_budget_bytes / 4, int64_t{32} << 20);
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "thresherd: %s\n", std::string(status.message()).c_str());
  return 1;
}

// gRPC reports through this process's log, a step less loud: its errors are mostly
// clients that went away.
void LogGrpcMessage(gpr_log_func_args* message) {
  const LogLevel level =
      message->severity == GPR_LOG_SEVERITY_ERROR ? LogLevel::kInfo : LogLevel::kDebug;
  Log(level, "grpc", {{"text", message->message}});
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

std::string WaitForSignal(const sigset_t& signals) {
  int number = 0;
  sigwait(&signals, &number);
  return number == SIGINT ? "SIGINT" : "SIGTERM";
}

telemetry::BuildInfo ThisBuild() {
  return {.version = THRESHER_VERSION, .commit = THRESHER_COMMIT, .compiler = THRESHER_COMPILER};
}

jobs::JobManagerOptions ManagerOptions(const Flags& flags) {
  jobs::JobManagerOptions options;
  options.num_workers = flags.workers;
  options.threads_per_job = flags.threads_per_job;
  options.memory_budget_bytes = flags.memory_budget_bytes;
  options.max_queued_jobs = flags.max_queued_jobs;
  options.max_retained_jobs = flags.max_retained_jobs;
  options.max_watchers = flags.max_watch_streams;
  options.max_watchers_per_job = flags.max_watch_streams;
  options.checkpoint_interval = flags.checkpoint_interval;
  options.default_time_limit_seconds =
      std::chrono::duration<double>(flags.default_time_limit).count();
  options.program_version = THRESHER_VERSION;
  return options;
}

rpc::ServerOptions RpcOptions(const Flags& flags) {
  rpc::ServerOptions options;
  options.listen_address = flags.listen_address;
  options.threads_per_job = flags.threads_per_job;
  options.build_info = ThisBuild();
  options.max_message_bytes = flags.max_message_bytes;
  options.max_upload_bytes = flags.max_upload_bytes;
  options.ingest_memory_bytes = IngestMemory(flags);
  return options;
}

// Health first, so that nobody sends new work; then the jobs, which ends the watches;
// then the calls under way.
absl::Status Drain(rpc::Server& server, jobs::JobManager& jobs,
                   std::chrono::milliseconds grace_period) {
  // Leaves a tenth for what comes after.
  const auto jobs_time = grace_period * 7 / 10;
  const auto calls_time = grace_period * 9 / 10;
  const auto start = std::chrono::steady_clock::now();
  server.BeginDrain();
  absl::Status status = jobs.Drain(start + jobs_time);
  server.Stop(start + calls_time);
  return status;
}

// Everything but the metrics page: from opening the store to closing it.
int Serve(const Flags& flags, const sigset_t& signals, const std::string& metrics_address,
          telemetry::Metrics& metrics) {
  auto store = store::Store::Open(
      {.data_dir = flags.data_dir, .max_dataset_bytes = IngestMemory(flags) / 2});
  if (!store.ok()) return Fail(store.status());
  (*store)->database().OnCommit([&metrics](double seconds, int64_t /*writes*/) {
    metrics.StoreOperation("commit", seconds);
  });

  jobs::Runner runner(store->get(), flags.threads_per_job, THRESHER_VERSION);
  jobs::JobManager jobs(
      ManagerOptions(flags), store->get(),
      [&runner](const jobs::JobSpec& spec) { return runner.Plan(spec); },
      telemetry::CountIterations([&runner](const jobs::JobRun& run) { return runner.Run(run); },
                                 metrics),
      telemetry::CountJobs(metrics));
  if (absl::Status status = jobs.Start(); !status.ok()) return Fail(status);
  auto server = rpc::Server::Start(RpcOptions(flags), jobs, **store, metrics);
  if (!server.ok()) return Fail(server.status());
  metrics.SetGaugeSource([&jobs] { return telemetry::ToGauges(jobs.Stats()); });

  std::printf("listening on %s\n", (*server)->address().c_str());
  std::printf("metrics on http://%s/metrics\n", metrics_address.c_str());
  std::fflush(stdout);
  Log(LogLevel::kInfo, "started",
      {{"version", THRESHER_VERSION},
       {"data_dir", flags.data_dir},
       {"workers", std::to_string(flags.workers)},
       {"threads_per_job", std::to_string(flags.threads_per_job)},
       {"memory_budget_bytes", std::to_string(flags.memory_budget_bytes)}});

  Log(LogLevel::kInfo, "stopping", {{"signal", WaitForSignal(signals)}});
  std::thread([signals] {
    WaitForSignal(signals);
    Log(LogLevel::kWarning,
        "second signal: stopping at once; jobs resume from their last checkpoint at the next "
        "start");
    _exit(1);
  }).detach();

  const absl::Status drained = Drain(**server, jobs, flags.grace_period);
  if (!drained.ok()) {
    // Its threads cannot be waited for; what they do is resumed from the checkpoint.
    Log(LogLevel::kError, "a job did not stop within the grace period",
        {{"error", std::string(drained.message())}});
    _exit(1);
  }
  metrics.SetGaugeSource(nullptr);
  return 0;
}

int Run(const Flags& flags) {
  telemetry::SetUpLogging(flags.log_level, flags.log_format);
  gpr_set_log_function(LogGrpcMessage);
  // Before the first thread, so that all threads inherit it and only this one waits.
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  // Before jobs start: a server that nobody can reach must not run any.
  for (const auto& [flag, address] : {std::pair("--listen_address", flags.listen_address),
                                      std::pair("--metrics_address", flags.metrics_address)}) {
    if (absl::Status status = CheckCanListen(address); !status.ok()) {
      return Fail(absl::Status(
          status.code(), std::string(status.message()) + "; choose another address with " + flag));
    }
  }
  const auto metrics = std::make_shared<telemetry::Metrics>(ThisBuild());
  auto page = telemetry::MetricsPage::Serve(flags.metrics_address, metrics);
  if (!page.ok()) return Fail(page.status());
  const int code = Serve(flags, signals, (*page)->address(), *metrics);
  if (code == 0) Log(LogLevel::kInfo, "stopped");
  // The page's library takes up to 2 s to notice that it should stop, and nothing that
  // it holds needs an orderly end.
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace
}  // namespace thresher

int main(int argc, char** argv) {
  // gRPC's own locks only: ours are not abseil's.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const thresher::ParsedFlags parsed = thresher::ParseFlags(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  return thresher::Run(parsed.flags);
}
