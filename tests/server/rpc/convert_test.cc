#include "server/rpc/convert.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"
#include "server/store/error_details.h"
#include "tests/server/rpc/error_details.h"

namespace thresher::rpc {
namespace {

using google::protobuf::util::MessageDifferencer;
using ::testing::HasSubstr;

v1::CreateJobRequest FullRequest() {
  v1::CreateJobRequest request;
  request.set_job_id("job-a");
  request.set_request_id("retry-1");
  v1::Job& job = *request.mutable_job();
  job.set_priority(7);
  (*job.mutable_labels())["team"] = "vision";
  job.mutable_time_limit()->set_seconds(3);
  job.mutable_time_limit()->set_nanos(500'000'000);
  v1::RecoverySpec& spec = *job.mutable_recovery();
  spec.set_dataset("datasets/a");
  spec.set_held_out_fraction(0.25);
  spec.set_split_seed(11);
  spec.set_initial_model("models/b");
  v1::RecoveryOptions& options = *spec.mutable_options();
  options.set_hidden_width(50);
  options.set_nonzeros(20);
  options.set_working_nonzeros(40);
  options.set_algorithm(v1::ALGORITHM_IHT);
  options.set_gate_mode(v1::GATE_MODE_RANDOM);
  options.set_output_signs(v1::OUTPUT_SIGNS_MIXED);
  options.set_bias(true);
  options.set_linear_term(v1::LINEAR_TERM_DENSE);
  options.set_hidden_layers(3);
  options.set_loss(v1::LOSS_LOGISTIC);
  options.set_seed(std::numeric_limits<uint64_t>::max());
  options.set_step_size(0.5);
  options.set_batch_size(100);
  options.set_max_iterations(9);
  options.set_relative_residual_tolerance(0);
  options.set_stagnation_iterations(0);
  return request;
}

store::JobRecord RecordOf(const jobs::CreateJobRequest& request) {
  store::JobRecord record;
  record.id = request.identity.id;
  record.spec = request.spec;
  record.priority = request.priority;
  record.labels = request.labels;
  record.time_limit_seconds = request.time_limit_seconds;
  return record;
}

TEST(ConvertJobTest, WhatWasAskedComesBack) {
  const v1::CreateJobRequest request = FullRequest();
  const auto converted = FromProto(request);
  ASSERT_TRUE(converted.ok()) << converted.status();
  EXPECT_EQ(converted->identity.id, "job-a");
  EXPECT_EQ(converted->identity.request_id, "retry-1");
  const v1::Job back = ToProto(RecordOf(*converted));
  EXPECT_TRUE(MessageDifferencer::Equals(back.recovery(), request.job().recovery()))
      << back.recovery().DebugString();
  EXPECT_EQ(back.priority(), 7);
  EXPECT_EQ(back.labels().at("team"), "vision");
  EXPECT_TRUE(MessageDifferencer::Equals(back.time_limit(), request.job().time_limit()));
  EXPECT_EQ(back.name(), "jobs/job-a");
}

TEST(ConvertJobTest, AnUnsetLossIsChosen) {
  v1::CreateJobRequest request = FullRequest();
  v1::RecoveryOptions& options = *request.mutable_job()->mutable_recovery()->mutable_options();
  for (const auto loss : {v1::LOSS_SQUARED, v1::LOSS_UNSPECIFIED}) {
    options.set_loss(loss);
    const auto converted = FromProto(request);
    ASSERT_TRUE(converted.ok()) << converted.status();
    EXPECT_EQ(std::get<store::RecoverySpec>(converted->spec).options.choose_loss,
              loss == v1::LOSS_UNSPECIFIED);
    EXPECT_EQ(ToProto(RecordOf(*converted)).recovery().options().loss(), loss);
  }
}

TEST(ConvertJobTest, EveryAlgorithmComesBack) {
  const google::protobuf::EnumDescriptor* algorithms = v1::Algorithm_descriptor();
  for (int k = 0; k < algorithms->value_count(); ++k) {
    const auto algorithm = static_cast<v1::Algorithm>(algorithms->value(k)->number());
    v1::CreateJobRequest request = FullRequest();
    request.mutable_job()->mutable_recovery()->mutable_options()->set_algorithm(algorithm);
    const auto converted = FromProto(request);
    ASSERT_TRUE(converted.ok()) << converted.status();
    // The wire and the core call it by the same name.
    if (algorithm != v1::ALGORITHM_UNSPECIFIED) {
      EXPECT_EQ(absl::AsciiStrToUpper(absl::StrCat(
                    "algorithm_",
                    std::string(AlgorithmName(
                        std::get<store::RecoverySpec>(converted->spec).options.algorithm)))),
                algorithms->value(k)->name());
    }
    EXPECT_EQ(ToProto(RecordOf(*converted)).recovery().options().algorithm(), algorithm);
  }
}

v1::CreateJobRequest PathRequest() {
  v1::CreateJobRequest request = FullRequest();
  v1::RecoverySpec& spec = *request.mutable_job()->mutable_recovery();
  spec.clear_initial_model();
  spec.mutable_options()->clear_nonzeros();
  spec.mutable_options()->clear_working_nonzeros();
  spec.mutable_path()->set_min_nonzeros(5);
  spec.mutable_path()->set_max_nonzeros(80);
  return request;
}

TEST(ConvertJobTest, APathComesBack) {
  v1::CreateJobRequest request = PathRequest();
  v1::PathOptions& path = *request.mutable_job()->mutable_recovery()->mutable_path();
  path.set_search(v1::PATH_SEARCH_GOLDEN_SECTION);
  path.set_max_points(9);
  for (const auto criterion : {v1::SELECTION_CRITERION_INFORMATION,
                               v1::SELECTION_CRITERION_HELD_OUT, v1::SELECTION_CRITERION_K_FOLD}) {
    path.set_criterion(criterion);
    path.clear_validation_fraction();
    path.clear_num_folds();
    if (criterion == v1::SELECTION_CRITERION_HELD_OUT) path.set_validation_fraction(0.3);
    if (criterion == v1::SELECTION_CRITERION_K_FOLD) path.set_num_folds(4);
    const auto converted = FromProto(request);
    ASSERT_TRUE(converted.ok()) << converted.status();
    const v1::Job back = ToProto(RecordOf(*converted));
    EXPECT_TRUE(MessageDifferencer::Equals(back.recovery(), request.job().recovery()))
        << back.recovery().DebugString();
  }
}

TEST(ConvertJobTest, AnUnsetPathKeepsTheSolversDefaults) {
  const auto converted = FromProto(PathRequest());
  ASSERT_TRUE(converted.ok()) << converted.status();
  const PathOptions defaults;
  const PathOptions& path = *std::get<store::RecoverySpec>(converted->spec).path;
  EXPECT_EQ(path.max_nonzeros, 80);
  EXPECT_EQ(path.criterion, SelectionCriterion::kInformation);
  EXPECT_EQ(path.search, PathSearch::kGrid);
  EXPECT_EQ(path.validation_fraction, defaults.validation_fraction);
  EXPECT_EQ(path.num_folds, defaults.num_folds);
  EXPECT_EQ(path.max_points, defaults.max_points);
}

TEST(ConvertJobTest, PointsOfAPathReachTheReport) {
  store::JobRecord record;
  std::get<store::RecoverySpec>(record.spec).dataset_id = "a";
  store::RecoveryReport report;
  report.path = {{.nonzeros = 3, .relative_residual = 0.5, .criterion_value = -2},
                 {.nonzeros = 4,
                  .relative_residual = 0.25,
                  .held_out_relative_residual = 0.3,
                  .criterion_value = 0.3,
                  .active_neurons = 2,
                  .iterations = 9,
                  .elapsed_seconds = 1.5,
                  .chosen = true}};
  record.report = report;
  const v1::Job job = ToProto(record);
  ASSERT_EQ(job.recovery_report().path_size(), 2);
  const v1::PathPoint& first = job.recovery_report().path(0);
  EXPECT_EQ(first.nonzeros(), 3);
  EXPECT_EQ(first.criterion_value(), -2);
  EXPECT_FALSE(first.has_held_out_relative_residual());
  EXPECT_FALSE(first.chosen());
  const v1::PathPoint& second = job.recovery_report().path(1);
  EXPECT_EQ(second.relative_residual(), 0.25);
  EXPECT_EQ(second.held_out_relative_residual(), 0.3);
  EXPECT_EQ(second.active_neurons(), 2);
  EXPECT_EQ(second.iterations(), 9);
  EXPECT_EQ(second.elapsed().nanos(), 500000000);
  EXPECT_TRUE(second.chosen());
}

TEST(ConvertJobTest, EveryGateModeComesBack) {
  for (const v1::GateMode gate_mode :
       {v1::GATE_MODE_SEQUENTIAL, v1::GATE_MODE_RANDOM, v1::GATE_MODE_ENUMERATED}) {
    v1::CreateJobRequest request = FullRequest();
    request.mutable_job()->mutable_recovery()->mutable_options()->set_gate_mode(gate_mode);
    const auto converted = FromProto(request);
    ASSERT_TRUE(converted.ok()) << converted.status();
    EXPECT_EQ(ToProto(RecordOf(*converted)).recovery().options().gate_mode(), gate_mode);
  }
}

TEST(ConvertJobTest, UnsetOptionsKeepTheSolversDefaults) {
  v1::CreateJobRequest request;
  v1::RecoverySpec& spec = *request.mutable_job()->mutable_recovery();
  spec.set_dataset("datasets/a");
  spec.mutable_options()->set_hidden_width(5);
  spec.mutable_options()->set_nonzeros(5);
  const auto converted = FromProto(request);
  ASSERT_TRUE(converted.ok()) << converted.status();
  const RecoveryOptions defaults;
  const RecoveryOptions& options = std::get<store::RecoverySpec>(converted->spec).options;
  EXPECT_EQ(options.algorithm, Algorithm::kAuto);
  EXPECT_EQ(options.gate_mode, GateMode::kSequential);
  EXPECT_TRUE(options.choose_output_signs);
  EXPECT_EQ(options.working_nonzeros, 0);
  EXPECT_EQ(options.batch_size, 0);
  EXPECT_FALSE(options.step_size);
  EXPECT_EQ(options.termination.max_iterations, defaults.termination.max_iterations);
  EXPECT_EQ(options.termination.relative_residual_tolerance,
            defaults.termination.relative_residual_tolerance);
  EXPECT_EQ(std::get<store::RecoverySpec>(converted->spec).split.held_out_fraction, 0.2);
  EXPECT_FALSE(converted->time_limit_seconds);
}

TEST(ConvertJobTest, SamplesApartComeBack) {
  const auto recovery = [](v1::CreateJobRequest& request) {
    return request.mutable_job()->mutable_recovery();
  };
  for (int kind = 0; kind < 4; ++kind) {
    v1::CreateJobRequest request = FullRequest();
    v1::RecoverySpec& spec = *recovery(request);
    if (kind == 0) {
      spec.set_held_out_dataset("datasets/test");
      spec.set_held_out_fraction(0);
    }
    if (kind == 1) spec.mutable_validation()->set_dataset("datasets/more");
    if (kind > 1) spec.mutable_validation()->set_fraction(0.125);
    if (kind == 3) spec.mutable_validation()->set_patience(7);
    const auto converted = FromProto(request);
    ASSERT_TRUE(converted.ok()) << converted.status();
    const v1::Job back = ToProto(RecordOf(*converted));
    EXPECT_TRUE(MessageDifferencer::Equals(back.recovery(), spec)) << back.DebugString();
  }
  // Nothing is held out beside a data set, and a fifth chooses where nothing else is said.
  v1::CreateJobRequest request = FullRequest();
  recovery(request)->set_held_out_dataset("datasets/test");
  recovery(request)->clear_held_out_fraction();
  recovery(request)->mutable_validation()->set_patience(2);
  const auto converted = FromProto(request);
  ASSERT_TRUE(converted.ok()) << converted.status();
  const store::SampleSplit& split = std::get<store::RecoverySpec>(converted->spec).split;
  EXPECT_EQ(split.held_out_fraction, 0);
  EXPECT_EQ(split.validation->fraction, 0.2);
  const auto field = [&](const std::function<void(v1::RecoverySpec&)>& damage) {
    v1::CreateJobRequest damaged = FullRequest();
    damage(*recovery(damaged));
    return store::FieldOf(FromProto(damaged).status()).value_or("none");
  };
  EXPECT_EQ(field([](auto& s) { s.set_held_out_dataset("test"); }),
            "job.recovery.held_out_dataset");
  EXPECT_EQ(field([](auto& s) { s.mutable_validation()->set_dataset(""); }),
            "job.recovery.validation.dataset");
}

TEST(ConvertJobTest, ASweepsHeldOutDataSetComesBack) {
  v1::CreateJobRequest request;
  v1::SweepSpec& spec = *request.mutable_job()->mutable_sweep();
  spec.set_dataset("datasets/a");
  spec.set_held_out_dataset("datasets/test");
  spec.add_nonzeros(3);
  const auto converted = FromProto(request);
  ASSERT_TRUE(converted.ok()) << converted.status();
  const v1::SweepSpec back = ToProto(RecordOf(*converted)).sweep();
  EXPECT_EQ(back.held_out_dataset(), "datasets/test");
  EXPECT_EQ(back.held_out_fraction(), 0);
  spec.set_held_out_dataset("test");
  EXPECT_EQ(store::FieldOf(FromProto(request).status()), "job.sweep.held_out_dataset");
}

TEST(ConvertJobTest, TheChoiceBySamplesApartIsShown) {
  store::JobRecord record;
  record.spec = store::RecoverySpec{.dataset_id = "a"};
  record.progress = IterationReport{.iteration = 2, .validation = FitQuality{.loss = 0.5}};
  record.report =
      store::RecoveryReport{.termination_reason = TerminationReason::kEarlyStopped,
                            .validation = FitQuality{.num_samples = 8, .relative_residual = 0.25},
                            .best_iteration = 6};
  v1::Job job = ToProto(record);
  EXPECT_EQ(job.progress().validation().loss(), 0.5);
  EXPECT_EQ(job.recovery_report().termination_reason(), v1::TERMINATION_REASON_EARLY_STOPPED);
  EXPECT_EQ(job.recovery_report().validation().num_samples(), 8);
  EXPECT_EQ(job.recovery_report().validation().relative_residual(), 0.25);
  EXPECT_EQ(job.recovery_report().best_iteration(), 6);

  record.spec = store::PruningSpec{.dataset_id = "a", .options = {.hidden_widths = {4}}};
  record.progress = PruneReport{.iteration = 2, .validation = Fit{.loss = 0.5}};
  record.report =
      store::PruningReport{.validation = store::PruningFit{8, {.loss = 0.75}}, .best_iteration = 6};
  job = ToProto(record);
  EXPECT_EQ(job.pruning_progress().validation().loss(), 0.5);
  EXPECT_EQ(job.pruning_report().validation().num_samples(), 8);
  EXPECT_EQ(job.pruning_report().validation().loss(), 0.75);
  EXPECT_EQ(job.pruning_report().best_iteration(), 6);
}

v1::CreateJobRequest PruningRequest(v1::PruneSchedule schedule) {
  v1::CreateJobRequest request;
  v1::PruningSpec& spec = *request.mutable_job()->mutable_pruning();
  spec.set_dataset("datasets/a");
  spec.set_held_out_fraction(0.25);
  spec.set_split_seed(11);
  v1::PruningOptions& options = *spec.mutable_options();
  options.set_method(v1::PRUNING_METHOD_IMP);
  options.add_hidden_widths(300);
  options.add_hidden_widths(100);
  options.set_nonzeros(2000);
  options.set_bias(true);
  options.set_loss(v1::LOSS_CROSS_ENTROPY);
  options.set_epochs(7);
  options.set_batch_size(0);
  options.set_learning_rate(0.5);
  options.set_learning_rate_decay(0.25);
  options.set_schedule(schedule);
  options.set_saliency(v1::SALIENCY_FISHER);
  options.set_seed(std::numeric_limits<uint64_t>::max());
  if (schedule == v1::PRUNE_SCHEDULE_ROUNDS) {
    options.set_prune_fraction(0.2);
    options.set_rewind_epoch(3);
    options.set_retrain_after_last_prune(true);
  } else {
    options.set_schedule_power(4);
    options.set_prune_end(0.5);
  }
  return request;
}

TEST(ConvertJobTest, APruningComesBack) {
  for (const auto schedule : {v1::PRUNE_SCHEDULE_ROUNDS, v1::PRUNE_SCHEDULE_GRADUAL}) {
    v1::CreateJobRequest request = PruningRequest(schedule);
    v1::PruningOptions& options = *request.mutable_job()->mutable_pruning()->mutable_options();
    for (const auto loss :
         {v1::LOSS_UNSPECIFIED, v1::LOSS_SQUARED, v1::LOSS_CROSS_ENTROPY, v1::LOSS_LOGISTIC}) {
      for (const auto saliency : {v1::SALIENCY_MAGNITUDE, v1::SALIENCY_FISHER}) {
        options.set_loss(loss);
        options.set_saliency(saliency);
        const auto converted = FromProto(request);
        ASSERT_TRUE(converted.ok()) << converted.status();
        const v1::Job back = ToProto(RecordOf(*converted));
        EXPECT_TRUE(MessageDifferencer::Equals(back.pruning(), request.job().pruning()))
            << back.pruning().DebugString();
      }
    }
  }
}

TEST(ConvertJobTest, UnsetOptionsOfAPruningKeepTheDefaults) {
  v1::CreateJobRequest request;
  v1::PruningSpec& spec = *request.mutable_job()->mutable_pruning();
  spec.set_dataset("datasets/a");
  spec.mutable_options()->add_hidden_widths(5);
  spec.mutable_options()->set_nonzeros(5);
  const auto converted = FromProto(request);
  ASSERT_TRUE(converted.ok()) << converted.status();
  const PruneOptions defaults;
  const auto& pruning = std::get<store::PruningSpec>(converted->spec);
  EXPECT_EQ(pruning.split.held_out_fraction, 0.2);
  EXPECT_EQ(pruning.options.loss, defaults.loss);
  EXPECT_EQ(pruning.options.epochs, defaults.epochs);
  EXPECT_EQ(pruning.options.batch_size, defaults.batch_size);
  EXPECT_EQ(pruning.options.learning_rate, defaults.learning_rate);
  EXPECT_EQ(pruning.options.schedule, defaults.schedule);
  EXPECT_EQ(pruning.options.saliency, defaults.saliency);
  EXPECT_EQ(pruning.options.prune_fraction, defaults.prune_fraction);
  EXPECT_EQ(pruning.options.schedule_power, defaults.schedule_power);
  EXPECT_EQ(pruning.options.prune_end, defaults.prune_end);
}

TEST(ConvertJobTest, AReportOfAPruningIsShown) {
  store::JobRecord record;
  record.spec = store::PruningSpec{.dataset_id = "a", .options = {.hidden_widths = {4}}};
  record.progress =
      PruneReport{.iteration = 9,
                  .round = 2,
                  .epoch = 3,
                  .fit = {.loss = 0.5, .psnr_db = 8.0, .accuracy = 0.75, .r_squared = 0.875},
                  .nonzeros = 40,
                  .learning_rate = 0.25,
                  .divergences = 1,
                  .elapsed_seconds = 1.5};
  record.report = store::PruningReport{
      .termination_reason = TerminationReason::kTimeLimit,
      .iterations = 10,
      .rounds = 2,
      .elapsed_seconds = 2.5,
      .options_used = {.hidden_widths = {4}, .batch_size = 60},
      .training = {.num_samples = 80, .fit = {.loss = 0.5, .accuracy = 0.75}},
      .held_out = store::PruningFit{.num_samples = 20,
                                    .fit = {.loss = 0.75, .psnr_db = 7.0, .r_squared = 0.25}},
      .nonzeros = 30,
      .active_neurons = 3,
      .divergences = 1,
      .partial = true};
  const v1::Job job = ToProto(record);
  EXPECT_FALSE(job.has_progress());
  const v1::EpochReport& epoch = job.pruning_progress();
  EXPECT_EQ(epoch.iteration(), 9);
  EXPECT_EQ(epoch.round(), 2);
  EXPECT_EQ(epoch.epoch(), 3);
  EXPECT_EQ(epoch.loss(), 0.5);
  EXPECT_EQ(epoch.psnr_db(), 8);
  EXPECT_EQ(epoch.accuracy(), 0.75);
  EXPECT_EQ(epoch.r_squared(), 0.875);
  EXPECT_EQ(epoch.nonzeros(), 40);
  EXPECT_EQ(epoch.learning_rate(), 0.25);
  EXPECT_EQ(epoch.divergences(), 1);
  EXPECT_EQ(epoch.elapsed().seconds(), 1);
  const v1::PruningReport& report = job.pruning_report();
  EXPECT_EQ(report.termination_reason(), v1::TERMINATION_REASON_TIME_LIMIT);
  EXPECT_EQ(report.iterations(), 10);
  EXPECT_EQ(report.rounds(), 2);
  EXPECT_EQ(report.elapsed().seconds(), 2);
  EXPECT_EQ(report.options_used().batch_size(), 60);
  EXPECT_EQ(report.training().num_samples(), 80);
  EXPECT_EQ(report.training().accuracy(), 0.75);
  EXPECT_FALSE(report.training().has_psnr_db());
  EXPECT_FALSE(report.training().has_r_squared());
  EXPECT_EQ(report.held_out().loss(), 0.75);
  EXPECT_EQ(report.held_out().psnr_db(), 7);
  EXPECT_EQ(report.held_out().r_squared(), 0.25);
  EXPECT_FALSE(report.held_out().has_accuracy());
  EXPECT_EQ(report.nonzeros(), 30);
  EXPECT_EQ(report.active_neurons(), 3);
  EXPECT_EQ(report.divergences(), 1);
  EXPECT_TRUE(report.partial());
  store::ModelRecord model;
  model.spec = record.spec;
  model.report = record.report;
  EXPECT_TRUE(MessageDifferencer::Equals(ToProto(model).pruning_report(), report));
  EXPECT_EQ(ToProto(model).pruning_spec().dataset(), "datasets/a");
  EXPECT_FALSE(ToProto(model).has_spec());
}

TEST(ConvertJobTest, FaultsOfAPruningNameTheField) {
  const auto field = [](v1::PruneSchedule schedule,
                        const std::function<void(v1::PruningSpec&)>& damage) {
    v1::CreateJobRequest request = PruningRequest(schedule);
    damage(*request.mutable_job()->mutable_pruning());
    const auto converted = FromProto(request);
    EXPECT_EQ(converted.status().code(), absl::StatusCode::kInvalidArgument);
    return store::FieldOf(converted.status()).value_or("none");
  };
  constexpr auto kRounds = v1::PRUNE_SCHEDULE_ROUNDS;
  constexpr auto kGradual = v1::PRUNE_SCHEDULE_GRADUAL;
  const auto options = [](v1::PruningSpec& spec) { return spec.mutable_options(); };
  EXPECT_EQ(field(kRounds, [](auto& s) { s.set_dataset("a"); }), "job.pruning.dataset");
  EXPECT_EQ(field(kRounds, [](auto& s) { s.clear_options(); }), "job.pruning.options");
  for (const double fraction : {1.0, -0.5, std::nan("")}) {
    EXPECT_EQ(field(kRounds, [&](auto& s) { s.set_held_out_fraction(fraction); }),
              "job.pruning.held_out_fraction");
  }
  EXPECT_EQ(field(kRounds, [&](auto& s) { options(s)->set_method(v1::PruningMethod(99)); }),
            "job.pruning.options.method");
  EXPECT_EQ(field(kRounds, [&](auto& s) { options(s)->set_loss(v1::Loss(99)); }),
            "job.pruning.options.loss");
  EXPECT_EQ(field(kRounds, [&](auto& s) { options(s)->set_schedule(v1::PruneSchedule(99)); }),
            "job.pruning.options.schedule");
  EXPECT_EQ(field(kRounds, [&](auto& s) { options(s)->set_saliency(v1::Saliency(99)); }),
            "job.pruning.options.saliency");
  // Fields of the other schedule.
  EXPECT_EQ(field(kRounds, [&](auto& s) { options(s)->set_schedule_power(3); }),
            "job.pruning.options.schedule_power");
  EXPECT_EQ(field(kRounds, [&](auto& s) { options(s)->set_prune_end(0.5); }),
            "job.pruning.options.prune_end");
  EXPECT_EQ(field(kGradual, [&](auto& s) { options(s)->set_prune_fraction(0.5); }),
            "job.pruning.options.prune_fraction");
}

v1::CreateJobRequest ModelPruningRequest(v1::PruningMethod method) {
  v1::CreateJobRequest request;
  v1::PruningSpec& spec = *request.mutable_job()->mutable_pruning();
  spec.set_dataset("datasets/a");
  spec.set_held_out_fraction(0.25);
  spec.set_model("models/net");
  v1::ModelPruningOptions& options = *spec.mutable_model_options();
  options.set_method(method);
  options.set_nonzeros(2000);
  options.set_scope(v1::PRUNE_SCOPE_PER_LAYER);
  options.set_pattern_kept(2);
  options.set_pattern_size(4);
  options.set_whole_neurons(true);
  options.set_loss(v1::LOSS_CROSS_ENTROPY);
  options.set_seed(std::numeric_limits<uint64_t>::max());
  const bool distills = method == v1::PRUNING_METHOD_DISTILL;
  if (method != v1::PRUNING_METHOD_MAGNITUDE) options.set_max_samples(300);
  if (distills || method == v1::PRUNING_METHOD_OBS || method == v1::PRUNING_METHOD_CURVATURE) {
    options.set_damping(0.25);
  }
  if (method == v1::PRUNING_METHOD_CURVATURE) options.set_stages(5);
  if (distills) {
    options.set_targets(v1::PRUNE_TARGETS_LABELS);
    options.set_start_factor(3);
    options.set_epochs(7);
    options.set_batch_size(0);
    options.set_learning_rate(0.5);
    options.set_learning_rate_decay(0.25);
    options.set_schedule_power(4);
    options.set_prune_end(0.5);
  }
  return request;
}

TEST(ConvertJobTest, APruningOfAModelComesBack) {
  for (const auto method :
       {v1::PRUNING_METHOD_MAGNITUDE, v1::PRUNING_METHOD_ACTIVATION, v1::PRUNING_METHOD_OBS,
        v1::PRUNING_METHOD_CURVATURE, v1::PRUNING_METHOD_DISTILL}) {
    for (int budget = 0; budget < 3; ++budget) {
      v1::CreateJobRequest request = ModelPruningRequest(method);
      v1::ModelPruningOptions& options =
          *request.mutable_job()->mutable_pruning()->mutable_model_options();
      if (budget == 1) options.set_fraction(0.125);
      if (budget == 2) {
        options.mutable_path()->set_min_nonzeros(3);
        options.mutable_path()->set_max_nonzeros(40);
        options.mutable_path()->set_num_points(9);
      }
      const auto converted = FromProto(request);
      ASSERT_TRUE(converted.ok()) << converted.status();
      v1::PruningSpec back = ToProto(RecordOf(*converted)).pruning();
      EXPECT_FALSE(back.has_options());
      back.clear_split_seed();
      EXPECT_TRUE(MessageDifferencer::Equals(back, request.job().pruning())) << back.DebugString();
    }
  }
}

TEST(ConvertJobTest, UnsetOptionsOfAModelsPruningKeepTheDefaults) {
  v1::CreateJobRequest request;
  v1::PruningSpec& spec = *request.mutable_job()->mutable_pruning();
  spec.set_dataset("datasets/a");
  spec.set_model("models/net");
  spec.mutable_model_options()->mutable_path();
  const auto converted = FromProto(request);
  ASSERT_TRUE(converted.ok()) << converted.status();
  const auto& pruning = std::get<store::PruningSpec>(converted->spec);
  EXPECT_EQ(pruning.model_id, "net");
  const store::ModelPruningOptions defaults;
  EXPECT_TRUE(pruning.model_options.train);
  EXPECT_FALSE(pruning.model_options.loss.has_value());
  EXPECT_EQ(pruning.model_options.path->num_points, 8);
  EXPECT_EQ(pruning.model_options.path->max_nonzeros, 0);
  EXPECT_EQ(pruning.model_options.distill.epochs, defaults.distill.epochs);
  EXPECT_EQ(pruning.model_options.distill.targets, PruneTargets::kNetwork);
  EXPECT_EQ(pruning.model_options.distill.one_shot.damping, 0);
  EXPECT_EQ(pruning.model_options.distill.one_shot.max_samples, 4096);
}

TEST(ConvertJobTest, FaultsOfAModelsPruningNameTheField) {
  const auto field = [](v1::PruningMethod method,
                        const std::function<void(v1::PruningSpec&)>& damage) {
    v1::CreateJobRequest request = ModelPruningRequest(method);
    damage(*request.mutable_job()->mutable_pruning());
    const auto converted = FromProto(request);
    EXPECT_EQ(converted.status().code(), absl::StatusCode::kInvalidArgument);
    return store::FieldOf(converted.status()).value_or("none");
  };
  constexpr auto kDistill = v1::PRUNING_METHOD_DISTILL;
  constexpr auto kObs = v1::PRUNING_METHOD_OBS;
  const auto options = [](v1::PruningSpec& spec) { return spec.mutable_model_options(); };
  const std::string prefix = "job.pruning.model_options.";
  EXPECT_EQ(field(kDistill, [](auto& s) { s.set_model("net"); }), "job.pruning.model");
  EXPECT_EQ(field(kDistill, [](auto& s) { s.clear_model(); }), "job.pruning.model");
  EXPECT_EQ(field(kDistill, [](auto& s) { s.clear_model_options(); }), "job.pruning.model_options");
  EXPECT_EQ(field(kDistill, [](auto& s) { s.mutable_options()->set_nonzeros(3); }),
            "job.pruning.options");
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->clear_nonzeros(); }), prefix + "nonzeros");
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_nonzeros(0); }), prefix + "nonzeros");
  for (const double fraction : {0.0, 1.5, std::nan("")}) {
    EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_fraction(fraction); }),
              prefix + "fraction");
    EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_damping(fraction); }),
              prefix + "damping");
  }
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->mutable_path()->set_min_nonzeros(0); }),
            prefix + "path.min_nonzeros");
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_method(v1::PRUNING_METHOD_IMP); }),
            prefix + "method");
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_method(v1::PruningMethod(99)); }),
            prefix + "method");
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_scope(v1::PruneScope(99)); }),
            prefix + "scope");
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_targets(v1::PruneTargets(99)); }),
            prefix + "targets");
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_loss(v1::Loss(99)); }), prefix + "loss");
  // Fields of other methods.
  EXPECT_EQ(field(kDistill, [&](auto& s) { options(s)->set_stages(3); }), prefix + "stages");
  EXPECT_EQ(field(kObs, [&](auto& s) { options(s)->set_epochs(3); }), prefix + "epochs");
  EXPECT_EQ(field(kObs, [&](auto& s) { options(s)->set_targets(v1::PRUNE_TARGETS_LABELS); }),
            prefix + "targets");
  EXPECT_EQ(field(v1::PRUNING_METHOD_ACTIVATION, [&](auto& s) { options(s)->set_damping(0.5); }),
            prefix + "damping");
  EXPECT_EQ(field(v1::PRUNING_METHOD_MAGNITUDE, [&](auto& s) { options(s)->set_max_samples(5); }),
            prefix + "max_samples");
  // A model's method on a network that is trained.
  v1::CreateJobRequest trained = PruningRequest(v1::PRUNE_SCHEDULE_ROUNDS);
  trained.mutable_job()->mutable_pruning()->mutable_options()->set_method(kObs);
  EXPECT_EQ(store::FieldOf(FromProto(trained).status()), "job.pruning.options.method");
}

TEST(ConvertJobTest, AReportOfAModelsPruningIsShown) {
  store::JobRecord record;
  record.spec = store::PruningSpec{.dataset_id = "a", .model_id = "net"};
  record.progress = PruneReport{.iteration = 9, .path_nonzeros = 40};
  const store::PruningFit fit = {.num_samples = 80, .fit = {.loss = 0.5, .accuracy = 0.75}};
  store::ModelPruningReport of_model = {.given_training = fit,
                                        .given_held_out = fit,
                                        .given_nonzeros = 500,
                                        .given_active_neurons = 30};
  of_model.options_used.loss = Loss::kLogistic;
  of_model.path = {{.budget = 20,
                    .nonzeros = 19,
                    .active_neurons = 5,
                    .training = fit,
                    .held_out = fit,
                    .iterations = 30,
                    .elapsed_seconds = 1.5,
                    .knee = true,
                    .model_id = "job-20"}};
  record.report = store::PruningReport{.nonzeros = 19, .model = of_model};
  const v1::Job job = ToProto(record);
  EXPECT_EQ(job.pruning_progress().path_nonzeros(), 40);
  EXPECT_FALSE(job.pruning_report().has_options_used());
  const v1::ModelPruningReport& report = job.pruning_report().model_report();
  EXPECT_EQ(report.options_used().loss(), v1::LOSS_LOGISTIC);
  EXPECT_EQ(report.given_training().accuracy(), 0.75);
  EXPECT_EQ(report.given_held_out().num_samples(), 80);
  EXPECT_EQ(report.given_nonzeros(), 500);
  EXPECT_EQ(report.given_active_neurons(), 30);
  ASSERT_EQ(report.path_size(), 1);
  const v1::PruningPathPoint& point = report.path(0);
  EXPECT_EQ(point.budget(), 20);
  EXPECT_EQ(point.nonzeros(), 19);
  EXPECT_EQ(point.active_neurons(), 5);
  EXPECT_EQ(point.training().loss(), 0.5);
  EXPECT_EQ(point.held_out().loss(), 0.5);
  EXPECT_EQ(point.iterations(), 30);
  EXPECT_EQ(point.elapsed().seconds(), 1);
  EXPECT_TRUE(point.knee());
  EXPECT_EQ(point.model(), "models/job-20");
}

struct BadJob {
  std::string field;
  std::function<void(v1::CreateJobRequest&)> damage;
};

class ConvertBadJobTest : public ::testing::TestWithParam<BadJob> {};

TEST_P(ConvertBadJobTest, NamesTheField) {
  v1::CreateJobRequest request = FullRequest();
  GetParam().damage(request);
  const auto converted = FromProto(request);
  ASSERT_FALSE(converted.ok());
  EXPECT_TRUE(IsInvalidField(ToGrpcStatus(converted.status()), GetParam().field));
}

v1::RecoveryOptions& Options(v1::CreateJobRequest& request) {
  return *request.mutable_job()->mutable_recovery()->mutable_options();
}

v1::PathOptions& Path(v1::CreateJobRequest& request) {
  return *request.mutable_job()->mutable_recovery()->mutable_path();
}

INSTANTIATE_TEST_SUITE_P(
    All, ConvertBadJobTest,
    ::testing::Values(
        BadJob{"job.recovery", [](auto& r) { r.clear_job(); }},
        BadJob{"job.recovery", [](auto& r) { r.mutable_job()->clear_spec(); }},
        BadJob{"job.recovery.options",
               [](auto& r) { r.mutable_job()->mutable_recovery()->clear_options(); }},
        BadJob{"job.recovery.dataset",
               [](auto& r) { r.mutable_job()->mutable_recovery()->clear_dataset(); }},
        BadJob{"job.recovery.dataset",
               [](auto& r) { r.mutable_job()->mutable_recovery()->set_dataset("models/a"); }},
        BadJob{"job.recovery.dataset",
               [](auto& r) { r.mutable_job()->mutable_recovery()->set_dataset("datasets/A b"); }},
        BadJob{"job.recovery.initial_model",
               [](auto& r) { r.mutable_job()->mutable_recovery()->set_initial_model("a"); }},
        BadJob{"job.recovery.held_out_fraction",
               [](auto& r) { r.mutable_job()->mutable_recovery()->set_held_out_fraction(1); }},
        BadJob{"job.recovery.held_out_fraction",
               [](auto& r) {
                 r.mutable_job()->mutable_recovery()->set_held_out_fraction(std::nan(""));
               }},
        BadJob{"job.recovery.options.algorithm",
               [](auto& r) { Options(r).set_algorithm(static_cast<v1::Algorithm>(99)); }},
        BadJob{"job.recovery.options.gate_mode",
               [](auto& r) { Options(r).set_gate_mode(static_cast<v1::GateMode>(-1)); }},
        BadJob{"job.recovery.options.output_signs",
               [](auto& r) { Options(r).set_output_signs(static_cast<v1::OutputSigns>(3)); }},
        BadJob{"job.recovery.options.working_nonzeros",
               [](auto& r) { Options(r).set_working_nonzeros(0); }},
        BadJob{"job.recovery.options.batch_size", [](auto& r) { Options(r).set_batch_size(-5); }},
        BadJob{"job.recovery.path.criterion",
               [](auto& r) { Path(r).set_criterion(static_cast<v1::SelectionCriterion>(9)); }},
        BadJob{"job.recovery.path.search",
               [](auto& r) { Path(r).set_search(static_cast<v1::PathSearch>(9)); }},
        BadJob{"job.recovery.path.validation_fraction",
               [](auto& r) { Path(r).set_validation_fraction(0.2); }},
        BadJob{"job.recovery.path.num_folds", [](auto& r) { Path(r).set_num_folds(5); }},
        BadJob{"job.priority", [](auto& r) { r.mutable_job()->set_priority(101); }},
        BadJob{"job.priority", [](auto& r) { r.mutable_job()->set_priority(-101); }},
        BadJob{"job.time_limit", [](auto& r) { *r.mutable_job()->mutable_time_limit() = {}; }},
        BadJob{"job.time_limit",
               [](auto& r) { r.mutable_job()->mutable_time_limit()->set_seconds(-1); }},
        BadJob{"job.time_limit",
               [](auto& r) { r.mutable_job()->mutable_time_limit()->set_nanos(1'000'000'000); }},
        BadJob{"job.time_limit", [](auto& r) {
                 r.mutable_job()->mutable_time_limit()->set_seconds(
                     std::numeric_limits<int64_t>::max());
               }}));

TEST(FingerprintTest, SeesTheBodyOnly) {
  const v1::CreateJobRequest request = FullRequest();
  v1::CreateJobRequest other_ids = request;
  other_ids.set_job_id("other");
  other_ids.set_request_id("other");
  EXPECT_EQ(Fingerprint(request), Fingerprint(other_ids));
  v1::CreateJobRequest other_body = request;
  other_body.mutable_job()->set_priority(8);
  EXPECT_NE(Fingerprint(request), Fingerprint(other_body));
}

TEST(FingerprintTest, MapOrderDoesNotMatter) {
  v1::CreateJobRequest forward, backward;
  for (int i = 0; i < 60; ++i) {
    (*forward.mutable_job()->mutable_labels())["k" + std::to_string(i)] = "v";
    (*backward.mutable_job()->mutable_labels())["k" + std::to_string(59 - i)] = "v";
  }
  EXPECT_EQ(Fingerprint(forward), Fingerprint(backward));
}

TEST(IdFromNameTest, TakesTheCollectionsNamesOnly) {
  EXPECT_EQ(*IdFromName("jobs/a-1", kJobs, "name"), "a-1");
  for (const std::string name : {"", "jobs", "jobs/", "jobs/A", "jobs/1a", "models/a", "jobs/a/b",
                                 "/jobs/a", "jobs/a ", "jobs/-", "jobs/\xc3\xa9"}) {
    const auto id = IdFromName(name, kJobs, "name");
    ASSERT_FALSE(id.ok()) << name;
    EXPECT_TRUE(IsInvalidField(ToGrpcStatus(id.status()), "name")) << name;
  }
  EXPECT_TRUE(IdFromName("jobs/" + std::string(63, 'a'), kJobs, "name").ok());
  EXPECT_FALSE(IdFromName("jobs/" + std::string(64, 'a'), kJobs, "name").ok());
}

TEST(ListRequestTest, ReadsStateAndLabels) {
  const auto request =
      ListRequestFrom(5, "token", "state = RUNNING AND labels.team = \"a b\"", true);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->page_size, 5);
  EXPECT_EQ(request->page_token, "token");
  EXPECT_EQ(request->state, static_cast<int>(store::JobState::kRunning));
  EXPECT_EQ(request->labels, (store::Labels{{"team", "a b"}}));
  EXPECT_EQ(ListRequestFrom(0, "", "state = JOB_STATE_FAILED", true)->state,
            static_cast<int>(store::JobState::kFailed));
}

TEST(ListRequestTest, RefusesOtherFieldsAndStates) {
  for (const auto& [filter, has_state] :
       {std::pair("state = RUNNING", false), std::pair("state = DONE", true),
        std::pair("state = UNSPECIFIED", true), std::pair("name = a", true),
        std::pair("labels.a.b = c", true), std::pair("state = 2", true), std::pair("(", true)}) {
    const auto request = ListRequestFrom(0, "", filter, has_state);
    ASSERT_FALSE(request.ok()) << filter;
    EXPECT_TRUE(IsInvalidField(ToGrpcStatus(request.status()), "filter")) << filter;
  }
}

TEST(ConvertUploadTest, RefusesFieldsOfOtherFormats) {
  v1::UploadSource source;
  EXPECT_TRUE(
      IsInvalidField(ToGrpcStatus(FromProto(source).status()), "header.dataset.upload.format"));
  source.set_format(v1::FILE_FORMAT_NPY);
  EXPECT_TRUE(FromProto(source).ok());
  source.set_inputs_member("X");
  EXPECT_TRUE(IsInvalidField(ToGrpcStatus(FromProto(source).status()),
                             "header.dataset.upload.inputs_member"));
  source.clear_inputs_member();
  source.add_target_columns("y");
  EXPECT_TRUE(IsInvalidField(ToGrpcStatus(FromProto(source).status()),
                             "header.dataset.upload.target_columns"));
  source.set_format(v1::FILE_FORMAT_CSV);
  EXPECT_TRUE(FromProto(source).ok());
  source.set_scaling(static_cast<v1::ScalingMode>(17));
  EXPECT_TRUE(
      IsInvalidField(ToGrpcStatus(FromProto(source).status()), "header.dataset.upload.scaling"));
}

TEST(ConvertUploadTest, ClassesImplyClassTargets) {
  v1::UploadSource source;
  source.set_format(v1::FILE_FORMAT_IDX);
  source.add_classes("0");
  source.add_classes("1");
  const auto options = FromProto(source);
  ASSERT_TRUE(options.ok());
  EXPECT_TRUE(options->targets_are_classes);
  EXPECT_THAT(options->classes, ::testing::ElementsAre("0", "1"));
}

TEST(ConvertPlantedTest, RoundTripsThroughTheRecord) {
  v1::PlantedSource source;
  source.set_num_samples(10);
  source.set_num_inputs(3);
  source.set_hidden_width(2);
  source.set_nonzeros(4);
  source.set_seed(9);
  source.set_noise_db(0);
  source.set_output_signs(v1::OUTPUT_SIGNS_MIXED);
  source.set_weight_distribution(v1::WEIGHT_DISTRIBUTION_HEAVY_TAILED);
  source.set_input_distribution(v1::INPUT_DISTRIBUTION_BINARY);
  source.set_input_correlation(-0.5);
  source.set_linear_term(true);
  source.set_num_outputs(3);
  source.set_hidden_layers(2);
  const auto options = FromProto(source);
  ASSERT_TRUE(options.ok());
  store::DatasetRecord record;
  record.id = "d";
  record.source = *options;
  const v1::Dataset dataset = ToProto(record);
  EXPECT_EQ(dataset.name(), "datasets/d");
  EXPECT_TRUE(MessageDifferencer::Equals(dataset.planted(), source))
      << dataset.planted().DebugString();
  // Left out means one.
  source.clear_num_outputs();
  source.clear_hidden_layers();
  EXPECT_EQ(FromProto(source)->num_outputs, 1);
  EXPECT_EQ(FromProto(source)->hidden_layers, 1);
  for (int bad : {-1, 5, 100}) {
    source.set_weight_distribution(static_cast<v1::WeightDistribution>(bad));
    EXPECT_FALSE(FromProto(source).ok());
  }
}

TEST(ConvertJobTest, FailedJobsCarryTheirError) {
  store::JobRecord record;
  record.id = "a";
  record.state = store::JobState::kFailed;
  record.error = store::JobError{absl::StatusCode::kDataLoss, "the blob is damaged"};
  const v1::Job job = ToProto(record);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.error().code(), static_cast<int>(grpc::StatusCode::DATA_LOSS));
  EXPECT_THAT(job.error().message(), HasSubstr("damaged"));
}

TEST(ConvertEventTest, StateChangesCarryTheJobAndProgressDoesNot) {
  store::JobEvent change;
  change.number = 4;
  change.event = store::StateChange{store::JobState::kRunning, "started"};
  auto record = std::make_shared<store::JobRecord>();
  record->id = "a";
  change.job = record;
  const v1::JobEvent first = ToProto(change);
  EXPECT_EQ(first.number(), 4);
  EXPECT_EQ(first.state_change().state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(first.state_change().message(), "started");
  EXPECT_EQ(first.job().name(), "jobs/a");

  store::JobEvent progress;
  progress.event =
      IterationReport{.iteration = 3, .relative_residual = 0.5, .elapsed_seconds = 1.25};
  const v1::JobEvent second = ToProto(progress);
  EXPECT_EQ(second.progress().iteration(), 3);
  EXPECT_EQ(second.progress().relative_residual(), 0.5);
  EXPECT_EQ(second.progress().elapsed().seconds(), 1);
  EXPECT_EQ(second.progress().elapsed().nanos(), 250'000'000);
  EXPECT_FALSE(second.has_job());
}

TEST(ConvertEventTest, ImpossibleTimesDoNotOverflow) {
  for (double seconds : {std::nan(""), -1.0, std::numeric_limits<double>::infinity(), 1e300}) {
    store::JobEvent event;
    event.event = IterationReport{.elapsed_seconds = seconds};
    const v1::JobEvent proto = ToProto(event);
    EXPECT_GE(proto.progress().elapsed().seconds(), 0);
    EXPECT_LE(proto.progress().elapsed().seconds(), 1'000'000'000);
  }
}

}  // namespace
}  // namespace thresher::rpc
