// Kills a writing process at random points and looks whether everything that it had
// acknowledged is there.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "server/store/store.h"
#include "tests/server/temporary_directory.h"

namespace thresher::store {
namespace {

constexpr int kThreads = 4;

Samples SamplesNumber(int number) {
  Samples samples;
  samples.num_samples = 2;
  samples.num_inputs = 1;
  samples.inputs = {static_cast<float>(number), 1};
  samples.targets = {1, 2};
  return samples;
}

// Creates data sets until it is killed, and says each acknowledged one on the pipe.
[[noreturn]] void WriteUntilKilled(const std::string& data_dir, int round, int pipe) {
  auto store = Store::Open({.data_dir = data_dir});
  if (!store.ok()) _exit(3);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0;; ++i) {
        const int number = (round * kThreads + t) * 100000 + i;
        auto record = (*store)->datasets().Create(
            {.id = "d" + std::to_string(number), .request_id = "", .fingerprint = ""},
            PlantedOptions{}, {}, SamplesNumber(number), nullptr);
        if (!record.ok()) _exit(4);
        if (write(pipe, &number, sizeof(number)) != sizeof(number)) _exit(5);
      }
    });
  }
  for (;;) pause();
}

TEST(CrashTest, NothingAcknowledgedIsLost) {
  testing::TemporaryDirectory directory;
  std::mt19937 random(20240607);
  std::vector<int> acknowledged;
  for (int round = 0; round < 8; ++round) {
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(pipes[0]);
      WriteUntilKilled(directory.path(), round, pipes[1]);
    }
    close(pipes[1]);
    const int wanted = static_cast<int>(random() % 60);
    int number = 0;
    for (int i = 0; i < wanted; ++i) {
      ASSERT_EQ(read(pipes[0], &number, sizeof(number)), static_cast<ssize_t>(sizeof(number)));
      acknowledged.push_back(number);
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    while (read(pipes[0], &number, sizeof(number)) == sizeof(number)) {
      acknowledged.push_back(number);
    }
    close(pipes[0]);
    int how = 0;
    ASSERT_EQ(waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how)) << "the writer failed by itself with " << WEXITSTATUS(how);

    auto store = Store::Open({.data_dir = directory.path()});
    ASSERT_TRUE(store.ok()) << store.status();
    for (const int expected : acknowledged) {
      auto record = (*store)->datasets().Get("d" + std::to_string(expected));
      ASSERT_TRUE(record.ok()) << record.status();
      auto samples = (*store)->datasets().Load(*record);
      ASSERT_TRUE(samples.ok()) << samples.status();
      EXPECT_EQ((*samples)->inputs, SamplesNumber(expected).inputs);
    }
  }
  EXPECT_GT(acknowledged.size(), 60u);
}

}  // namespace
}  // namespace thresher::store
