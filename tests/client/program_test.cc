// The program itself, as scripts and people see it: exit codes, output and signals.

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_server.h"

namespace thresher::client {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

// Where a program's stdout goes: a pipe, a terminal of 80 columns, or /dev/full.
enum class Output { kPipe, kTerminal, kFullDevice };

// A running `thresher`.
class Program {
 public:
  Program(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
          Output output = Output::kPipe) {
    int err[2], out[2];
    EXPECT_EQ(pipe2(err, O_CLOEXEC), 0);
    if (output == Output::kTerminal) {
      winsize size{24, 80, 0, 0};
      EXPECT_EQ(openpty(&out[0], &out[1], nullptr, nullptr, &size), 0);
      fcntl(out[0], F_SETFD, FD_CLOEXEC);
      fcntl(out[1], F_SETFD, FD_CLOEXEC);
    } else {
      EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
    }
    if (output == Output::kFullDevice) {
      close(out[1]);
      out[1] = open("/dev/full", O_WRONLY | O_CLOEXEC);
    }
    out_ = out[0];
    err_ = err[0];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    std::vector<char*> argv, envp;
    std::string program = THRESHER_PROGRAM;
    argv.push_back(program.data());
    for (const std::string& each : arguments) argv.push_back(const_cast<char*>(each.c_str()));
    for (const std::string& each : environment) envp.push_back(const_cast<char*>(each.c_str()));
    argv.push_back(nullptr);
    envp.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), envp.data()), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
  }
  ~Program() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
    close(err_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Reads until stdout holds the text; false when it ends before.
  bool ReadUntil(const std::string& text) {
    while (out_text_.find(text) == std::string::npos) {
      if (!ReadSome()) return false;
    }
    return true;
  }

  void Signal(int number) { kill(pid_, number); }

  // Reads the rest and returns the exit code, or -N after signal N.
  int Wait() {
    while (ReadSome()) {
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  const std::string& out() const { return out_text_; }
  const std::string& err() const { return err_text_; }

 private:
  // Waits for output of either kind; false at the end of both.
  bool ReadSome() {
    pollfd waiting[2] = {{out_open_ ? out_ : -1, POLLIN, 0}, {err_open_ ? err_ : -1, POLLIN, 0}};
    if (!out_open_ && !err_open_) return false;
    poll(waiting, 2, -1);
    if (waiting[0].revents != 0) out_open_ = Read(out_, &out_text_);
    if (waiting[1].revents != 0) err_open_ = Read(err_, &err_text_);
    return true;
  }
  static bool Read(int descriptor, std::string* text) {
    char buffer[4096];
    const ssize_t count = read(descriptor, buffer, sizeof(buffer));  // a closed pty fails
    if (count > 0) text->append(buffer, count);
    return count > 0;
  }

  pid_t pid_ = 0;
  int out_, err_;
  bool out_open_ = true, err_open_ = true;
  std::string out_text_, err_text_;
};

struct Result {
  int exit_code;
  std::string out;
  std::string err;
};

std::vector<json> JsonLines(const std::string& text) {
  std::vector<json> objects;
  for (const auto& line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    objects.push_back(json::parse(std::string(line)));  // throws on anything else
    EXPECT_TRUE(objects.back().is_object());
  }
  EXPECT_TRUE(text.empty() || text.back() == '\n');
  return objects;
}

class ProgramTest : public testing::Test {
 protected:
  ProgramTest() {
    std::string pattern = testing::TempDir() + "/program_test-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    v1::Dataset dataset;
    dataset.set_name("datasets/planted");
    dataset.mutable_planted()->set_nonzeros(20);
    dataset.set_num_samples(5000);
    dataset.set_num_inputs(100);
    v1::Model model;
    model.set_name("models/first");
    server_.Edit([&](FakeWorld& world) {
      world.jobs = {QueuedJob()};
      world.datasets = {dataset};
      world.models = {model};
      world.model_file = "the model";
    });
  }
  ~ProgramTest() override { std::filesystem::remove_all(directory_); }

  std::vector<std::string> Environment(const std::string& term = "xterm") {
    return {"THRESHER_SERVER=" + server_.address(), "TERM=" + term, "LC_ALL=C.UTF-8"};
  }
  // `arguments` is split at spaces.
  Program Start(const std::string& arguments) {
    return Program(absl::StrSplit(arguments, ' ', absl::SkipEmpty()), Environment());
  }
  Result Run(const std::string& arguments) {
    Program program = Start(arguments);
    const int exit_code = program.Wait();
    return {exit_code, program.out(), program.err()};
  }
  void SetJobEnd(v1::JobState state, int iterations = 5) {
    server_.Edit(
        [&](FakeWorld& world) { world.events = EventsOfJob(world.jobs[0], iterations, state); });
  }

  FakeServer server_;
  std::filesystem::path directory_;
};

constexpr char kRecover[] = "recover --dataset planted --hidden_width 20 --nonzeros 20 ";

TEST_F(ProgramTest, ExitCodesOfWatchedJobs) {
  const std::vector<std::pair<v1::JobState, int>> cases = {
      {v1::JOB_STATE_SUCCEEDED, 0}, {v1::JOB_STATE_FAILED, 4}, {v1::JOB_STATE_CANCELLED, 5}};
  for (const auto& [state, exit_code] : cases) {
    SetJobEnd(state);
    for (const std::string format : {"", "--json "}) {
      EXPECT_EQ(Run(format + "jobs watch first").exit_code, exit_code);
      EXPECT_EQ(Run(format + kRecover + "--watch").exit_code, exit_code);
    }
  }
}

TEST_F(ProgramTest, ASweepOfWhichEveryCellFailedIsExitCode4) {
  server_.Edit([](FakeWorld& world) {
    v1::Job& job = world.jobs[0];
    job.mutable_sweep();
    v1::SweepCell& row = *job.mutable_sweep_report()->add_rows();
    row.set_state(v1::SWEEP_CELL_STATE_FAILED);
    row.mutable_error()->set_message("epochs must be at least 1");
  });
  SetJobEnd(v1::JOB_STATE_SUCCEEDED);
  const std::string compare =
      "compare --dataset planted --hidden_width 20 --nonzeros 20 --methods imp";
  const Result all_failed = Run(compare);
  EXPECT_EQ(all_failed.exit_code, 4);
  EXPECT_THAT(all_failed.out, HasSubstr("1 cell failed: epochs must be at least 1"));
  EXPECT_EQ(Run("--json " + compare).exit_code, 4);
  server_.Edit([](FakeWorld& world) {
    world.jobs[0].mutable_sweep_report()->add_rows()->set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
  });
  EXPECT_EQ(Run(compare).exit_code, 0);
}

// Regression: cells that were cancelled counted as done. The last event has no rows to tell.
TEST_F(ProgramTest, AWatchedSweepThatIsCancelledSaysHowManyCellsWere) {
  SetJobEnd(v1::JOB_STATE_CANCELLED);
  server_.Edit([](FakeWorld& world) {
    v1::Job& ended = *world.events.back().mutable_job();
    ended.mutable_sweep();
    v1::SweepReport* report = ended.mutable_sweep_report();
    report->set_termination_reason(v1::TERMINATION_REASON_CANCELLED);
    report->set_cells_total(12);
    report->set_cells_done(2);
    world.jobs[0] = ended;
    for (int i = 0; i < 2; ++i) {
      world.jobs[0].mutable_sweep_report()->add_rows()->set_state(v1::SWEEP_CELL_STATE_CANCELLED);
    }
  });
  const Result result = Run("jobs watch first");
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.out, HasSubstr("Cancelled after 0 of 12 cells, 2 cancelled while running ("));
}

TEST_F(ProgramTest, AFileOfAModelThatIsNotThereIsNoIdOfAModel) {
  for (const std::string input : {"missing.onnx", "./missing", "/no/such/folder/net"}) {
    for (const std::string& command :
         {"models convert " + input + " --output a.npz", "models report " + input}) {
      const Result result = Run(command);
      EXPECT_EQ(result.exit_code, 2) << command;
      EXPECT_THAT(result.err, HasSubstr("no such file")) << command;
    }
  }
  EXPECT_THAT(server_.Look().named, IsEmpty());
  Run("models report models/first");
  EXPECT_THAT(server_.Look().named, ElementsAre("models/first"));
}

TEST_F(ProgramTest, ExitCodesOfErrors) {
  EXPECT_EQ(Run("--help").exit_code, 0);
  EXPECT_EQ(Run("--version").exit_code, 0);
  EXPECT_EQ(Run("").exit_code, 2);
  EXPECT_EQ(Run("jobs lits").exit_code, 2);
  EXPECT_EQ(Run("models predict m --row 1,x").exit_code, 2);
  EXPECT_EQ(Run("models predict m --inputs /none/x.csv").exit_code, 2);
  EXPECT_EQ(Run("datasets upload --csv /none/x.csv --target y").exit_code, 2);
  EXPECT_EQ(Run("models download m --output /none/m.npz").exit_code, 2);
  server_.Edit([](FakeWorld& world) {
    world.failures = {{grpc::StatusCode::NOT_FOUND, "there is no job a"}};
  });
  const Result missing = Run("jobs get a");
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_THAT(missing.out, IsEmpty());
  EXPECT_THAT(missing.err, HasSubstr("there is no job a"));
  EXPECT_THAT(missing.err, HasSubstr("jobs list"));
}

TEST_F(ProgramTest, UnreachableServerIsExplained) {
  const std::string nowhere = "unix:" + (directory_ / "socket").string();
  const Result result = Run("--server " + nowhere + " jobs list");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("No thresherd answers at " + nowhere));
  EXPECT_THAT(result.err, HasSubstr("thresherd --data_dir"));
  EXPECT_EQ(Run("--server " + nowhere + " health").exit_code, 3);
}

TEST_F(ProgramTest, HealthIsZeroOnlyWhenServing) {
  using grpc::health::v1::HealthCheckResponse;
  EXPECT_EQ(Run("health").exit_code, 0);
  EXPECT_EQ(Run("server health").exit_code, 0);
  for (const auto status : {HealthCheckResponse::NOT_SERVING, HealthCheckResponse::UNKNOWN,
                            HealthCheckResponse::SERVICE_UNKNOWN}) {
    server_.Edit([&](FakeWorld& world) { world.health = status; });
    EXPECT_EQ(Run("health").exit_code, 3);
    EXPECT_EQ(JsonLines(Run("--json health").out)[0]["status"],
              HealthCheckResponse::ServingStatus_Name(status));
  }
}

TEST_F(ProgramTest, EveryCommandPrintsJsonLines) {
  SetJobEnd(v1::JOB_STATE_SUCCEEDED);
  const std::string csv = directory_ / "t.csv";
  std::ofstream(csv) << "a,y\n1,2\n3,4\n";
  const std::string output = directory_ / "m.npz";
  for (const std::string& command :
       {std::string("server info"), std::string("server health"),
        std::string("datasets plant --num_samples 5 --num_inputs 2 --hidden_width 2 --nonzeros 2"),
        "datasets upload --csv " + csv + " --target y", std::string("datasets list"),
        std::string("datasets get planted"), std::string("datasets delete planted"),
        std::string(kRecover), std::string(kRecover) + "--validate_only", std::string("jobs list"),
        std::string("jobs get first"), std::string("jobs cancel first"),
        std::string("jobs delete first"), std::string("models list"),
        std::string("models get first"), "models download first --output " + output,
        std::string("models predict first --row 1,2"), std::string("models delete first")}) {
    const Result result = Run(command + " --json");
    EXPECT_EQ(result.exit_code, 0) << command << result.err;
    EXPECT_THAT(result.err, IsEmpty()) << command;
    EXPECT_THAT(JsonLines(result.out), SizeIs(1)) << command << result.out;
    EXPECT_EQ(Run(command).exit_code, 0) << command;
  }
  std::ifstream file(output);
  std::string text;
  std::getline(file, text);
  EXPECT_EQ(text, "the model");
}

TEST_F(ProgramTest, WatchingPrintsAJsonLineAnEvent) {
  SetJobEnd(v1::JOB_STATE_SUCCEEDED, 7);
  const auto watched = JsonLines(Run("--json jobs watch first").out);
  ASSERT_THAT(watched, SizeIs(10));
  for (size_t i = 0; i < watched.size(); ++i) {
    EXPECT_EQ(watched[i]["number"], absl::StrCat(i + 1));
  }
  EXPECT_EQ(watched[4]["progress"]["iteration"], "3");
  EXPECT_EQ(watched.back()["job"]["recoveryReport"]["planted"]["exact"], true);
  const auto recovered = JsonLines(Run(std::string("--json ") + kRecover + "--watch").out);
  ASSERT_THAT(recovered, SizeIs(11));
  EXPECT_EQ(recovered[0]["name"], "jobs/first");
  EXPECT_THAT(JsonLines(Run("--json jobs watch first --after 8").out), SizeIs(2));
}

TEST_F(ProgramTest, ErrorsAreOneJsonObjectToo) {
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  server_.Edit([&](FakeWorld& world) {
    world.failures = {
        StatusWithDetails(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", {&info})};
  });
  const Result result = Run(std::string("--json ") + kRecover);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.out, IsEmpty());
  const auto errors = JsonLines(result.err);
  ASSERT_THAT(errors, SizeIs(1));
  EXPECT_EQ(errors[0]["code"], 8);
  EXPECT_EQ(errors[0]["details"][0]["reason"], "QUEUE_FULL");
  EXPECT_EQ(JsonLines(Run("--json jobs lits").err)[0]["code"], 3);
}

TEST_F(ProgramTest, WatchingWithoutATerminalPrintsALineAnEventAndTheSummary) {
  SetJobEnd(v1::JOB_STATE_SUCCEEDED);
  const Result result = Run(std::string(kRecover) + "--watch");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("iteration 5  residual 0.0312"));
  EXPECT_THAT(result.out, HasSubstr("20 of 20 planted weights found, weights within 3e-08, "
                                    "held-out PSNR 152.3 dB: this is the planted network."));
  EXPECT_THAT(result.out, HasSubstr("models download first"));
  EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
}

TEST_F(ProgramTest, WatchingOnATerminalRedrawsAPanel) {
  SetJobEnd(v1::JOB_STATE_SUCCEEDED);
  Program program({"jobs", "watch", "first"}, Environment(), Output::kTerminal);
  EXPECT_EQ(program.Wait(), 0);
  EXPECT_THAT(program.out(), HasSubstr("\x1b[K"));
  EXPECT_THAT(program.out(), HasSubstr("SUCCEEDED"));
  EXPECT_THAT(program.out(), HasSubstr("█"));
  std::string words = program.out();
  words.erase(std::remove(words.begin(), words.end(), '\r'), words.end());
  std::replace(words.begin(), words.end(), '\n', ' ');
  EXPECT_THAT(words, HasSubstr("this is the planted network."));
  EXPECT_THAT(words, Not(HasSubstr("#1")));
}

TEST_F(ProgramTest, DumbTerminalsAndNoColourAreRespected) {
  SetJobEnd(v1::JOB_STATE_SUCCEEDED);
  Program dumb({"jobs", "watch", "first"}, Environment("dumb"), Output::kTerminal);
  EXPECT_EQ(dumb.Wait(), 0);
  EXPECT_EQ(dumb.out().find('\x1b'), std::string::npos);
  EXPECT_THAT(dumb.out(), HasSubstr("#1"));
  std::vector<std::string> environment = Environment();
  environment.push_back("NO_COLOR=1");
  Program plain({"jobs", "watch", "first"}, environment, Output::kTerminal);
  EXPECT_EQ(plain.Wait(), 0);
  EXPECT_THAT(plain.out(), HasSubstr("\x1b[K"));
  EXPECT_THAT(plain.out(), Not(HasSubstr("m\x1b[K")));
  EXPECT_THAT(plain.out(), Not(HasSubstr("\x1b[0m")));
}

TEST_F(ProgramTest, InterruptStopsWatchingAndNotTheJob) {
  server_.Edit([](FakeWorld& world) {
    world.events = EventsOfJob(world.jobs[0], 3, v1::JOB_STATE_RUNNING);
  });
  for (const int signal : {SIGINT, SIGTERM}) {
    Program program = Start("jobs watch first");
    ASSERT_TRUE(program.ReadUntil("iteration 3")) << program.err();
    program.Signal(signal);
    EXPECT_EQ(program.Wait(), 130);
    EXPECT_THAT(program.err(), HasSubstr("the job goes on"));
    EXPECT_THAT(program.err(), HasSubstr("jobs cancel first"));
  }
  EXPECT_EQ(server_.Look().calls.count("CancelJob"), 0u);
  Program program = Start("--json jobs watch first");
  ASSERT_TRUE(program.ReadUntil("\"iteration\":\"3\""));
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait(), 130);
  JsonLines(program.out());
  EXPECT_THAT(JsonLines(program.err()), SizeIs(1));
}

TEST_F(ProgramTest, WatchingSurvivesARestartOfTheServer) {
  std::vector<v1::JobEvent> all;
  server_.Edit([&](FakeWorld& world) {
    all = EventsOfJob(world.jobs[0], 5, v1::JOB_STATE_SUCCEEDED);
    world.events.assign(all.begin(), all.begin() + 4);
  });
  Program program = Start("--json jobs watch first");
  ASSERT_TRUE(program.ReadUntil("\"number\":\"4\""));
  server_.Edit([&](FakeWorld& world) { world.events = all; });
  server_.Restart();
  EXPECT_EQ(program.Wait(), 0) << program.err();
  EXPECT_THAT(JsonLines(program.out()), SizeIs(all.size()));
  EXPECT_THAT(JsonLines(program.err()), Not(IsEmpty()));
}

TEST_F(ProgramTest, ListsStopAtTheLimitAndPassTheFilterOn) {
  server_.Edit([](FakeWorld& world) { world.jobs.assign(120, QueuedJob()); });
  EXPECT_THAT(JsonLines(Run("--json jobs list").out), SizeIs(50));
  EXPECT_THAT(JsonLines(Run("--json jobs list --limit 0").out), SizeIs(120));
  EXPECT_THAT(JsonLines(Run("--json jobs list --limit 7 --filter state=QUEUED").out), SizeIs(7));
  EXPECT_EQ(server_.Look().list_jobs_requests.back().filter(), "state=QUEUED");
}

TEST_F(ProgramTest, AModelFileIsUploadedBeforeItIsPruned) {
  const std::string file = directory_ / "net.onnx";
  std::ofstream(file) << "weights";
  const std::string prune = "prune --dataset planted --fraction 0.5 --label team=x --model ";
  Result result = Run(prune + file);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Uploaded models/first"));
  FakeWorld world = server_.Look();
  ASSERT_THAT(world.model_uploads, SizeIs(1));
  EXPECT_EQ(world.model_uploads[0].second, "weights");
  EXPECT_EQ(world.model_uploads[0].first.format(), v1::MODEL_FORMAT_ONNX);
  EXPECT_EQ(world.model_uploads[0].first.model().labels().at("team"), "x");
  ASSERT_THAT(world.create_job_requests, SizeIs(1));
  EXPECT_EQ(world.create_job_requests[0].job().pruning().model(), "models/first");
  EXPECT_EQ(Run("--json " + prune + file).exit_code, 0);
  // A model of the server is named as it is.
  EXPECT_EQ(Run(prune + "net").exit_code, 0);
  EXPECT_EQ(Run(prune + "models/net").exit_code, 0);
  world = server_.Look();
  EXPECT_THAT(world.model_uploads, SizeIs(2));
  EXPECT_EQ(world.create_job_requests[2].job().pruning().model(), "models/net");
  EXPECT_EQ(world.create_job_requests[3].job().pruning().model(), "models/net");
  // What is no file, or does not say its format, is not sent.
  const std::string nameless = directory_ / "net";
  std::ofstream(nameless) << "weights";
  for (const auto& [arguments, text] : std::vector<std::pair<std::string, std::string>>{
           {prune + "no-such.onnx", "there is no file"},
           {prune + nameless, "--model_format"},
           {prune + file + " --validate_only", "models upload"}}) {
    result = Run(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.err, HasSubstr(text));
  }
  EXPECT_THAT(server_.Look().create_job_requests, SizeIs(4));
}

TEST_F(ProgramTest, AComparisonOfAModelHasItsNameAndSharesOfItsWeights) {
  server_.Edit([](FakeWorld& world) {
    world.models[0].set_nonzeros(1000);
    world.jobs[0].mutable_sweep();
    world.jobs[0].mutable_sweep_report()->add_rows()->set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
  });
  SetJobEnd(v1::JOB_STATE_SUCCEEDED);
  const std::string file = directory_ / "net.onnx";
  std::ofstream(file) << "weights";
  const std::string compare = "compare --dataset planted --fractions 0.5,0.0155,0.0001 --model ";
  Result result = Run(compare + file);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Uploaded models/first"));
  EXPECT_EQ(Run(compare + "net").exit_code, 0);
  const FakeWorld world = server_.Look();
  EXPECT_THAT(world.model_uploads, SizeIs(1));
  ASSERT_THAT(world.create_job_requests, SizeIs(2));
  for (const v1::CreateJobRequest& request : world.create_job_requests) {
    EXPECT_THAT(request.job().sweep().nonzeros(), ElementsAre(500, 16, 1));
  }
  EXPECT_EQ(world.create_job_requests[0].job().sweep().model(), "models/first");
  EXPECT_EQ(world.create_job_requests[1].job().sweep().model(), "models/net");
  result = Run(compare + "no-such.onnx");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("there is no file"));
}

TEST_F(ProgramTest, PredictsFromAFile) {
  const std::string csv = directory_ / "x.csv";
  std::ofstream(csv) << "a,b\n1,2\n3,4.5\n";
  const Result result = Run("--json models predict first --inputs " + csv);
  EXPECT_THAT(JsonLines(result.out)[0]["outputs"], ElementsAre(3, 7.5));
  EXPECT_THAT(Run("models predict first --inputs " + csv).out, HasSubstr("2     7.5"));
  server_.Edit([](FakeWorld& world) { world.num_outputs = 2; });
  const std::string table = Run("models predict first --inputs " + csv).out;
  EXPECT_THAT(table, HasSubstr("OUTPUT 1"));
  EXPECT_THAT(table, HasSubstr("OUTPUT 2"));
  EXPECT_THAT(table, testing::ContainsRegex("2 +7.5 +15"));
}

TEST_F(ProgramTest, FullOutputIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  Program program({"jobs", "list"}, Environment(), Output::kFullDevice);
  EXPECT_EQ(program.Wait(), 1);
  EXPECT_THAT(program.err(), HasSubstr("standard output"));
}

TEST_F(ProgramTest, TextOfTheServerCannotActOnTheTerminal) {
  server_.Edit(
      [](FakeWorld& world) { (*world.jobs[0].mutable_labels())["note"] = "\x1b[2J\nforged"; });
  for (const char* command : {"jobs list", "jobs get first"}) {
    const Result result = Run(command);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
    EXPECT_THAT(result.out, HasSubstr("?[2J?forged"));
  }
  server_.Edit([](FakeWorld& world) {
    world.failures = {{grpc::StatusCode::NOT_FOUND, "\x1b[2J"}};
  });
  EXPECT_EQ(Run("jobs get a").err.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace thresher::client
