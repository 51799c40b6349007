// The production runner, and the manager with it: real solves of small problems.
#include "server/jobs/recovery_runner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <tuple>

#include "core/iteration/early_stopping.h"
#include "core/samples/planted.h"
#include "core/samples/scaling.h"
#include "tests/server/jobs/manager_fixture.h"

namespace thresher::jobs {
namespace {

class RecoveryRunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = store::Store::Open({.data_dir = directory_.path()});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
    runner_ = std::make_unique<RecoveryRunner>(store_.get(), 1, "1.2.3");
    auto planted = store_->datasets().CreatePlanted(
        {.id = "planted", .request_id = "", .fingerprint = ""},
        {.num_samples = 400, .num_inputs = 8, .hidden_width = 3, .nonzeros = 6, .seed = 5}, {});
    ASSERT_TRUE(planted.ok()) << planted.status();
  }
  static RecoverySpec Spec(GateMode gates = GateMode::kSequential) {
    RecoverySpec spec;
    spec.dataset_id = "planted";
    spec.options.hidden_width = 12;
    spec.options.nonzeros = 8;
    spec.options.gate_mode = gates;
    spec.options.termination.max_iterations = 30;
    return spec;
  }
  static JobRun RunOf(const RecoverySpec& spec) {
    JobRun run;
    run.job.id = "job";
    run.job.spec = spec;
    run.on_iteration = [](const JobProgress&) {};
    run.checkpoint_due = [](const JobProgress&) { return false; };
    run.on_checkpoint = [](const std::string&) {};
    return run;
  }
  std::string FieldOfPlan(const RecoverySpec& spec) {
    auto cost = runner_->Plan(spec);
    EXPECT_EQ(cost.status().code(), absl::StatusCode::kInvalidArgument) << cost.status();
    return store::FieldOf(cost.status()).value_or("none");
  }
  absl::Status AddDataset(const std::string& id, const Samples& samples) {
    return store_->datasets()
        .Create({.id = id, .request_id = "", .fingerprint = ""}, PlantedOptions{}, {}, samples,
                nullptr)
        .status();
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<RecoveryRunner> runner_;
};

TEST_F(RecoveryRunnerTest, PlansWithinTheDataAndRefusesTheRest) {
  auto cost = runner_->Plan(Spec());
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_GT(cost->peak_memory_bytes, 400 * 9 * 4);
  EXPECT_GT(cost->flops_per_iteration, 0);

  RecoverySpec spec = Spec();
  spec.options.nonzeros = 8 * 12 + 1;
  EXPECT_EQ(FieldOfPlan(spec), "recovery.options.nonzeros");
  spec = Spec();
  spec.options.hidden_width = 0;
  EXPECT_EQ(FieldOfPlan(spec), "recovery.options.hidden_width");
  for (const double fraction : {1.0, -0.1, std::nan("")}) {
    spec = Spec();
    spec.split.held_out_fraction = fraction;
    EXPECT_EQ(FieldOfPlan(spec), "recovery.held_out_fraction");
  }
  spec = Spec();
  spec.dataset_id = "";
  EXPECT_EQ(FieldOfPlan(spec), "recovery.dataset");
  spec.dataset_id = "missing";
  EXPECT_EQ(runner_->Plan(spec).status().code(), absl::StatusCode::kNotFound);
  spec = Spec();
  spec.initial_model_id = "missing";
  EXPECT_EQ(runner_->Plan(spec).status().code(), absl::StatusCode::kNotFound);
  spec.options.algorithm = Algorithm::kSequential;
  EXPECT_EQ(FieldOfPlan(spec), "recovery.initial_model");
}

TEST_F(RecoveryRunnerTest, RefusesSamplesApartThatDoNotFit) {
  Samples narrow = {.num_samples = 2, .num_inputs = 1, .inputs = {1, 2}, .targets = {3, 4}};
  ASSERT_TRUE(AddDataset("narrow", narrow).ok());
  const auto field = [&](const std::function<void(store::SampleSplit&)>& damage) {
    RecoverySpec spec = Spec();
    damage(spec.split);
    return FieldOfPlan(spec);
  };
  EXPECT_EQ(field([](auto& s) { s.held_out_dataset_id = "narrow"; }),
            "recovery.held_out_fraction");  // which is not 0
  const auto held_out = [](const std::string& id) {
    return [id](store::SampleSplit& split) {
      split.held_out_fraction = 0;
      split.held_out_dataset_id = id;
    };
  };
  EXPECT_EQ(field(held_out("narrow")), "recovery.held_out_dataset");
  EXPECT_EQ(field(held_out("planted")), "recovery.held_out_dataset");
  RecoverySpec missing = Spec();
  held_out("missing")(missing.split);
  EXPECT_EQ(runner_->Plan(missing).status().code(), absl::StatusCode::kNotFound);
  const auto validation = [](const store::ValidationSpec& given) {
    return [given](store::SampleSplit& split) { split.validation = given; };
  };
  EXPECT_EQ(field(validation({.dataset_id = "narrow"})), "recovery.validation.dataset");
  EXPECT_EQ(field(validation({.dataset_id = "planted"})), "recovery.validation.dataset");
  // The same samples by another name; or those of the report.
  const auto planted = store_->datasets().Get("planted");
  ASSERT_TRUE(AddDataset("again", **store_->datasets().Load(*planted)).ok());
  EXPECT_EQ(field(validation({.dataset_id = "again"})), "recovery.validation.dataset");
  Samples test = **store_->datasets().Load(*planted);
  test.targets[0] += 1;
  ASSERT_TRUE(AddDataset("test", test).ok());
  EXPECT_EQ(field([](auto& s) {
              s = {.held_out_fraction = 0, .held_out_dataset_id = "test"};
              s.validation = store::ValidationSpec{.dataset_id = "test"};
            }),
            "recovery.validation.dataset");
  EXPECT_EQ(field(validation({.patience = -1})), "recovery.validation.patience");
  for (const double fraction : {0.0, 1.0, -0.5, std::nan(""), 1e-3}) {
    EXPECT_EQ(field(validation({.fraction = fraction})), "recovery.validation.fraction")
        << fraction;
  }
  RecoverySpec path = Spec();
  path.options.nonzeros = 0;
  path.path = PathOptions{.min_nonzeros = 2, .max_nonzeros = 8};
  path.split.validation.emplace();
  EXPECT_EQ(FieldOfPlan(path), "recovery.validation");
}

// Held-out and validation samples may come from data sets of their own, scaled otherwise.
TEST_F(RecoveryRunnerTest, SamplesApartChooseAndAreReported) {
  const PlantedProblem problem = *GeneratePlanted({.num_samples = 900,
                                                   .num_inputs = 8,
                                                   .hidden_width = 3,
                                                   .nonzeros = 6,
                                                   .seed = 5,
                                                   .noise_db = 10});
  const auto part = [&](int64_t first, int64_t count) {
    Samples samples = {.num_samples = count, .num_inputs = 8};
    const auto& [inputs, targets] = std::tie(problem.samples.inputs, problem.samples.targets);
    samples.inputs.assign(inputs.begin() + first * 8, inputs.begin() + (first + count) * 8);
    samples.targets.assign(targets.begin() + first, targets.begin() + first + count);
    return samples;
  };
  Samples learned = part(0, 300);
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, learned).ok());
  ASSERT_TRUE(AddDataset("learned", learned).ok());
  Samples test = part(300, 400);
  ASSERT_TRUE(ScaleSamples(ScalingMode::kUnitRange, test).ok());
  ASSERT_TRUE(AddDataset("test", test).ok());
  ASSERT_TRUE(AddDataset("more", part(700, 200)).ok());
  for (const bool by_dataset : {false, true}) {
    RecoverySpec spec = Spec();
    spec.dataset_id = "learned";
    spec.options.algorithm = Algorithm::kNiht;
    spec.options.nonzeros = 20;
    spec.split = {.held_out_fraction = 0, .held_out_dataset_id = "test", .split_seed = 3};
    spec.split.validation = {.fraction = 0.3, .patience = 4};
    if (by_dataset) spec.split.validation->dataset_id = "more";
    ASSERT_TRUE(runner_->Plan(spec).ok()) << runner_->Plan(spec).status();
    if (by_dataset) {
      // What is learned from is mapped; the other data sets are copied.
      RecoverySpec plain = spec;
      plain.split = {.held_out_fraction = 0};
      const int64_t row_bytes = 9 * sizeof(float);
      const int64_t plain_bytes = runner_->Plan(plain)->peak_memory_bytes;
      EXPECT_EQ(runner_->Plan(spec)->peak_memory_bytes,
                plain_bytes + (400 + 200) * row_bytes + EarlyStoppingBytes(20));
      EXPECT_EQ(plain_bytes + 300 * row_bytes, PredictCost(spec.options, 300, 8).peak_memory_bytes);
    }
    JobRun run = RunOf(spec);
    int64_t judged = 0;
    run.on_iteration = [&](const JobProgress& progress) {
      judged += std::get<IterationReport>(progress).validation.has_value() ? 1 : 0;
    };
    auto outcome = runner_->Run(run);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    const auto& report = std::get<RecoveryReport>(outcome->report);
    EXPECT_EQ(report.training.num_samples, by_dataset ? 300 : 210);
    EXPECT_EQ(report.validation->num_samples, by_dataset ? 200 : 90);
    EXPECT_EQ(report.held_out->num_samples, 400);
    EXPECT_EQ(judged, report.iterations);
    EXPECT_GT(report.best_iteration, 0);
    EXPECT_LE(report.best_iteration, report.iterations);
    // All three are of one function and one noise; without the scaling they would be far apart.
    EXPECT_NEAR(report.held_out->relative_residual, report.validation->relative_residual, 0.15);
    EXPECT_GT(report.held_out->r_squared.value_or(0), 0.2);
    EXPECT_GT(report.validation->r_squared.value_or(0), 0.2);
    EXPECT_EQ(outcome->model->metadata.at("held_out_dataset"), "test");
    EXPECT_EQ(outcome->model->metadata.at("best_iteration"), std::to_string(report.best_iteration));
    EXPECT_EQ(outcome->model->metadata.count("validation_dataset"), by_dataset ? 1 : 0);
    // The same bits from a checkpoint on the way.
    JobRun stopped = RunOf(spec);
    JobRun again = RunOf(spec);
    stopped.checkpoint_due = [](const JobProgress& progress) { return IterationOf(progress) == 3; };
    stopped.on_checkpoint = [&](const std::string& bytes) { again.checkpoint = bytes; };
    ASSERT_TRUE(runner_->Run(stopped).ok());
    ASSERT_FALSE(again.checkpoint.empty());
    auto resumed = runner_->Run(again);
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->model->network, outcome->model->network);
    const auto& resumed_report = std::get<RecoveryReport>(resumed->report);
    EXPECT_EQ(resumed_report.best_iteration, report.best_iteration);
    EXPECT_EQ(resumed_report.iterations, report.iterations);
  }
}

TEST_F(RecoveryRunnerTest, EverySampleTakenOutIsCounted) {
  const int64_t row_bytes = 9 * sizeof(float);
  const auto planned = [&](double held_out, double validation) {
    RecoverySpec spec = Spec();
    spec.split.held_out_fraction = held_out;
    if (validation > 0) spec.split.validation = store::ValidationSpec{.fraction = validation};
    return runner_->Plan(spec)->peak_memory_bytes;
  };
  const auto solve = [&](int64_t num_training) {
    return PredictCost(Spec().options, num_training, 8).peak_memory_bytes;
  };
  const int64_t choice = EarlyStoppingBytes(Spec().options.nonzeros);
  EXPECT_EQ(planned(0, 0), solve(400) - 400 * row_bytes);  // mapped
  EXPECT_EQ(planned(0.25, 0), solve(300) + 100 * row_bytes);
  EXPECT_EQ(planned(0, 0.25), solve(300) + 100 * row_bytes + choice);
  // While the second part is taken out of the 300 these are there twice.
  EXPECT_EQ(planned(0.25, 0.5), solve(150) + (100 + 150 + 300) * row_bytes + choice);
}

TEST_F(RecoveryRunnerTest, RefusesDataThatHasNoAnswer) {
  Samples samples;
  samples.num_samples = 4;
  samples.num_inputs = 1;
  samples.inputs = {1, 2, 3, 4};
  samples.targets = {2, 2, 2, 2};
  ASSERT_TRUE(AddDataset("constant", samples).ok());
  RecoverySpec spec = Spec();
  spec.dataset_id = "constant";
  spec.options.nonzeros = 1;
  EXPECT_EQ(FieldOfPlan(spec), "recovery.dataset");
}

TEST_F(RecoveryRunnerTest, SeveralOutputsAndLayersAndClassesAreRecovered) {
  Samples samples;
  samples.num_samples = 400;
  samples.num_inputs = 3;
  samples.num_outputs = 3;
  samples.class_names = {"a", "b", "c"};
  for (int i = 0; i < 400; ++i) {
    for (int q = 0; q < 3; ++q) {
      samples.inputs.push_back(static_cast<float>((i * (q * q + 3)) % 17 - 8) / 4);
    }
    const auto row = samples.inputs.end() - 3;
    const auto largest = std::max_element(row, samples.inputs.end()) - row;
    for (int c = 0; c < 3; ++c) samples.targets.push_back(c == largest ? 1 : 0);
  }
  ASSERT_TRUE(AddDataset("outputs", samples).ok());
  for (const Loss loss : {Loss::kSquared, Loss::kCrossEntropy}) {
    for (const int64_t layers : {1, 2}) {
      RecoverySpec spec;
      spec.dataset_id = "outputs";
      spec.split.held_out_fraction = 0.25;
      spec.options = {.hidden_width = 4, .hidden_layers = layers, .nonzeros = 16};
      spec.options.choose_loss = loss != Loss::kSquared;
      if (loss == Loss::kSquared) spec.options.termination.max_iterations = 20;
      ASSERT_TRUE(runner_->Plan(spec).ok()) << runner_->Plan(spec).status();
      auto outcome = runner_->Run(RunOf(spec));
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      const auto& report = std::get<RecoveryReport>(outcome->report);
      EXPECT_LE(report.nonzeros, 16);
      EXPECT_EQ(report.options_used.loss, loss);
      EXPECT_GT(report.training.accuracy.value_or(0), 0.5) << layers;
      ASSERT_TRUE(outcome->model.has_value());
      EXPECT_EQ(NumOutputs(outcome->model->network), 3);
    }
  }
  RecoverySpec spec;
  spec.dataset_id = "outputs";
  spec.options = {.hidden_width = 4, .nonzeros = 16, .loss = Loss::kLogistic};
  EXPECT_EQ(FieldOfPlan(spec), "recovery.options.loss");
  spec.options.loss = Loss::kSquared;
  spec.options.nonzeros = 0;
  spec.path = PathOptions{.min_nonzeros = 2, .max_nonzeros = 8};
  EXPECT_EQ(FieldOfPlan(spec), "recovery.path");
}

TEST_F(RecoveryRunnerTest, ReportsFitAndComparison) {
  RecoverySpec spec = Spec();
  spec.split.held_out_fraction = 0.25;
  int64_t iterations = 0;
  JobRun run = RunOf(spec);
  run.on_iteration = [&iterations](const JobProgress& progress) {
    EXPECT_EQ(IterationOf(progress), ++iterations);
  };
  auto outcome = runner_->Run(run);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const auto& report = std::get<RecoveryReport>(outcome->report);
  EXPECT_EQ(report.iterations, iterations);
  EXPECT_EQ(report.training.num_samples, 300);
  ASSERT_TRUE(report.held_out.has_value());
  EXPECT_EQ(report.held_out->num_samples, 100);
  EXPECT_LT(report.training.relative_residual, 1);
  EXPECT_FALSE(report.training.accuracy.has_value());
  EXPECT_FALSE(report.partial);
  EXPECT_LE(report.nonzeros, 8);
  ASSERT_TRUE(report.planted.has_value());
  EXPECT_EQ(report.planted->planted_neurons, 3);
  EXPECT_GE(report.planted->support_recall, 0);
  EXPECT_LE(report.planted->support_recall, 1);
  ASSERT_TRUE(outcome->model.has_value());
  const auto& metadata = outcome->model->metadata;
  EXPECT_EQ(metadata.at("job"), "job");
  EXPECT_EQ(metadata.at("dataset"), "planted");
  EXPECT_EQ(metadata.at("dataset_sha256"), store_->datasets().Get("planted")->sha256);
  EXPECT_EQ(metadata.at("gates"), "sequential");
  EXPECT_EQ(metadata.at("version"), "1.2.3");
  ASSERT_TRUE(report.evidence.has_value());
  EXPECT_FALSE(report.evidence->findings.empty());
  EXPECT_GE(report.evidence->conditioning->kappa(), 1);
  EXPECT_EQ(report.evidence->distinct_samples, 300);
  EXPECT_EQ(metadata.at("verdict"), VerdictName(report.evidence->verdict));
  EXPECT_EQ(metadata.at("findings").substr(0, 11), "The network");
  EXPECT_EQ(metadata.at("exact"), report.planted->exact ? "true" : "false");
  for (const char* key :
       {"held_out_psnr_db", "weakest_kept", "kappa", "smallest_active_fraction", "starts_tried"}) {
    EXPECT_TRUE(metadata.contains(key)) << key;
  }
}

// A network of one layer is fitted; there is no neuron to compare with the planted ones.
TEST_F(RecoveryRunnerTest, ADataSetOfADeepNetworkIsFittedWithoutComparison) {
  ASSERT_TRUE(store_->datasets()
                  .CreatePlanted({.id = "deep", .request_id = "", .fingerprint = ""},
                                 {.num_samples = 400,
                                  .num_inputs = 8,
                                  .hidden_width = 5,
                                  .nonzeros = 30,
                                  .seed = 5,
                                  .hidden_layers = 2},
                                 {})
                  .ok());
  RecoverySpec spec = Spec();
  spec.dataset_id = "deep";
  auto outcome = runner_->Run(RunOf(spec));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->model.has_value());
  EXPECT_FALSE(std::get<RecoveryReport>(outcome->report).planted.has_value());
}

TEST_F(RecoveryRunnerTest, APathChoosesTheBudgetAndIsReported) {
  RecoverySpec spec = Spec();
  spec.options.nonzeros = 0;
  spec.options.hidden_width = 3;
  spec.options.termination.max_iterations = 100;
  spec.path = PathOptions{.min_nonzeros = 2, .max_nonzeros = 18};
  ASSERT_TRUE(runner_->Plan(spec).ok());
  auto outcome = runner_->Run(RunOf(spec));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(std::get<RecoveryReport>(outcome->report).options_used.nonzeros, 6);
  EXPECT_TRUE(std::get<RecoveryReport>(outcome->report).planted->exact);
  EXPECT_FALSE(std::get<RecoveryReport>(outcome->report).path.empty());
  for (const PathPoint& point : std::get<RecoveryReport>(outcome->report).path) {
    EXPECT_EQ(point.chosen, point.nonzeros == 6);
  }
  EXPECT_EQ(outcome->model->metadata.at("path"), "2 to 18 weights, by information");
}

TEST_F(RecoveryRunnerTest, RefusesPathsThatCannotBe) {
  const auto field = [&](auto change) {
    RecoverySpec spec = Spec();
    spec.options.nonzeros = 0;
    spec.path = PathOptions{.min_nonzeros = 2, .max_nonzeros = 18};
    change(spec);
    return FieldOfPlan(spec);
  };
  EXPECT_EQ(field([](RecoverySpec& spec) { spec.options.nonzeros = 4; }),
            "recovery.options.nonzeros");
  EXPECT_EQ(field([](RecoverySpec& spec) { spec.options.working_nonzeros = 40; }),
            "recovery.options.working_nonzeros");
  EXPECT_EQ(field([](RecoverySpec& spec) { spec.options.hidden_width = 0; }),
            "recovery.options.hidden_width");
  EXPECT_EQ(field([](RecoverySpec& spec) { spec.path->min_nonzeros = 0; }),
            "recovery.path.min_nonzeros");
  EXPECT_EQ(field([](RecoverySpec& spec) { spec.path->max_nonzeros = 8 * 12 + 1; }),
            "recovery.path.max_nonzeros");
  EXPECT_EQ(field([](RecoverySpec& spec) { spec.path->max_points = 0; }),
            "recovery.path.max_points");
  EXPECT_EQ(field([](RecoverySpec& spec) {
              spec.path->criterion = SelectionCriterion::kKFold;
              spec.path->num_folds = 1;
            }),
            "recovery.path.num_folds");
  EXPECT_EQ(field([](RecoverySpec& spec) {
              spec.path->criterion = SelectionCriterion::kHeldOut;
              spec.path->validation_fraction = 1;
            }),
            "recovery.path.validation_fraction");
  EXPECT_EQ(field([](RecoverySpec& spec) { spec.initial_model_id = "any"; }),
            "recovery.initial_model");
}

TEST_F(RecoveryRunnerTest, RandomGatesGiveAGatedNetworkWithoutComparison) {
  RecoverySpec spec = Spec(GateMode::kRandom);
  spec.split.held_out_fraction = 0;
  auto outcome = runner_->Run(RunOf(spec));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_FALSE(std::get<RecoveryReport>(outcome->report).held_out.has_value());
  EXPECT_FALSE(std::get<RecoveryReport>(outcome->report).planted.has_value());
  EXPECT_EQ(std::get<RecoveryReport>(outcome->report).training.num_samples, 400);
  EXPECT_EQ(outcome->model->metadata.at("gates"), "random");
  EXPECT_TRUE(std::holds_alternative<GatedNetwork>(outcome->model->network));
}

TEST_F(RecoveryRunnerTest, AStopBeforeTheStartLeavesNoModelOrAPartialOne) {
  std::stop_source stop;
  stop.request_stop();
  JobRun run = RunOf(Spec());
  run.stop = stop.get_token();
  auto outcome = runner_->Run(run);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(std::get<RecoveryReport>(outcome->report).termination_reason,
            TerminationReason::kCancelled);
  EXPECT_TRUE(std::get<RecoveryReport>(outcome->report).partial);
  EXPECT_FALSE(std::get<RecoveryReport>(outcome->report).evidence.has_value());
}

TEST_F(RecoveryRunnerTest, ATimeLimitBeforeTheFirstNetworkIsAFailure) {
  JobRun run = RunOf(Spec());
  std::get<RecoverySpec>(run.job.spec).options.algorithm = Algorithm::kIht;
  run.time_limit_seconds = 1e-9;
  const absl::Status status = runner_->Run(run).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_EQ(std::string(status.message()).rfind("time_limit: ", 0), 0u) << status;
}

TEST_F(RecoveryRunnerTest, TheReportOfACancelledJobLooksAtFewSamples) {
  auto large = store_->datasets().CreatePlanted(
      {.id = "large", .request_id = "", .fingerprint = ""},
      {.num_samples = 20000, .num_inputs = 8, .hidden_width = 3, .nonzeros = 6, .seed = 5}, {});
  ASSERT_TRUE(large.ok()) << large.status();
  JobRun run = RunOf(Spec(GateMode::kRandom));
  std::get<RecoverySpec>(run.job.spec).dataset_id = "large";
  std::get<RecoverySpec>(run.job.spec).options.hidden_width = 300;
  std::get<RecoverySpec>(run.job.spec).options.nonzeros = 300;
  std::stop_source stop;
  run.stop = stop.get_token();
  run.on_iteration = [&stop](const JobProgress&) { stop.request_stop(); };
  auto outcome = runner_->Run(run);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(std::get<RecoveryReport>(outcome->report).termination_reason,
            TerminationReason::kCancelled);
  ASSERT_TRUE(outcome->model.has_value());
  const int64_t gates = std::get<GatedNetwork>(outcome->model->network).weights.num_rows();
  for (const FitQuality& fit : {std::get<RecoveryReport>(outcome->report).training,
                                *std::get<RecoveryReport>(outcome->report).held_out}) {
    EXPECT_GE(fit.num_samples, 100);
    EXPECT_LE(fit.num_samples * gates * 8, 2'000'000);
    EXPECT_LT(fit.relative_residual, 1);
  }
}

TEST_F(RecoveryRunnerTest, ALinearTermGoesFromTheDataSetIntoTheModelAndOn) {
  const PlantedOptions planted = {.num_samples = 600,
                                  .num_inputs = 8,
                                  .hidden_width = 3,
                                  .nonzeros = 6,
                                  .seed = 5,
                                  .linear_term = true};
  const auto dataset = store_->datasets().CreatePlanted(
      {.id = "linear", .request_id = "", .fingerprint = ""}, planted, {});
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const auto stored = store_->datasets().Get("linear");
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_TRUE(std::get<PlantedOptions>(stored->source).linear_term);

  JobManagerOptions options;
  const auto planner = [this](const JobSpec& spec) {
    return runner_->Plan(std::get<RecoverySpec>(spec));
  };
  const auto runner = [this](const JobRun& run) { return runner_->Run(run); };
  JobManager manager(options, store_.get(), planner, runner);
  ASSERT_TRUE(manager.Start().ok());
  CreateJobRequest request;
  request.identity.id = "job";
  request.spec = Spec();
  std::get<RecoverySpec>(request.spec).dataset_id = "linear";
  std::get<RecoverySpec>(request.spec).options.hidden_width = 3;
  std::get<RecoverySpec>(request.spec).options.nonzeros = 6;
  std::get<RecoverySpec>(request.spec).options.linear_term = LinearTerm::kDense;
  ASSERT_TRUE(manager.Create(request).ok());
  const JobRecord record = Follower(manager, "job").WaitFor(JobState::kSucceeded);
  ASSERT_TRUE(record.report && std::get<RecoveryReport>(*record.report).planted);
  EXPECT_TRUE(std::get<RecoveryReport>(*record.report).planted->exact);
  EXPECT_EQ(std::get<RecoveryReport>(*record.report).options_used.linear_term, LinearTerm::kDense);
  const auto model = store_->models().Get(record.model_id);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(model->linear_term);
  const auto loaded = store_->models().Load(*model);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(std::get<SparseNetwork>((*loaded)->network).linear.size(), 8u);

  // The model starts another job with a linear term, and none without.
  request.identity.id = "warm";
  std::get<RecoverySpec>(request.spec).initial_model_id = record.model_id;
  ASSERT_TRUE(manager.Create(request).ok());
  const JobRecord warm = Follower(manager, "warm").WaitFor(JobState::kSucceeded);
  EXPECT_TRUE(std::get<RecoveryReport>(*warm.report).planted->exact);
  request.identity.id = "without";
  std::get<RecoverySpec>(request.spec).options.linear_term = LinearTerm::kNone;
  EXPECT_EQ(store::FieldOf(manager.Create(request).status()), "recovery.initial_model");
  std::get<RecoverySpec>(request.spec).initial_model_id.clear();
  std::get<RecoverySpec>(request.spec).options.linear_term = LinearTerm::kDense;
  std::get<RecoverySpec>(request.spec).options.algorithm = Algorithm::kNiht;
  EXPECT_EQ(store::FieldOf(manager.Create(request).status()), "recovery.options.linear_term");
}

TEST_F(RecoveryRunnerTest, TheManagerRunsItDrainsItAndEndsWithTheSameModel) {
  JobManagerOptions options;
  const auto planner = [this](const JobSpec& spec) {
    return runner_->Plan(std::get<RecoverySpec>(spec));
  };
  const auto runner = [this](const JobRun& run) { return runner_->Run(run); };
  CreateJobRequest request;
  request.identity.id = "whole";
  request.spec = Spec();
  std::get<RecoverySpec>(request.spec).options.termination.stagnation_iterations = 0;
  std::get<RecoverySpec>(request.spec).options.termination.relative_residual_tolerance = 0;
  std::string whole;
  {
    JobManager manager(options, store_.get(), planner, runner);
    ASSERT_TRUE(manager.Start().ok());
    ASSERT_TRUE(manager.Create(request).ok());
    const JobRecord record = Follower(manager, "whole").WaitFor(JobState::kSucceeded);
    EXPECT_EQ(std::get<RecoveryReport>(*record.report).iterations, 30);
    whole = store_->models().Get(record.model_id)->id;
  }
  // The second one is stopped at its tenth iteration and goes on in another manager.
  request.identity.id = "broken";
  {
    Gate tenth;
    Gate drained;
    const auto pausing = [&](const JobRun& run) {
      JobRun paused = run;
      paused.on_iteration = [&](const JobProgress& progress) {
        run.on_iteration(progress);
        if (IterationOf(progress) == 10) {
          tenth.Open();
          drained.WaitOrStop(run.stop);
        }
      };
      return runner_->Run(paused);
    };
    JobManager manager(options, store_.get(), planner, pausing);
    ASSERT_TRUE(manager.Start().ok());
    ASSERT_TRUE(manager.Create(request).ok());
    tenth.Wait();
    ASSERT_TRUE(manager.Drain(std::chrono::steady_clock::now() + std::chrono::minutes(1)).ok());
    EXPECT_EQ(manager.Get("broken")->checkpoint_iteration, 10);
  }
  JobManager manager(options, store_.get(), planner, runner);
  ASSERT_TRUE(manager.Start().ok());
  const JobRecord record = Follower(manager, "broken").WaitFor(JobState::kSucceeded);
  EXPECT_EQ(std::get<RecoveryReport>(*record.report).iterations, 30);
  EXPECT_EQ(record.attempt_count, 2);
  auto first = store_->models().Load(*store_->models().Get(whole));
  auto second = store_->models().Load(*store_->models().Get(record.model_id));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*first)->network, (*second)->network);

  // And a model can be the start of another job.
  request.identity.id = "warm";
  std::get<RecoverySpec>(request.spec).initial_model_id = whole;
  ASSERT_TRUE(manager.Create(request).ok());
  const JobRecord warm = Follower(manager, "warm").WaitFor(JobState::kSucceeded);
  EXPECT_LE(std::get<RecoveryReport>(*warm.report).training.relative_residual,
            std::get<RecoveryReport>(*record.report).training.relative_residual * (1 + 1e-9));
  std::get<RecoverySpec>(request.spec).options.nonzeros = 1;
  request.identity.id = "too-small";
  EXPECT_EQ(store::FieldOf(manager.Create(request).status()), "recovery.initial_model");
}

}  // namespace
}  // namespace thresher::jobs
