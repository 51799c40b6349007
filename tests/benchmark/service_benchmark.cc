// What thresherd does in a second, over one connection:
//   time from the CreateJob call to the watcher's event that the job is RUNNING, on an
//   idle server;
//   durable CreateJob calls, by the number of calls in flight;
//   GetJob calls.
//
//   service_benchmark [HOST:PORT]
//
// Without an address it starts a server of its own, with its data in a temporary folder.
// A server that is given needs an empty data directory and --max_queued_jobs 1000000.
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "thresher/v1/dataset_service.grpc.pb.h"
#include "thresher/v1/job_service.grpc.pb.h"

namespace thresher {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kDataset[] = "service-benchmark";

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void Require(const grpc::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.error_message().c_str());
  std::exit(1);
}

double Percentile(std::vector<double> sorted, double percent) {
  const auto index = static_cast<size_t>(percent / 100.0 * static_cast<double>(sorted.size()));
  return sorted[std::min(index, sorted.size() - 1)];
}

void PrintRow(const std::string& what, double per_second, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  std::printf("| %-34s | %9.0f | %7.2f | %7.2f | %7.2f |\n", what.c_str(), per_second,
              Percentile(seconds, 50) * 1e3, Percentile(seconds, 99) * 1e3, seconds.back() * 1e3);
  std::fflush(stdout);
}

// Runs `call` num_calls times on num_threads threads; each is one call in flight.
void Measure(const std::string& what, int num_threads, int num_calls,
             const std::function<void()>& call) {
  std::atomic<int> next = 0;
  std::vector<std::vector<double>> seconds(static_cast<size_t>(num_threads));
  std::vector<std::thread> threads;
  const auto start = Clock::now();
  for (auto& mine : seconds) {
    threads.emplace_back([&] {
      while (next++ < num_calls) {
        const auto begin = Clock::now();
        call();
        mine.push_back(SecondsSince(begin));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double elapsed = SecondsSince(start);
  std::vector<double> all;
  for (const auto& mine : seconds) all.insert(all.end(), mine.begin(), mine.end());
  PrintRow(what + ", " + std::to_string(num_threads) + " in flight",
           static_cast<double>(all.size()) / elapsed, all);
}

v1::CreateJobRequest SmallJob() {
  v1::CreateJobRequest request;
  auto& spec = *request.mutable_job()->mutable_recovery();
  spec.set_dataset(std::string("datasets/") + kDataset);
  spec.mutable_options()->set_hidden_width(2);
  spec.mutable_options()->set_nonzeros(2);
  spec.mutable_options()->set_max_iterations(1);
  return request;
}

// One job at a time: created, seen RUNNING, ended.
void MeasureStart(v1::JobService::Stub& jobs, int num_jobs) {
  std::vector<double> seconds;
  const auto start = Clock::now();
  for (int i = 0; i < num_jobs; ++i) {
    const auto begin = Clock::now();
    v1::Job job;
    grpc::ClientContext create_context;
    Require(jobs.CreateJob(&create_context, SmallJob(), &job), "CreateJob");
    grpc::ClientContext watch_context;
    v1::WatchJobRequest watch;
    watch.set_name(job.name());
    const auto reader = jobs.WatchJob(&watch_context, watch);
    v1::WatchJobResponse response;
    while (reader->Read(&response)) {
      if (response.event().state_change().state() == v1::JOB_STATE_RUNNING) {
        seconds.push_back(SecondsSince(begin));
      }
    }
    Require(reader->Finish(), "WatchJob");
  }
  PrintRow("CreateJob to RUNNING, watched", static_cast<double>(num_jobs) / SecondsSince(start),
           seconds);
}

// A thresherd of our own, from construction to destruction.
class OwnServer {
 public:
  OwnServer() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "service-benchmark.XXXXXX").string();
    int output[2];
    if (mkdtemp(pattern.data()) == nullptr || pipe(output) != 0) std::abort();
    directory_ = pattern;
    process_ = fork();
    if (process_ == 0) {
      dup2(output[1], STDOUT_FILENO);
      execl(THRESHERD, THRESHERD, "--listen_address", "127.0.0.1:0", "--metrics_address",
            "127.0.0.1:0", "--data_dir", directory_.c_str(), "--max_queued_jobs", "1000000",
            "--log_level", "warning", static_cast<char*>(nullptr));
      _exit(127);
    }
    close(output[1]);
    std::FILE* lines = fdopen(output[0], "r");
    char line[256] = "";
    const std::string start = "listening on ";
    if (std::fgets(line, sizeof(line), lines) == nullptr || std::string(line).find(start) != 0) {
      std::fprintf(stderr, "%s did not start\n", THRESHERD);
      std::exit(1);
    }
    address_ = std::string(line).substr(start.size());
    address_.pop_back();  // the line's end
  }
  ~OwnServer() {
    // Nothing of it is kept, so it need not run the jobs that still wait.
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    std::filesystem::remove_all(directory_);
  }
  OwnServer(const OwnServer&) = delete;
  OwnServer& operator=(const OwnServer&) = delete;
  const std::string& address() const { return address_; }

 private:
  pid_t process_ = -1;
  std::string directory_;
  std::string address_;
};

int Run(const std::string& address) {
  const auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  const auto jobs = v1::JobService::NewStub(channel);
  const auto datasets = v1::DatasetService::NewStub(channel);
  v1::CreateDatasetRequest dataset;
  dataset.set_dataset_id(kDataset);
  dataset.set_request_id(kDataset);
  auto& planted = *dataset.mutable_dataset()->mutable_planted();
  planted.set_num_samples(20);
  planted.set_num_inputs(3);
  planted.set_hidden_width(2);
  planted.set_nonzeros(2);
  grpc::ClientContext context;
  v1::Dataset created;
  Require(datasets->CreateDataset(&context, dataset, &created), "CreateDataset");

  std::printf("| %-34s | %9s | %7s | %7s | %7s |\n", "one connection", "calls/s", "p50 ms",
              "p99 ms", "max ms");
  std::printf("|---|---:|---:|---:|---:|\n");
  MeasureStart(*jobs, 1000);
  for (const int in_flight : {1, 8, 64}) {
    Measure("CreateJob, durable", in_flight, in_flight == 1 ? 500 : 3000, [&jobs] {
      grpc::ClientContext call;
      v1::Job job;
      Require(jobs->CreateJob(&call, SmallJob(), &job), "CreateJob");
    });
  }
  v1::Job known;
  grpc::ClientContext known_context;
  Require(jobs->CreateJob(&known_context, SmallJob(), &known), "CreateJob");
  for (const int in_flight : {1, 16}) {
    Measure("GetJob", in_flight, 5000, [&jobs, &known] {
      grpc::ClientContext call;
      v1::GetJobRequest request;
      request.set_name(known.name());
      v1::Job job;
      Require(jobs->GetJob(&call, request, &job), "GetJob");
    });
  }
  return 0;
}

}  // namespace
}  // namespace thresher

int main(int argc, char** argv) {
  if (argc > 2) {
    std::fprintf(stderr, "usage: service_benchmark [HOST:PORT]\n");
    return 2;
  }
  if (argc == 2) return thresher::Run(argv[1]);
  const thresher::OwnServer server;
  return thresher::Run(server.address());
}
