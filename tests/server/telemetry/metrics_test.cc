#include "server/telemetry/metrics.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace thresher::telemetry {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

std::string Page(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

// Everything that can happen, once.
void Exercise(Metrics& metrics) {
  metrics.JobEnded("recovery", "succeeded");
  metrics.JobStarted(0.01);
  metrics.JobStopped("recovery", 2.5);
  metrics.IterationDone("niht", 0.002, 1e6);
  metrics.CheckpointWritten(1000);
  metrics.Rejected("QUEUE_FULL");
  metrics.WatchStreamOpened();
  metrics.WatchEventsThinned(3);
  metrics.StoreOperation("commit", 0.004);
  metrics.RpcFinished("thresher.v1.JobService/GetJob", "OK", 0.001);
  metrics.SetGaugeSource([] {
    return ServerGauges{.queue_depth = 5,
                        .queue_oldest_wait_seconds = 1.5,
                        .workers = 2,
                        .workers_busy = 1,
                        .predicted_peak_memory_bytes = 77,
                        .memory_budget_bytes = 100,
                        .checkpoint_age_seconds = 4};
  });
}

TEST(MetricsTest, EveryNameOfTheContractIsThere) {
  Metrics metrics({.version = "1", .commit = "c", .compiler = "g++"});
  Exercise(metrics);
  std::set<std::string> names;
  for (const auto& family : metrics.Collect()) {
    EXPECT_FALSE(family.help.empty()) << family.name;
    EXPECT_TRUE(names.insert(family.name).second) << family.name << " is there twice";
  }
  EXPECT_THAT(names, IsSupersetOf({"thresher_jobs_total",
                                   "thresher_queue_depth",
                                   "thresher_queue_oldest_wait_seconds",
                                   "thresher_job_wait_seconds",
                                   "thresher_job_run_seconds",
                                   "thresher_workers",
                                   "thresher_workers_busy",
                                   "thresher_iterations_total",
                                   "thresher_iteration_seconds",
                                   "thresher_gradient_flops_total",
                                   "thresher_checkpoints_total",
                                   "thresher_checkpoint_age_seconds",
                                   "thresher_checkpoint_bytes_total",
                                   "thresher_rejected_total",
                                   "thresher_watch_streams",
                                   "thresher_watch_events_thinned_total",
                                   "thresher_predicted_peak_memory_bytes",
                                   "thresher_memory_budget_bytes",
                                   "thresher_resident_memory_peak_bytes",
                                   "thresher_store_latency_seconds",
                                   "thresher_rpcs_total",
                                   "thresher_rpc_latency_seconds",
                                   "thresher_build_info",
                                   "process_resident_memory_bytes",
                                   "process_cpu_seconds_total",
                                   "process_open_fds",
                                   "process_max_fds",
                                   "process_start_time_seconds",
                                   "process_threads"}));
}

TEST(MetricsTest, CountsWhatHappened) {
  Metrics metrics({.version = "1.2", .commit = "abc", .compiler = "g++ 12"});
  Exercise(metrics);
  const std::string page = Page(metrics);
  for (const char* line : {"thresher_jobs_total{kind=\"recovery\",outcome=\"succeeded\"} 1\n",
                           "thresher_jobs_total{kind=\"recovery\",outcome=\"failed\"} 0\n",
                           "thresher_job_wait_seconds_count 1\n",
                           "thresher_job_run_seconds_sum{kind=\"recovery\"} 2.5\n",
                           "thresher_iterations_total{algorithm=\"niht\"} 1\n",
                           "thresher_iterations_total{algorithm=\"aiht\"} 0\n",
                           "thresher_gradient_flops_total 1000000\n",
                           "thresher_checkpoints_total 1\n",
                           "thresher_checkpoint_bytes_total 1000\n",
                           "thresher_rejected_total{reason=\"QUEUE_FULL\"} 1\n",
                           "thresher_watch_streams 1\n",
                           "thresher_watch_events_thinned_total 3\n",
                           "thresher_queue_depth 5\n",
                           "thresher_queue_oldest_wait_seconds 1.5\n",
                           "thresher_workers 2\n",
                           "thresher_workers_busy 1\n",
                           "thresher_predicted_peak_memory_bytes 77\n",
                           "thresher_memory_budget_bytes 100\n",
                           "thresher_checkpoint_age_seconds 4\n",
                           "thresher_store_latency_seconds_count{operation=\"commit\"} 1\n"}) {
    EXPECT_THAT(page, HasSubstr(line));
  }
  metrics.WatchStreamClosed();
  EXPECT_THAT(Page(metrics), HasSubstr("thresher_watch_streams 0\n"));
}

size_t NumSeries(const Metrics& metrics) {
  size_t count = 0;
  for (const auto& family : metrics.Collect()) count += family.metric.size();
  return count;
}

TEST(MetricsTest, LabelsStayBounded) {
  Metrics metrics({});
  auto hostile = [&metrics](int i) {
    const std::string name = "made/up\"\n" + std::to_string(i);
    metrics.RpcFinished(name, name, 0);
    metrics.JobEnded(name, name);
    metrics.JobStopped(name, 0);
    metrics.IterationDone(name, 0, 0);
    metrics.Rejected(name);
    metrics.StoreOperation(name, 0);
  };
  hostile(0);
  const size_t series = NumSeries(metrics);
  for (int i = 1; i < 100; ++i) hostile(i);
  EXPECT_EQ(NumSeries(metrics), series);
  EXPECT_THAT(Page(metrics), HasSubstr("method=\"other\""));
  EXPECT_EQ(Page(metrics).find("made/up"), std::string::npos);
}

TEST(MetricsTest, CountsFromManyThreads) {
  Metrics metrics({});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&metrics] {
      for (int i = 0; i < 1000; ++i) metrics.RpcFinished("x", "OK", 0.1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Page(metrics),
              HasSubstr("thresher_rpc_latency_seconds_count{method=\"other\"} 4000\n"));
}

// Asks over HTTP/1.0 and gives the whole answer.
std::string Fetch(const std::string& address) {
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  std::string answer;
  if (connect(descriptor, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) {
    const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
    if (write(descriptor, request.data(), request.size()) > 0) {
      char buffer[65536];
      for (ssize_t n = 0; (n = read(descriptor, buffer, sizeof(buffer))) > 0;) {
        answer.append(buffer, static_cast<size_t>(n));
      }
    }
  }
  close(descriptor);
  return answer;
}

TEST(MetricsPageTest, ServesOnAPortOfItsChoice) {
  const auto metrics = std::make_shared<Metrics>(BuildInfo{.version = "9.9"});
  const auto page = MetricsPage::Serve("127.0.0.1:0", metrics);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_NE((*page)->address(), "127.0.0.1:0");
  const std::string answer = Fetch((*page)->address());
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("version=\"9.9\""));
  // The port is taken now.
  const auto second = MetricsPage::Serve((*page)->address(), metrics);
  EXPECT_FALSE(second.ok());
}

// Leaves the page in a file, for promtool_check_metrics.sh.
TEST(MetricsPageTest, WritesItselfWhenAsked) {
  Metrics metrics({.version = "1", .commit = "c", .compiler = "g++"});
  Exercise(metrics);
  const std::string page = Page(metrics);
  EXPECT_FALSE(page.empty());
  if (const char* file = std::getenv("THRESHER_METRICS_PAGE")) {
    std::FILE* out = std::fopen(file, "w");
    ASSERT_NE(out, nullptr);
    EXPECT_EQ(std::fwrite(page.data(), 1, page.size(), out), page.size());
    std::fclose(out);
  }
}

}  // namespace
}  // namespace thresher::telemetry
