// Everything the server counts, and the page that Prometheus reads. README.md lists the
// names; they are a contract with dashboards and alert rules.
//
// Labels are bounded: a value that is not on its list becomes "other". No label ever
// holds a name that a client chose.
#ifndef THRESHER_SERVER_TELEMETRY_METRICS_H_
#define THRESHER_SERVER_TELEMETRY_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace thresher::telemetry {

struct BuildInfo {
  std::string version;
  std::string commit;  // empty when unknown
  std::string compiler;
};

// What is read from the server at each scrape instead of being counted.
struct ServerGauges {
  int64_t queue_depth = 0;
  double queue_oldest_wait_seconds = 0;  // 0 when the queue is empty
  int64_t workers = 0;
  int64_t workers_busy = 0;
  int64_t predicted_peak_memory_bytes = 0;  // summed over running jobs
  int64_t memory_budget_bytes = 0;
  // Of the running job whose last checkpoint is oldest; 0 when no job runs.
  double checkpoint_age_seconds = 0;
};

// Thread-safe. Each call costs a few atomic operations and one look-up.
class Metrics : public prometheus::Collectable {
 public:
  explicit Metrics(const BuildInfo& build_info);

  // kind: "recovery", "pruning"; outcome: "succeeded", "failed", "cancelled".
  void JobEnded(std::string_view kind, std::string_view outcome);
  // Time between creation (or requeueing) and start.
  void JobStarted(double wait_seconds);
  void JobStopped(std::string_view kind, double run_seconds);

  // algorithm: "iht", "niht", "aiht", "htp", "winnow", "cosamp", "splicing",
  // "reciprocal", "svrg", "count_sketch", "sequential".
  void IterationDone(std::string_view algorithm, double seconds, double flops);
  void CheckpointWritten(int64_t bytes);

  // Requests that were refused for want of room; reasons are those of ErrorInfo.
  void Rejected(std::string_view reason);

  void WatchStreamOpened();
  void WatchStreamClosed();
  void WatchEventsThinned(int64_t count);

  // operation: "commit".
  void StoreOperation(std::string_view operation, double seconds);

  // method: "thresher.v1.JobService/CreateJob"; code: "OK", "NOT_FOUND", ...
  void RpcFinished(std::string_view method, std::string_view code, double seconds);

  // Called at each scrape, on the scraping thread; null for none. The earlier source is
  // not called any more when this returns.
  void SetGaugeSource(std::function<ServerGauges()> source);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  // The metrics of one family by the value of its first label, made up front, and one
  // for every other value.
  template <typename Metric>
  using ByLabel = std::map<std::string, Metric*, std::less<>>;

  prometheus::Registry registry_;

  prometheus::Family<prometheus::Counter>* jobs_ = nullptr;
  prometheus::Histogram* job_wait_seconds_ = nullptr;
  ByLabel<prometheus::Histogram> job_run_seconds_;
  ByLabel<prometheus::Counter> iterations_;
  ByLabel<prometheus::Histogram> iteration_seconds_;
  prometheus::Counter* gradient_flops_ = nullptr;
  prometheus::Counter* checkpoints_ = nullptr;
  prometheus::Counter* checkpoint_bytes_ = nullptr;
  ByLabel<prometheus::Counter> rejected_;
  prometheus::Gauge* watch_streams_ = nullptr;
  prometheus::Counter* watch_events_thinned_ = nullptr;
  ByLabel<prometheus::Histogram> store_latency_;
  prometheus::Family<prometheus::Counter>* rpcs_ = nullptr;
  ByLabel<prometheus::Histogram> rpc_latency_;

  mutable std::mutex gauge_source_mutex_;
  std::function<ServerGauges()> gauge_source_;  // guarded by gauge_source_mutex_
};

// Serves `metrics` as text on http://<address>/metrics until it is destroyed.
class MetricsPage {
 public:
  // address: HOST:PORT, [V6]:PORT; port 0 picks one. The page holds the metrics weakly.
  // Errors: UNAVAILABLE when it cannot listen there.
  static absl::StatusOr<std::unique_ptr<MetricsPage>> Serve(const std::string& address,
                                                            const std::weak_ptr<Metrics>& metrics);
  ~MetricsPage();

  // HOST:PORT with the port that was picked.
  const std::string& address() const { return address_; }

 private:
  struct Exposer;
  MetricsPage();

  std::unique_ptr<Exposer> exposer_;
  std::string address_;
};

}  // namespace thresher::telemetry

#endif  // THRESHER_SERVER_TELEMETRY_METRICS_H_
