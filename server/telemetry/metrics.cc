#include "server/telemetry/metrics.h"

#include <prometheus/exposer.h>

#include <exception>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/telemetry/process_metrics.h"

namespace thresher::telemetry {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Histogram;

constexpr char kOther[] = "other";

constexpr const char* kKinds[] = {"recovery", "pruning", "sweep", kOther};
constexpr const char* kOutcomes[] = {"succeeded", "failed", "cancelled"};
constexpr const char* kAlgorithms[] = {
    "winnow",     "iht",  "niht",         "aiht",       "htp", "cosamp", "splicing",
    "reciprocal", "svrg", "count_sketch", "sequential", "imp", kOther};
constexpr const char* kReasons[] = {"QUEUE_FULL",        "MEMORY_BUDGET_EXCEEDED",
                                    "TOO_MANY_REQUESTS", "TOO_MANY_WATCHERS",
                                    "TOO_MANY_UPLOADS",  "TOO_MANY_DOWNLOADS",
                                    "TOO_LARGE",         "DISK_FULL",
                                    "SERVER_STOPPING",   kOther};
constexpr const char* kStoreOperations[] = {"commit", kOther};
constexpr const char* kMethods[] = {
    "thresher.v1.JobService/CreateJob",
    "thresher.v1.JobService/GetJob",
    "thresher.v1.JobService/ListJobs",
    "thresher.v1.JobService/WatchJob",
    "thresher.v1.JobService/CancelJob",
    "thresher.v1.JobService/DeleteJob",
    "thresher.v1.DatasetService/UploadDataset",
    "thresher.v1.DatasetService/CreateDataset",
    "thresher.v1.DatasetService/GetDataset",
    "thresher.v1.DatasetService/ListDatasets",
    "thresher.v1.DatasetService/DeleteDataset",
    "thresher.v1.ModelService/UploadModel",
    "thresher.v1.ModelService/GetModel",
    "thresher.v1.ModelService/ListModels",
    "thresher.v1.ModelService/DownloadModel",
    "thresher.v1.ModelService/Predict",
    "thresher.v1.ModelService/DeleteModel",
    "thresher.v1.ServerService/GetServerInfo",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    kOther,
};

const Histogram::BucketBoundaries& CallBuckets() {
  static const auto& buckets = *new Histogram::BucketBoundaries{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10};
  return buckets;
}

const Histogram::BucketBoundaries& JobBuckets() {
  static const auto& buckets = *new Histogram::BucketBoundaries{
      0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400};
  return buckets;
}

const Histogram::BucketBoundaries& IterationBuckets() {
  static const auto& buckets = *new Histogram::BucketBoundaries{
      0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100};
  return buckets;
}

// One metric for every value that the label may have.
template <typename Metric, typename Values, typename... Arguments>
std::map<std::string, Metric*, std::less<>> MakeAll(prometheus::Family<Metric>& family,
                                                    const std::string& label, const Values& values,
                                                    const Arguments&... arguments) {
  std::map<std::string, Metric*, std::less<>> metrics;
  for (const char* value : values) metrics[value] = &family.Add({{label, value}}, arguments...);
  return metrics;
}

template <typename Metric>
Metric& Select(const std::map<std::string, Metric*, std::less<>>& metrics, std::string_view value) {
  auto found = metrics.find(value);
  if (found == metrics.end()) found = metrics.find(kOther);
  return *found->second;
}

// `value` itself when the list has it.
template <typename Values>
std::string Bounded(const Values& values, std::string_view value) {
  for (const char* known : values) {
    if (value == known) return known;
  }
  return kOther;
}

constexpr const char* kCodes[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
    "FAILED_PRECONDITION",
};

class FamilyList {
 public:
  void Add(std::string name, std::string help, prometheus::MetricType type,
           std::optional<double> value) {
    if (!value) return;
    prometheus::ClientMetric metric;
    metric.gauge.value = *value;
    metric.counter.value = *value;
    families_.push_back({std::move(name), std::move(help), type, {std::move(metric)}});
  }
  std::vector<prometheus::MetricFamily>& families() { return families_; }

 private:
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace

Metrics::Metrics(const BuildInfo& build_info) {
  jobs_ = &BuildCounter()
               .Name("thresher_jobs_total")
               .Help("Jobs that ended, by kind and outcome.")
               .Register(registry_);
  for (const char* kind : {"recovery", "pruning"}) {
    for (const char* outcome : kOutcomes) jobs_->Add({{"kind", kind}, {"outcome", outcome}});
  }
  job_wait_seconds_ = &BuildHistogram()
                           .Name("thresher_job_wait_seconds")
                           .Help("Time between queueing a job and starting it.")
                           .Register(registry_)
                           .Add({}, JobBuckets());
  job_run_seconds_ = MakeAll(BuildHistogram()
                                 .Name("thresher_job_run_seconds")
                                 .Help("Time an attempt of a job ran.")
                                 .Register(registry_),
                             "kind", kKinds, JobBuckets());
  iterations_ = MakeAll(BuildCounter()
                            .Name("thresher_iterations_total")
                            .Help("Solver iterations.")
                            .Register(registry_),
                        "algorithm", kAlgorithms);
  iteration_seconds_ = MakeAll(BuildHistogram()
                                   .Name("thresher_iteration_seconds")
                                   .Help("Time of one solver iteration.")
                                   .Register(registry_),
                               "algorithm", kAlgorithms, IterationBuckets());
  gradient_flops_ = &BuildCounter()
                         .Name("thresher_gradient_flops_total")
                         .Help(
                             "Floating-point operations of solver iterations, as predicted from "
                             "the sizes; a multiply-add counts as two.")
                         .Register(registry_)
                         .Add({});
  checkpoints_ = &BuildCounter()
                      .Name("thresher_checkpoints_total")
                      .Help("Checkpoints written.")
                      .Register(registry_)
                      .Add({});
  checkpoint_bytes_ = &BuildCounter()
                           .Name("thresher_checkpoint_bytes_total")
                           .Help("Bytes of checkpoints written.")
                           .Register(registry_)
                           .Add({});
  rejected_ = MakeAll(BuildCounter()
                          .Name("thresher_rejected_total")
                          .Help("Requests refused for want of room, by reason.")
                          .Register(registry_),
                      "reason", kReasons);
  watch_streams_ = &BuildGauge()
                        .Name("thresher_watch_streams")
                        .Help("Open WatchJob streams.")
                        .Register(registry_)
                        .Add({});
  watch_events_thinned_ = &BuildCounter()
                               .Name("thresher_watch_events_thinned_total")
                               .Help("Progress events left out for slow readers.")
                               .Register(registry_)
                               .Add({});
  store_latency_ = MakeAll(BuildHistogram()
                               .Name("thresher_store_latency_seconds")
                               .Help("Time of a store operation, waiting included.")
                               .Register(registry_),
                           "operation", kStoreOperations, CallBuckets());
  rpcs_ = &BuildCounter()
               .Name("thresher_rpcs_total")
               .Help("Finished calls, by method and status code.")
               .Register(registry_);
  for (const char* method : kMethods) rpcs_->Add({{"method", method}, {"code", "OK"}});
  rpc_latency_ = MakeAll(BuildHistogram()
                             .Name("thresher_rpc_latency_seconds")
                             .Help("Time of a call, from its arrival to its status.")
                             .Register(registry_),
                         "method", kMethods, CallBuckets());
  BuildGauge()
      .Name("thresher_build_info")
      .Help("Always 1; the labels say what was built.")
      .Register(registry_)
      .Add({{"version", build_info.version},
            {"commit", build_info.commit},
            {"compiler", build_info.compiler}})
      .Set(1);
}

void Metrics::JobEnded(std::string_view kind, std::string_view outcome) {
  jobs_->Add({{"kind", Bounded(kKinds, kind)}, {"outcome", Bounded(kOutcomes, outcome)}})
      .Increment();
}

void Metrics::JobStarted(double wait_seconds) { job_wait_seconds_->Observe(wait_seconds); }

void Metrics::JobStopped(std::string_view kind, double run_seconds) {
  Select(job_run_seconds_, kind).Observe(run_seconds);
}

void Metrics::IterationDone(std::string_view algorithm, double seconds, double flops) {
  Select(iterations_, algorithm).Increment();
  Select(iteration_seconds_, algorithm).Observe(seconds);
  gradient_flops_->Increment(flops);
}

void Metrics::CheckpointWritten(int64_t bytes) {
  checkpoints_->Increment();
  checkpoint_bytes_->Increment(static_cast<double>(bytes));
}

void Metrics::Rejected(std::string_view reason) { Select(rejected_, reason).Increment(); }

void Metrics::WatchStreamOpened() { watch_streams_->Increment(); }
void Metrics::WatchStreamClosed() { watch_streams_->Decrement(); }
void Metrics::WatchEventsThinned(int64_t count) {
  watch_events_thinned_->Increment(static_cast<double>(count));
}

void Metrics::StoreOperation(std::string_view operation, double seconds) {
  Select(store_latency_, operation).Observe(seconds);
}

void Metrics::RpcFinished(std::string_view method, std::string_view code, double seconds) {
  rpcs_->Add({{"method", Bounded(kMethods, method)}, {"code", Bounded(kCodes, code)}}).Increment();
  Select(rpc_latency_, method).Observe(seconds);
}

void Metrics::SetGaugeSource(std::function<ServerGauges()> source) {
  std::lock_guard<std::mutex> lock(gauge_source_mutex_);
  gauge_source_ = std::move(source);
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const {
  constexpr auto kGauge = prometheus::MetricType::Gauge;
  constexpr auto kCounter = prometheus::MetricType::Counter;
  FamilyList list;
  list.families() = registry_.Collect();

  ServerGauges gauges;
  {
    std::lock_guard<std::mutex> lock(gauge_source_mutex_);
    if (gauge_source_) gauges = gauge_source_();
  }
  list.Add("thresher_queue_depth", "Queued jobs.", kGauge, gauges.queue_depth);
  list.Add("thresher_queue_oldest_wait_seconds",
           "Time that the longest waiting queued job has waited.", kGauge,
           gauges.queue_oldest_wait_seconds);
  list.Add("thresher_workers", "Jobs that may run at once.", kGauge, gauges.workers);
  list.Add("thresher_workers_busy", "Jobs that run.", kGauge, gauges.workers_busy);
  list.Add("thresher_predicted_peak_memory_bytes", "Predicted peak memory of the running jobs.",
           kGauge, gauges.predicted_peak_memory_bytes);
  list.Add("thresher_memory_budget_bytes", "Memory that running jobs may be predicted to need.",
           kGauge, gauges.memory_budget_bytes);
  list.Add("thresher_checkpoint_age_seconds",
           "Age of the oldest last checkpoint among running jobs.", kGauge,
           gauges.checkpoint_age_seconds);

  const ProcessStatistics process = ReadProcessStatistics();
  list.Add("thresher_resident_memory_peak_bytes", "Largest resident memory since the start.",
           kGauge, process.resident_memory_peak_bytes);
  list.Add("process_resident_memory_bytes", "Resident memory.", kGauge,
           process.resident_memory_bytes);
  list.Add("process_cpu_seconds_total", "User and system processor time.", kCounter,
           process.cpu_seconds);
  list.Add("process_open_fds", "Open file descriptors.", kGauge, process.open_fds);
  list.Add("process_max_fds", "Largest number of open file descriptors.", kGauge, process.max_fds);
  list.Add("process_start_time_seconds", "Start of the process, seconds since 1970.", kGauge,
           process.start_time_seconds);
  list.Add("process_threads", "Threads of the process.", kGauge, process.threads);
  return std::move(list.families());
}

struct MetricsPage::Exposer {
  explicit Exposer(const std::string& address) : exposer(address, /*num_threads=*/2) {}
  prometheus::Exposer exposer;
};

MetricsPage::MetricsPage() = default;
MetricsPage::~MetricsPage() = default;

absl::StatusOr<std::unique_ptr<MetricsPage>> MetricsPage::Serve(
    const std::string& address, const std::weak_ptr<Metrics>& metrics) {
  std::unique_ptr<MetricsPage> page(new MetricsPage);
  try {
    page->exposer_ = std::make_unique<Exposer>(address);
    page->exposer_->exposer.RegisterCollectable(metrics);
    const std::vector<int> ports = page->exposer_->exposer.GetListeningPorts();
    page->address_ = address.substr(0, address.rfind(':')) + ":" +
                     std::to_string(ports.empty() ? 0 : ports.front());
  } catch (const std::exception& failure) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": ", failure.what()));
  }
  return page;
}

}  // namespace thresher::telemetry
