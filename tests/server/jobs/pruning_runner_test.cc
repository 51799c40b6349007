// The production runner of prunings, and the manager with it: real trainings of small networks.
#include "server/jobs/pruning_runner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/gates/random_gates.h"
#include "core/network/model.h"
#include "server/jobs/recovery_runner.h"
#include "tests/server/jobs/manager_fixture.h"

namespace thresher::jobs {
namespace {

constexpr int64_t kSamples = 400;

// Two outputs of three inputs: |x_0| and x_1 - (x_2)_+.
Samples TwoOutputs() {
  Samples samples;
  samples.num_samples = kSamples;
  samples.num_inputs = 3;
  samples.num_outputs = 2;
  CounterRandom random(3, 0);
  for (int64_t i = 0; i < kSamples; ++i) {
    const float x[] = {static_cast<float>(random.NextNormal()),
                       static_cast<float>(random.NextNormal()),
                       static_cast<float>(random.NextNormal())};
    samples.inputs.append(x, x + 3);
    samples.targets.push_back(std::abs(x[0]));
    samples.targets.push_back(x[1] - std::max(x[2], 0.0f));
  }
  return samples;
}

// Two classes by the sign of x_0 + x_1.
Samples TwoClasses() {
  Samples samples = TwoOutputs();
  samples.num_outputs = 1;
  samples.class_names = {"below", "above"};
  samples.targets.clear();
  for (int64_t i = 0; i < kSamples; ++i) {
    samples.targets.push_back(samples.inputs[3 * i] + samples.inputs[3 * i + 1] > 0 ? 1 : 0);
  }
  return samples;
}

class PruningRunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = store::Store::Open({.data_dir = directory_.path()});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
    runner_ = std::make_unique<PruningRunner>(store_.get(), 1, "1.2.3");
    AddDataset("two-outputs", TwoOutputs());
    AddDataset("classes", TwoClasses());
  }
  void AddDataset(const std::string& id, const Samples& samples) {
    auto created = store_->datasets().Create({.id = id, .request_id = "", .fingerprint = ""},
                                             ReadOptions{}, {}, samples, nullptr);
    ASSERT_TRUE(created.ok()) << created.status();
  }
  static PruningSpec Spec() {
    PruningSpec spec;
    spec.dataset_id = "two-outputs";
    spec.split.held_out_fraction = 0.25;
    spec.options.hidden_widths = {12};
    spec.options.nonzeros = 20;
    spec.options.bias = true;
    spec.options.epochs = 10;
    spec.options.batch_size = 50;
    spec.options.learning_rate = 0.02;
    spec.options.prune_fraction = 0.3;
    return spec;
  }
  static JobRun RunOf(const PruningSpec& spec) {
    JobRun run;
    run.job.id = "job";
    run.job.spec = spec;
    run.on_iteration = [](const JobProgress&) {};
    run.checkpoint_due = [](const JobProgress&) { return false; };
    run.on_checkpoint = [](const std::string&) {};
    return run;
  }
  std::string FieldOfPlan(const PruningSpec& spec) {
    auto cost = runner_->Plan(spec);
    EXPECT_EQ(cost.status().code(), absl::StatusCode::kInvalidArgument) << cost.status();
    return store::FieldOf(cost.status()).value_or("none");
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<PruningRunner> runner_;
};

TEST_F(PruningRunnerTest, PlansWithinTheDataAndRefusesTheRest) {
  auto cost = runner_->Plan(Spec());
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_GT(cost->peak_memory_bytes, kSamples * 5 * 4);
  EXPECT_GT(cost->flops_per_iteration, 0);
  PruningSpec wide = Spec();
  wide.options.hidden_widths = {100000};
  EXPECT_GT(runner_->Plan(wide)->peak_memory_bytes, 2 * cost->peak_memory_bytes);

  PruningSpec spec = Spec();
  spec.options.nonzeros = 12 * 4 + 2 * 13 + 1;
  EXPECT_EQ(FieldOfPlan(spec), "pruning.options.nonzeros");
  spec = Spec();
  spec.options.hidden_widths.clear();
  EXPECT_EQ(FieldOfPlan(spec), "pruning.options.hidden_widths");
  spec = Spec();
  spec.options.loss = Loss::kLogistic;  // two outputs
  EXPECT_EQ(FieldOfPlan(spec), "pruning.options.loss");
  for (const double fraction : {1.0, -0.1, std::nan("")}) {
    spec = Spec();
    spec.split.held_out_fraction = fraction;
    EXPECT_EQ(FieldOfPlan(spec), "pruning.held_out_fraction");
  }
  spec = Spec();
  spec.dataset_id = "";
  EXPECT_EQ(FieldOfPlan(spec), "pruning.dataset");
  spec.dataset_id = "missing";
  EXPECT_EQ(runner_->Plan(spec).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(PruningRunnerTest, SamplesApartChooseAndAreReported) {
  Samples turned = TwoClasses();  // the same classes in another order
  turned.class_names = {"above", "below"};
  for (float& target : turned.targets) target = 1 - target;
  AddDataset("turned", turned);
  PruningSpec spec = Spec();
  spec.dataset_id = "classes";
  spec.options.choose_loss = true;
  spec.options.schedule = PruneSchedule::kGradual;
  spec.options.epochs = 40;
  spec.split = {.held_out_fraction = 0, .held_out_dataset_id = "turned"};
  spec.split.validation = {.fraction = 0.25, .patience = 3};
  ASSERT_TRUE(runner_->Plan(spec).ok()) << runner_->Plan(spec).status();
  auto outcome = runner_->Run(RunOf(spec));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const auto& report = std::get<PruningReport>(outcome->report);
  EXPECT_EQ(report.training.num_samples, kSamples * 3 / 4);
  EXPECT_EQ(report.validation->num_samples, kSamples / 4);
  EXPECT_EQ(report.held_out->num_samples, kSamples);
  EXPECT_GT(report.held_out->fit.accuracy.value_or(0), 0.8);
  EXPECT_GT(report.validation->fit.accuracy.value_or(0), 0.8);
  EXPECT_GT(report.best_iteration, 0);
  EXPECT_LE(report.best_iteration, report.iterations);
  EXPECT_EQ(report.termination_reason == TerminationReason::kEarlyStopped,
            report.iterations < spec.options.epochs);
  EXPECT_FALSE(report.partial);
  EXPECT_EQ(outcome->model->metadata.at("best_iteration"), std::to_string(report.best_iteration));

  Samples others = TwoClasses();
  others.class_names = {"below", "beside"};
  AddDataset("others", others);
  spec.split.held_out_dataset_id = "others";
  EXPECT_EQ(FieldOfPlan(spec), "pruning.held_out_dataset");
  spec.split.held_out_dataset_id = "two-outputs";
  EXPECT_EQ(FieldOfPlan(spec), "pruning.held_out_dataset");
}

TEST_F(PruningRunnerTest, ReportsTheFitAndKeepsTheModel) {
  JobRun run = RunOf(Spec());
  int64_t iterations = 0;
  run.on_iteration = [&iterations](const JobProgress& progress) {
    EXPECT_EQ(IterationOf(progress), ++iterations);
    EXPECT_TRUE(std::holds_alternative<PruneReport>(progress));
  };
  auto outcome = runner_->Run(run);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const auto& report = std::get<PruningReport>(outcome->report);
  EXPECT_EQ(report.termination_reason, TerminationReason::kIterationLimit);
  EXPECT_EQ(report.iterations, iterations);
  EXPECT_EQ(report.iterations, 10 * report.rounds);
  EXPECT_FALSE(report.partial);
  EXPECT_LE(report.nonzeros, 20);
  EXPECT_GT(report.active_neurons, 0);
  EXPECT_EQ(report.training.num_samples, 300);
  ASSERT_TRUE(report.held_out.has_value());
  EXPECT_EQ(report.held_out->num_samples, 100);
  EXPECT_TRUE(report.held_out->fit.psnr_db.has_value());
  EXPECT_FALSE(report.held_out->fit.accuracy.has_value());
  ASSERT_TRUE(outcome->model.has_value());
  const Model& model = *outcome->model;
  ASSERT_TRUE(ValidateModel(model).ok()) << ValidateModel(model);
  EXPECT_EQ(Nonzeros(model.network), report.nonzeros);
  EXPECT_EQ(NumOutputs(model.network), 2);
  EXPECT_EQ(model.metadata.at("method"), "imp");
  EXPECT_EQ(model.metadata.at("dataset_sha256"), store_->datasets().Get("two-outputs")->sha256);
  // The training loss is that of the model, over all outputs.
  PruningSpec whole = Spec();
  whole.split.held_out_fraction = 0;
  outcome = runner_->Run(RunOf(whole));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_FALSE(std::get<PruningReport>(outcome->report).held_out.has_value());
  const Samples samples = TwoOutputs();
  auto outputs = Predict(*outcome->model, samples.input_view());
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  double loss = 0;
  double nothing = 0;
  for (size_t i = 0; i < outputs->size(); ++i) {
    loss += std::pow((*outputs)[i] - samples.targets[i], 2) / (2 * kSamples);
    nothing += std::pow(samples.targets[i], 2) / (2 * kSamples);
  }
  EXPECT_NEAR(std::get<PruningReport>(outcome->report).training.fit.loss, loss, 1e-9);
  EXPECT_LT(loss, nothing);
}

TEST_F(PruningRunnerTest, ClassesAreDividedByOneHalf) {
  for (const Loss loss : {Loss::kSquared, Loss::kLogistic}) {
    PruningSpec spec = Spec();
    spec.dataset_id = "classes";
    spec.options.loss = loss;
    spec.split.held_out_fraction = 0;
    auto outcome = runner_->Run(RunOf(spec));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    const auto& report = std::get<PruningReport>(outcome->report);
    ASSERT_TRUE(report.training.fit.accuracy.has_value());
    EXPECT_GT(*report.training.fit.accuracy, 0.8);
    const Samples samples = TwoClasses();
    auto outputs = Predict(*outcome->model, samples.input_view());
    ASSERT_TRUE(outputs.ok()) << outputs.status();
    double right = 0;
    for (int64_t i = 0; i < kSamples; ++i) {
      right += ((*outputs)[i] >= 0.5) == (samples.targets[i] == 1) ? 1 : 0;
    }
    EXPECT_NEAR(*report.training.fit.accuracy, right / kSamples, 1e-9) << LossName(loss);
  }
}

TEST_F(PruningRunnerTest, CancelledBeforeTheFirstEpochHasNoModel) {
  JobRun run = RunOf(Spec());
  std::stop_source stop;
  stop.request_stop();
  run.stop = stop.get_token();
  auto outcome = runner_->Run(run);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(TerminationReasonOf(outcome->report), TerminationReason::kCancelled);
  EXPECT_FALSE(outcome->model.has_value());
}

TEST_F(PruningRunnerTest, CancelledLaterItKeepsWhatThereIsWithinTheBudget) {
  JobRun run = RunOf(Spec());
  std::stop_source stop;
  run.stop = stop.get_token();
  run.on_iteration = [&stop](const JobProgress& progress) {
    if (IterationOf(progress) == 3) stop.request_stop();
  };
  auto outcome = runner_->Run(run);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const auto& report = std::get<PruningReport>(outcome->report);
  EXPECT_EQ(report.termination_reason, TerminationReason::kCancelled);
  EXPECT_EQ(report.iterations, 3);
  EXPECT_TRUE(report.partial);
  EXPECT_TRUE(report.held_out.has_value());
  ASSERT_TRUE(outcome->model.has_value());
  EXPECT_LE(Nonzeros(outcome->model->network), 20);
}

TEST_F(PruningRunnerTest, ATimeLimitBeforeTheFirstEpochIsAnError) {
  JobRun run = RunOf(Spec());
  run.time_limit_seconds = 1e-9;
  EXPECT_EQ(runner_->Run(run).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(PruningRunnerTest, TheManagerDrainsItAndEndsWithTheSameModel) {
  const auto planner = [this](const JobSpec& spec) {
    return runner_->Plan(std::get<PruningSpec>(spec));
  };
  const auto runner = [this](const JobRun& run) { return runner_->Run(run); };
  JobManagerOptions options;
  CreateJobRequest request;
  request.spec = Spec();
  request.identity.id = "whole";
  std::string whole;
  {
    JobManager manager(options, store_.get(), planner, runner);
    ASSERT_TRUE(manager.Start().ok());
    ASSERT_TRUE(manager.Create(request).ok());
    const JobRecord record = Follower(manager, "whole").WaitFor(JobState::kSucceeded);
    whole = record.model_id;
  }
  // The second one is stopped at its fifteenth epoch, in the second round, and goes on in another
  // manager.
  request.identity.id = "broken";
  {
    Gate fifteenth;
    Gate drained;
    const auto pausing = [&](const JobRun& run) {
      JobRun paused = run;
      paused.on_iteration = [&](const JobProgress& progress) {
        run.on_iteration(progress);
        if (IterationOf(progress) == 15) {
          fifteenth.Open();
          drained.WaitOrStop(run.stop);
        }
      };
      return runner_->Run(paused);
    };
    JobManager manager(options, store_.get(), planner, pausing);
    ASSERT_TRUE(manager.Start().ok());
    ASSERT_TRUE(manager.Create(request).ok());
    fifteenth.Wait();
    ASSERT_TRUE(manager.Drain(std::chrono::steady_clock::now() + std::chrono::minutes(1)).ok());
    EXPECT_EQ(manager.Get("broken")->checkpoint_iteration, 15);
  }
  JobManager manager(options, store_.get(), planner, runner);
  ASSERT_TRUE(manager.Start().ok());
  const JobRecord record = Follower(manager, "broken").WaitFor(JobState::kSucceeded);
  EXPECT_EQ(record.attempt_count, 2);
  EXPECT_TRUE(std::holds_alternative<PruningReport>(*record.report));
  auto first = store_->models().Load(*store_->models().Get(whole));
  auto second = store_->models().Load(*store_->models().Get(record.model_id));
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  EXPECT_EQ((*first)->network, (*second)->network);
  EXPECT_TRUE(std::holds_alternative<PruningSpec>(*store_->models().Get(record.model_id)->spec));
}

TEST_F(PruningRunnerTest, APrunedModelStartsNoRecovery) {
  CreateJobRequest request;
  PruningSpec spec = Spec();
  spec.dataset_id = "classes";
  spec.options.bias = false;
  request.spec = spec;
  JobManager manager(
      {}, store_.get(),
      [this](const JobSpec& each) { return runner_->Plan(std::get<PruningSpec>(each)); },
      [this](const JobRun& run) { return runner_->Run(run); });
  ASSERT_TRUE(manager.Start().ok());
  auto created = manager.Create(request);
  ASSERT_TRUE(created.ok()) << created.status();
  RecoverySpec recovery;
  recovery.dataset_id = "classes";
  recovery.options.hidden_width = 12;
  recovery.options.nonzeros = 30;
  recovery.initial_model_id = Follower(manager, created->id).WaitFor(JobState::kSucceeded).model_id;
  RecoveryRunner recovery_runner(store_.get(), 1, "1.2.3");
  const absl::Status status = recovery_runner.Plan(recovery).status();
  EXPECT_EQ(store::FieldOf(status), "recovery.initial_model") << status;
}

}  // namespace
}  // namespace thresher::jobs
