// Prunings of models, and the manager with them.
#include "server/jobs/model_pruning_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/gates/random_gates.h"
#include "core/model_files/model_file.h"
#include "core/samples/scaling.h"
#include "server/jobs/pruning_runner.h"
#include "tests/core/network/random_networks.h"
#include "tests/server/jobs/manager_fixture.h"

namespace thresher::jobs {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSamples = 400;
constexpr int64_t kInputs = 10;

// A network of many small weights, as another tool would have it.
Model GivenModel(int64_t num_outputs) {
  CounterRandom random(5, 0);
  SparseNetwork network = RandomLayeredNetwork(random, kInputs, {12, 8}, num_outputs, true, 1);
  for (SparseRows* rows : {&network.weights, &network.upper_layers[0]}) {
    for (double& value : rows->value) value *= random.NextUniform() < 0.3 ? 1 : 0.05;
  }
  return {.network = std::move(network),
          .metadata = {{kOnnxInputNameKey, "pixels"},
                       {kOnnxOutputNameKey, "scores"},
                       {kSourceFormatKey, "onnx"}}};
}

// Inputs and what the model answers, in the user's units.
Samples AnswersOf(const Model& model) {
  CounterRandom random(6, 0);
  Samples samples = {
      .num_samples = kSamples, .num_inputs = kInputs, .num_outputs = NumOutputs(model.network)};
  samples.inputs = RandomInputs(random, kSamples, kInputs);
  const auto outputs = Predict(model, samples.input_view());
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  samples.targets.assign(outputs->begin(), outputs->end());
  return samples;
}

// The class with the largest output.
Samples ClassesOf(const Model& model) {
  Samples samples = AnswersOf(model);
  const int64_t k = samples.num_outputs;
  for (int64_t i = 0; i < kSamples; ++i) {
    const auto row = samples.targets.begin() + i * k;
    const auto largest = std::max_element(row, row + k) - row;
    for (int64_t c = 0; c < k; ++c) row[c] = c == largest ? 1.0f : 0.0f;
  }
  for (int64_t c = 0; c < k; ++c) samples.class_names.push_back(std::string(1, 'a' + c));
  return samples;
}

class ModelPruningTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = store::Store::Open({.data_dir = directory_.path()});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = std::move(*store);
    runner_ = std::make_unique<PruningRunner>(store_.get(), 1, "1.2.3");
    AddModel("net", GivenModel(3));
    AddDataset("answers", AnswersOf(GivenModel(3)));
    AddDataset("classes", ClassesOf(GivenModel(3)));
  }
  void AddModel(const std::string& id, const Model& model) {
    auto created = store_->models().CreateUploaded({.id = id, .request_id = "", .fingerprint = ""},
                                                   model, {}, "1.2.3");
    ASSERT_TRUE(created.ok()) << created.status();
  }
  void AddDataset(const std::string& id, const Samples& samples) {
    auto created = store_->datasets().Create({.id = id, .request_id = "", .fingerprint = ""},
                                             ReadOptions{}, {}, samples, nullptr);
    ASSERT_TRUE(created.ok()) << created.status();
  }
  static PruningSpec Spec(const std::string& dataset = "classes") {
    PruningSpec spec = {
        .dataset_id = dataset, .split = {.held_out_fraction = 0.25}, .model_id = "net"};
    spec.model_options.distill.one_shot.nonzeros = 60;
    spec.model_options.distill.epochs = 6;
    spec.model_options.distill.batch_size = 50;
    return spec;
  }
  static PruningSpec OneShot(OneShotMethod method, const std::string& dataset = "classes") {
    PruningSpec spec = Spec(dataset);
    spec.model_options.train = false;
    spec.model_options.distill.one_shot.method = method;
    return spec;
  }
  static PruningSpec Path(bool train) {
    PruningSpec spec = train ? Spec() : OneShot(OneShotMethod::kObs);
    spec.model_options.distill.one_shot.nonzeros = 0;
    spec.model_options.distill.epochs = 3;
    spec.model_options.path =
        store::PruningPath{.min_nonzeros = 15, .max_nonzeros = 120, .num_points = 4};
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
  JobOutcome RunOrFail(const JobRun& run) {
    auto outcome = runner_->Run(run);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return *std::move(outcome);
  }
  std::string FieldOfPlan(const PruningSpec& spec) {
    auto cost = runner_->Plan(spec);
    EXPECT_EQ(cost.status().code(), absl::StatusCode::kInvalidArgument) << cost.status();
    return store::FieldOf(cost.status()).value_or("none");
  }
  std::unique_ptr<JobManager> Manager(const JobRunner& runner) {
    auto manager = std::make_unique<JobManager>(
        JobManagerOptions(), store_.get(),
        [this](const JobSpec& spec) { return runner_->Plan(std::get<PruningSpec>(spec)); }, runner);
    EXPECT_TRUE(manager->Start().ok());
    return manager;
  }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<PruningRunner> runner_;
};

TEST_F(ModelPruningTest, PlansFromTheRecordsAndRefusesTheRest) {
  auto cost = runner_->Plan(Spec());
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_GT(cost->peak_memory_bytes, kSamples * (kInputs + 3) * 4);
  EXPECT_GT(cost->flops_per_iteration, 0);
  EXPECT_TRUE(runner_->Plan(Path(true)).ok());
  EXPECT_TRUE(runner_->Plan(Path(false)).ok());

  PruningSpec spec = Spec();
  spec.model_id = "missing";
  EXPECT_EQ(runner_->Plan(spec).status().code(), absl::StatusCode::kNotFound);
  spec = Spec("missing");
  EXPECT_EQ(runner_->Plan(spec).status().code(), absl::StatusCode::kNotFound);
  const auto field = [&](const std::function<void(PruningSpec&)>& damage) {
    PruningSpec damaged = Spec();
    damage(damaged);
    return FieldOfPlan(damaged);
  };
  const auto options = [](PruningSpec& s) -> store::ModelPruningOptions& {
    return s.model_options;
  };
  const auto one_shot = [&](PruningSpec& s) -> OneShotOptions& {
    return options(s).distill.one_shot;
  };
  EXPECT_EQ(field([&](auto& s) { one_shot(s).nonzeros = 100000; }),
            "pruning.model_options.nonzeros");
  EXPECT_EQ(field([&](auto& s) { one_shot(s).pattern_kept = 3; }),
            "pruning.model_options.pattern_kept");
  EXPECT_EQ(field([&](auto& s) {
              one_shot(s).whole_neurons = true;
              one_shot(s).scope = PruneScope::kPerLayer;
            }),
            "pruning.model_options.whole_neurons");
  EXPECT_EQ(field([&](auto& s) { one_shot(s).max_samples = 0; }),
            "pruning.model_options.max_samples");
  EXPECT_EQ(field([&](auto& s) { options(s).loss = Loss::kLogistic; }),
            "pruning.model_options.loss");
  EXPECT_EQ(field([&](auto& s) { options(s).distill.epochs = 0; }), "pruning.model_options.epochs");
  EXPECT_EQ(field([&](auto& s) { options(s).distill.start_factor = 0; }),
            "pruning.model_options.start_factor");
  EXPECT_EQ(field([](auto& s) { s.split.held_out_fraction = 1; }), "pruning.held_out_fraction");
  spec = Path(true);
  spec.model_options.path->max_nonzeros = 100000;
  EXPECT_EQ(FieldOfPlan(spec), "pruning.model_options.path.max_nonzeros");
  spec = Path(true);
  spec.model_options.path->num_points = 101;
  EXPECT_EQ(FieldOfPlan(spec), "pruning.model_options.path.num_points");
}

TEST_F(ModelPruningTest, RefusesModelsAndDataThatDoNotFit) {
  CounterRandom random(1, 0);
  AddModel("gated", {.network = RandomGatedNetwork(random, 6, kInputs, false, true, 1)});
  SparseNetwork linear = RandomSparseNetwork(random, 4, kInputs, false, 1);
  linear.linear.assign(kInputs, 1);
  AddModel("linear", {.network = linear});
  AddModel("wide", {.network = RandomLayeredNetwork(random, kInputs + 1, {3}, 3, true, 1)});
  Model named = GivenModel(3);
  named.class_names = {"b", "a", "c"};
  AddModel("named", named);
  PruningSpec spec = Spec();
  spec.model_id = "gated";
  EXPECT_EQ(FieldOfPlan(spec), "pruning.model");
  spec.model_id = "linear";
  EXPECT_EQ(FieldOfPlan(spec), "pruning.model");
  EXPECT_THAT(std::string(runner_->Plan(spec).status().message()), HasSubstr("onnx"));
  spec.model_id = "wide";
  EXPECT_EQ(FieldOfPlan(spec), "pruning.dataset");
  spec.model_id = "named";
  EXPECT_EQ(FieldOfPlan(spec), "pruning.dataset");
  AddDataset("two", AnswersOf(GivenModel(2)));
  EXPECT_EQ(FieldOfPlan(Spec("two")), "pruning.dataset");
}

TEST_F(ModelPruningTest, EveryMethodReportsBeforeAndAfter) {
  const Model given = GivenModel(3);
  for (const OneShotMethod method : {OneShotMethod::kMagnitude, OneShotMethod::kActivation,
                                     OneShotMethod::kObs, OneShotMethod::kCurvature}) {
    JobRun run = RunOf(OneShot(method));
    int64_t events = 0;
    run.on_iteration = [&](const JobProgress& progress) {
      EXPECT_EQ(IterationOf(progress), ++events);
      EXPECT_EQ(std::get<PruneReport>(progress).path_nonzeros, 0);
    };
    const JobOutcome outcome = RunOrFail(run);
    EXPECT_EQ(events, 1);
    const auto& report = std::get<PruningReport>(outcome.report);
    EXPECT_EQ(report.termination_reason, TerminationReason::kIterationLimit);
    EXPECT_FALSE(report.partial);
    EXPECT_LE(report.nonzeros, 60);
    ASSERT_TRUE(report.model.has_value());
    EXPECT_EQ(report.model->given_nonzeros, Nonzeros(given.network));
    EXPECT_EQ(report.model->given_active_neurons, 20);
    EXPECT_EQ(report.training.num_samples, 300);
    EXPECT_EQ(report.model->given_training.num_samples, 300);
    EXPECT_EQ(report.held_out->num_samples, 100);
    EXPECT_EQ(report.model->given_held_out->num_samples, 100);
    // The classes are the given network's own.
    EXPECT_EQ(report.model->given_held_out->fit.accuracy, 1);
    EXPECT_LT(*report.held_out->fit.accuracy, 1);
    EXPECT_EQ(report.model->options_used.loss, Loss::kCrossEntropy);
    EXPECT_GT(report.model->options_used.distill.one_shot.damping, 0);
    ASSERT_TRUE(outcome.model.has_value());
    EXPECT_EQ(Nonzeros(outcome.model->network), report.nonzeros);
    EXPECT_EQ(outcome.model->metadata.at(kOnnxInputNameKey), "pixels");
    EXPECT_EQ(outcome.model->metadata.at("model"), "net");
    EXPECT_TRUE(outcome.points.empty());
  }
}

TEST_F(ModelPruningTest, DistillingComesCloserThanOneShot) {
  const JobOutcome once = RunOrFail(RunOf(OneShot(OneShotMethod::kObs, "answers")));
  PruningSpec spec = Spec("answers");
  spec.model_options.distill.epochs = 30;
  JobRun run = RunOf(spec);
  int64_t epochs = 0;
  run.on_iteration = [&](const JobProgress& progress) { epochs = IterationOf(progress); };
  const JobOutcome trained = RunOrFail(run);
  EXPECT_EQ(epochs, 30);
  const auto& report = std::get<PruningReport>(trained.report);
  EXPECT_EQ(report.iterations, 30);
  EXPECT_EQ(report.model->options_used.loss, Loss::kSquared);
  EXPECT_LT(report.held_out->fit.loss, std::get<PruningReport>(once.report).held_out->fit.loss);
  // A squared error is of what the samples say, here the given network's answers.
  EXPECT_LT(report.model->given_held_out->fit.loss, 1e-9);
}

TEST_F(ModelPruningTest, AFractionIsOfTheModelsWeights) {
  PruningSpec spec = OneShot(OneShotMethod::kMagnitude);
  spec.model_options.distill.one_shot.nonzeros = 0;
  spec.model_options.fraction = 0.25;
  const JobOutcome outcome = RunOrFail(RunOf(spec));
  const auto& report = std::get<PruningReport>(outcome.report);
  const int64_t weights = Nonzeros(GivenModel(3).network);
  EXPECT_EQ(report.model->options_used.distill.one_shot.nonzeros, std::llround(0.25 * weights));
  EXPECT_LE(report.nonzeros, std::llround(0.25 * weights));
  spec.model_options.fraction = 1e-9;
  EXPECT_LE(std::get<PruningReport>(RunOrFail(RunOf(spec)).report).nonzeros, 1);
}

TEST_F(ModelPruningTest, TheSameBitsForAnyNumberOfThreads) {
  for (const PruningSpec& spec : {Spec(), OneShot(OneShotMethod::kObs), Path(true)}) {
    JobRun run = RunOf(spec);
    const JobOutcome one = RunOrFail(run);
    run.num_threads = 3;
    const JobOutcome three = RunOrFail(run);
    EXPECT_EQ(one.model->network, three.model->network);
    ASSERT_EQ(one.points.size(), three.points.size());
    for (size_t k = 0; k < one.points.size(); ++k) {
      EXPECT_EQ(one.points[k].model, three.points[k].model);
    }
  }
}

// However the data set is scaled, the model sees what Predict would show it.
TEST_F(ModelPruningTest, SamplesComeInTheModelsUnits) {
  Model model = GivenModel(2);
  model.scaling.input_offset.assign(kInputs, 0.5);
  model.scaling.input_scale.assign(kInputs, 2);
  model.scaling.target_offset = -3;
  model.scaling.target_scale = 4;
  const Samples raw = AnswersOf(model);
  Samples standardised = raw;
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, standardised).ok());
  for (const Samples& samples : {raw, standardised}) {
    const Samples fitted = InUnitsOf(model, Loss::kSquared, samples);
    EXPECT_EQ(fitted.scaling, model.scaling);
    std::vector<double> outputs(2 * kSamples);
    ASSERT_TRUE(
        Evaluate(std::get<SparseNetwork>(model.network), fitted.input_view(), outputs).ok());
    for (size_t i = 0; i < outputs.size(); ++i) EXPECT_NEAR(outputs[i], fitted.targets[i], 1e-4);
  }
  // Nothing to convert: the same bits.
  Model plain = GivenModel(2);
  const Samples same = InUnitsOf(plain, Loss::kSquared, raw);
  EXPECT_EQ(same.inputs, raw.inputs);
  EXPECT_EQ(same.targets, raw.targets);
  // Classes are no numbers to be scaled.
  const Samples classes = InUnitsOf(model, Loss::kCrossEntropy, ClassesOf(GivenModel(2)));
  EXPECT_EQ(classes.targets, ClassesOf(GivenModel(2)).targets);
}

// The given network explains its own answers, however the data set is scaled.
TEST_F(ModelPruningTest, ADataSetsScalingIsUndoneForAModelThatHasItsOwn) {
  Model scaled = GivenModel(3);
  scaled.scaling.input_offset.assign(kInputs, 0.5);
  scaled.scaling.input_scale.assign(kInputs, 2);
  AddModel("scaled", scaled);
  Samples standardised = AnswersOf(scaled);
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, standardised).ok());
  AddDataset("standardised", standardised);
  PruningSpec spec = OneShot(OneShotMethod::kObs, "standardised");
  spec.model_id = "scaled";
  JobOutcome outcome = RunOrFail(RunOf(spec));
  EXPECT_EQ(outcome.model->scaling, scaled.scaling);
  EXPECT_LT(std::get<PruningReport>(outcome.report).model->given_held_out->fit.loss, 1e-9);
  // A network of another tool was trained on what the data set calls scaled.
  Samples as_seen = AnswersOf(GivenModel(3));
  as_seen.scaling = {.input_offset = std::vector<double>(kInputs, 1),
                     .input_scale = std::vector<double>(kInputs, 255)};
  AddDataset("as-seen", as_seen);
  outcome = RunOrFail(RunOf(OneShot(OneShotMethod::kObs, "as-seen")));
  EXPECT_EQ(outcome.model->scaling, Scaling());
  EXPECT_LT(std::get<PruningReport>(outcome.report).model->given_held_out->fit.loss, 1e-9);
}

// Regression: a model pruned from a network of another tool has no scaling either, and was fed
// unscaled inputs when it was pruned again.
TEST_F(ModelPruningTest, AModelPrunedFromAnUploadedOneIsFedAsItsAncestor) {
  Samples as_seen = AnswersOf(GivenModel(3));
  as_seen.scaling.input_offset.assign(kInputs, 0);
  as_seen.scaling.input_scale.assign(kInputs, 255);
  AddDataset("as-seen", as_seen);
  Model unnamed = GivenModel(3);
  unnamed.metadata.clear();
  AddModel("unnamed", unnamed);
  struct Case {
    std::string first;
    bool is_old;  // stored by a version that did not say what the model takes
  };
  for (const Case& each : {Case{"net", false}, Case{"net", true}, Case{"unnamed", false}}) {
    const auto& [first, is_old] = each;
    const auto manager = Manager([&](const JobRun& run) {
      absl::StatusOr<JobOutcome> outcome = runner_->Run(run);
      if (each.is_old) outcome->model->metadata.erase("inputs");
      return outcome;
    });
    std::string model_id = first;
    double before = 0;
    for (const char* step : {"first", "again", "chained"}) {
      CreateJobRequest request;
      PruningSpec spec = OneShot(OneShotMethod::kMagnitude, "as-seen");
      spec.model_id = model_id;
      if (step != std::string("first")) {
        spec.model_options.distill.one_shot.nonzeros = 0;
        spec.model_options.fraction = 1;
      }
      request.spec = spec;
      request.identity.id = absl::StrCat(first, is_old ? "-old-" : "-", step);
      ASSERT_TRUE(manager->Create(request).ok());
      const JobRecord job = Follower(*manager, request.identity.id).WaitFor(JobState::kSucceeded);
      const auto& report = std::get<PruningReport>(*job.report);
      if (step != std::string("first")) {
        EXPECT_EQ(report.model->given_held_out->fit.loss, before) << request.identity.id;
        EXPECT_EQ(report.held_out->fit.loss, before) << request.identity.id;
      }
      before = report.held_out->fit.loss;
      model_id = job.model_id;
    }
  }
}

// A network that a job trained on unscaled samples has an empty scaling too, and means it.
TEST_F(ModelPruningTest, AModelTrainedOnUnscaledSamplesTakesThemUnscaled) {
  Model trained = GivenModel(3);
  trained.metadata = {{"job", "training"}};
  AddModel("trained", trained);
  Samples standardised = AnswersOf(trained);
  ASSERT_TRUE(ScaleSamples(ScalingMode::kStandardise, standardised).ok());
  AddDataset("standardised", standardised);
  PruningSpec spec = OneShot(OneShotMethod::kMagnitude, "standardised");
  spec.model_id = "trained";
  const JobOutcome outcome = RunOrFail(RunOf(spec));
  EXPECT_LT(std::get<PruningReport>(outcome.report).model->given_held_out->fit.loss, 1e-9);
}

TEST_F(ModelPruningTest, SamplesWithoutTargetsAreJudgedByTheGivenNetworksOutputs) {
  const Samples labelled = AnswersOf(GivenModel(3));
  Samples inputs = labelled;
  inputs.num_outputs = 0;
  inputs.targets.clear();
  AddDataset("inputs", inputs);
  for (const auto& make :
       {+[] { return Spec("inputs"); }, +[] { return OneShot(OneShotMethod::kObs, "inputs"); }}) {
    PruningSpec spec = make();
    ASSERT_TRUE(runner_->Plan(spec).ok()) << runner_->Plan(spec).status();
    const JobOutcome outcome = RunOrFail(RunOf(spec));
    const auto& report = std::get<PruningReport>(outcome.report);
    // The answers are the given network's own: the same numbers as with them as targets.
    spec.dataset_id = "answers";
    const JobOutcome with_answers = RunOrFail(RunOf(spec));
    const auto& expected = std::get<PruningReport>(with_answers.report);
    EXPECT_EQ(outcome.model->network, with_answers.model->network);
    EXPECT_NEAR(report.held_out->fit.loss, expected.held_out->fit.loss,
                1e-5 * expected.held_out->fit.loss);
    EXPECT_NEAR(*report.held_out->fit.psnr_db, *expected.held_out->fit.psnr_db, 1e-3);
    EXPECT_EQ(report.training.num_samples, 300);
    // There is nothing to say of the given network.
    EXPECT_EQ(report.model->given_training.num_samples, 0);
    EXPECT_FALSE(report.model->given_held_out.has_value());
    EXPECT_EQ(outcome.model->metadata.at("targets"), "given_outputs");
    EXPECT_FALSE(outcome.model->metadata.contains("given_mean_loss"));
  }
  // For classes agreement with the given network is what counts.
  Model named = GivenModel(3);
  named.class_names = {"a", "b", "c"};
  AddModel("named", named);
  PruningSpec spec = Spec("inputs");
  spec.model_id = "named";
  const JobOutcome classes = RunOrFail(RunOf(spec));
  const auto& report = std::get<PruningReport>(classes.report);
  EXPECT_EQ(report.model->options_used.loss, Loss::kCrossEntropy);
  spec.model_options.fraction = 1;
  spec.model_options.distill.one_shot.nonzeros = 0;
  spec.model_options.distill.one_shot.method = OneShotMethod::kMagnitude;
  spec.model_options.train = false;
  EXPECT_EQ(std::get<PruningReport>(RunOrFail(RunOf(spec)).report).held_out->fit.accuracy, 1);
  EXPECT_TRUE(runner_->Plan(Path(true)).ok());
}

TEST_F(ModelPruningTest, WhatNeedsTargetsRefusesSamplesWithout) {
  Samples inputs = AnswersOf(GivenModel(3));
  inputs.num_outputs = 0;
  inputs.targets.clear();
  AddDataset("inputs", inputs);
  inputs.num_inputs = kInputs / 2;
  inputs.num_samples *= 2;
  AddDataset("narrow", inputs);
  EXPECT_EQ(FieldOfPlan(Spec("narrow")), "pruning.dataset");
  const auto expect = [&](const PruningSpec& spec, const std::string& field) {
    EXPECT_EQ(FieldOfPlan(spec), field);
    EXPECT_THAT(std::string(runner_->Plan(spec).status().message()), HasSubstr("has no targets"));
  };
  PruningSpec spec = Spec("inputs");
  spec.model_options.distill.targets = PruneTargets::kLabels;
  expect(spec, "pruning.model_options.targets");
  spec = Spec("answers");
  spec.split = {.held_out_fraction = 0, .held_out_dataset_id = "inputs"};
  expect(spec, "pruning.held_out_dataset");
  spec = Spec("inputs");
  spec.split = {.held_out_fraction = 0, .held_out_dataset_id = "answers"};
  EXPECT_EQ(FieldOfPlan(spec), "pruning.held_out_dataset");
  spec = {.dataset_id = "inputs"};  // trained, not given
  spec.options = {.hidden_widths = {4}, .nonzeros = 5};
  expect(spec, "pruning.dataset");
  spec.dataset_id = "answers";
  spec.split.validation = store::ValidationSpec{.dataset_id = "inputs"};
  expect(spec, "pruning.validation.dataset");
}

TEST_F(ModelPruningTest, TwoClassesServeModelsOfOneAndOfTwoOutputs) {
  Samples two = ClassesOf(GivenModel(2));
  Samples one = two;
  one.num_outputs = 1;
  one.targets.clear();
  for (int64_t i = 0; i < kSamples; ++i) one.targets.push_back(two.targets[2 * i + 1]);
  const Samples fitted = InUnitsOf(GivenModel(2), Loss::kCrossEntropy, one);
  EXPECT_EQ(fitted.num_outputs, 2);
  EXPECT_EQ(fitted.targets, two.targets);
  EXPECT_TRUE(ValidateSamples(fitted).ok());
  AddModel("pair", GivenModel(2));
  AddDataset("pair", one);
  PruningSpec spec = Spec("pair");
  spec.model_id = "pair";
  EXPECT_EQ(
      std::get<PruningReport>(RunOrFail(RunOf(spec)).report).model->given_held_out->fit.accuracy,
      1);
  // Where the model scales its one output, one half does not divide the classes.
  Model scaled = GivenModel(1);
  EXPECT_EQ(InUnitsOf(scaled, Loss::kSquared, one).class_names, one.class_names);
  scaled.scaling.target_offset = 0.5;
  EXPECT_TRUE(InUnitsOf(scaled, Loss::kSquared, one).class_names.empty());
  EXPECT_EQ(InUnitsOf(scaled, Loss::kLogistic, one).class_names, one.class_names);
}

TEST_F(ModelPruningTest, CancelledItKeepsWhatThereIs) {
  std::stop_source stop;
  JobRun run = RunOf(Spec());
  run.stop = stop.get_token();
  run.on_iteration = [&](const JobProgress& progress) {
    if (IterationOf(progress) == 2) stop.request_stop();
  };
  JobOutcome outcome = RunOrFail(run);
  auto report = std::get<PruningReport>(outcome.report);
  EXPECT_EQ(report.termination_reason, TerminationReason::kCancelled);
  EXPECT_TRUE(report.partial);
  ASSERT_TRUE(outcome.model.has_value());
  EXPECT_LE(Nonzeros(outcome.model->network), 60);
  // A path keeps its points.
  std::stop_source stop_path;
  run = RunOf(Path(true));
  run.stop = stop_path.get_token();
  run.on_iteration = [&](const JobProgress& progress) {
    if (IterationOf(progress) == 7) stop_path.request_stop();
  };
  outcome = RunOrFail(run);
  report = std::get<PruningReport>(outcome.report);
  EXPECT_EQ(report.termination_reason, TerminationReason::kCancelled);
  EXPECT_TRUE(report.partial);
  EXPECT_EQ(outcome.points.size(), 2);
  EXPECT_EQ(report.model->path.size(), 2);
  EXPECT_TRUE(outcome.model.has_value());
  // Before there is anything there is no model.
  for (const PruningSpec& spec : {Spec(), Path(true), OneShot(OneShotMethod::kObs)}) {
    std::stop_source at_once;
    at_once.request_stop();
    run = RunOf(spec);
    run.stop = at_once.get_token();
    outcome = RunOrFail(run);
    EXPECT_FALSE(outcome.model.has_value());
    EXPECT_EQ(TerminationReasonOf(outcome.report), TerminationReason::kCancelled);
  }
}

TEST_F(ModelPruningTest, ATimeLimitBeforeTheFirstNetworkIsAnError) {
  for (const PruningSpec& spec :
       {Spec(), Path(true), Path(false), OneShot(OneShotMethod::kCurvature)}) {
    JobRun run = RunOf(spec);
    run.time_limit_seconds = 1e-9;
    EXPECT_EQ(runner_->Run(run).status().code(), absl::StatusCode::kDeadlineExceeded);
  }
}

// A path whose every point is a model, whole and stopped within its second point.
TEST_F(ModelPruningTest, APathsPointsAreModelsAndSurviveARestart) {
  const auto runner = [this](const JobRun& run) { return runner_->Run(run); };
  CreateJobRequest request;
  request.spec = Path(true);
  request.identity.id = "whole";
  JobRecord whole;
  {
    const auto manager = Manager(runner);
    ASSERT_TRUE(manager->Create(request).ok());
    whole = Follower(*manager, "whole").WaitFor(JobState::kSucceeded);
  }
  request.identity.id = "broken";
  {
    Gate fifth;
    Gate drained;
    const auto manager = Manager([&](const JobRun& run) {
      JobRun paused = run;
      paused.on_iteration = [&](const JobProgress& progress) {
        run.on_iteration(progress);
        if (IterationOf(progress) == 5) {
          fifth.Open();
          drained.WaitOrStop(run.stop);
        }
      };
      return runner_->Run(paused);
    });
    ASSERT_TRUE(manager->Create(request).ok());
    // While a job waits for its model or works on it, the model stays.
    EXPECT_EQ(store_->models().Delete("net").code(), absl::StatusCode::kFailedPrecondition);
    fifth.Wait();
    ASSERT_TRUE(manager->Drain(std::chrono::steady_clock::now() + std::chrono::minutes(1)).ok());
    EXPECT_EQ(manager->Get("broken")->checkpoint_iteration, 5);
  }
  const auto manager = Manager(runner);
  const JobRecord broken = Follower(*manager, "broken").WaitFor(JobState::kSucceeded);
  EXPECT_EQ(broken.attempt_count, 2);
  const auto& of_whole = *std::get<PruningReport>(*whole.report).model;
  const auto& of_broken = *std::get<PruningReport>(*broken.report).model;
  ASSERT_EQ(of_whole.path.size(), 4);
  ASSERT_EQ(of_broken.path.size(), 4);
  int knees = 0;
  for (size_t k = 0; k < 4; ++k) {
    const store::PruningPathPoint& point = of_broken.path[k];
    EXPECT_EQ(point.model_id, absl::StrCat("broken-", point.budget));
    const auto record = store_->models().Get(point.model_id);
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(record->job_id, "broken");
    EXPECT_EQ(record->nonzeros, point.nonzeros);
    EXPECT_LE(point.nonzeros, point.budget);
    const auto& report = std::get<PruningReport>(*record->report);
    EXPECT_EQ(report.nonzeros, point.nonzeros);
    EXPECT_EQ(report.held_out->fit.loss, point.held_out->fit.loss);
    const auto model = store_->models().Load(*record);
    const auto other = store_->models().Load(*store_->models().Get(of_whole.path[k].model_id));
    ASSERT_TRUE(model.ok() && other.ok()) << model.status();
    EXPECT_EQ((*model)->network, (*other)->network);
    if (!point.knee) continue;
    ++knees;
    const auto chosen = store_->models().Load(*store_->models().Get(broken.model_id));
    ASSERT_TRUE(chosen.ok()) << chosen.status();
    EXPECT_EQ((*chosen)->network, (*model)->network);
  }
  EXPECT_EQ(knees, 1);
  EXPECT_EQ(broken.model_id, "broken");
  // Models outlive their job, and the job its models.
  ASSERT_TRUE(manager->Delete("broken").ok());
  EXPECT_TRUE(store_->models().Get("broken-15").ok());
  EXPECT_TRUE(store_->models().Delete("broken-15").ok());
  EXPECT_TRUE(store_->models().Delete("net").ok());
}

TEST_F(ModelPruningTest, APrunedModelIsPrunedAgainByItsLoss) {
  CreateJobRequest request;
  request.spec = Spec();
  request.identity.id = "first";
  const auto manager = Manager([this](const JobRun& run) { return runner_->Run(run); });
  ASSERT_TRUE(manager->Create(request).ok());
  Follower(*manager, "first").WaitFor(JobState::kSucceeded);
  PruningSpec again = OneShot(OneShotMethod::kMagnitude, "answers");
  again.model_id = "first";
  again.model_options.distill.one_shot.nonzeros = 10;
  // The loss is that by which it was found, though the data have no classes.
  const auto outcome = runner_->Run(RunOf(again));
  EXPECT_EQ(store::FieldOf(outcome.status()), "targets") << outcome.status();
  again.dataset_id = "classes";
  const JobOutcome ended = RunOrFail(RunOf(again));
  EXPECT_EQ(std::get<PruningReport>(ended.report).model->options_used.loss, Loss::kCrossEntropy);
  EXPECT_EQ(ended.model->metadata.at("model"), "first");
  EXPECT_EQ(ended.model->metadata.at(kOnnxInputNameKey), "pixels");
  EXPECT_EQ(ended.model->metadata.at("budget"), "10");
}

}  // namespace
}  // namespace thresher::jobs
