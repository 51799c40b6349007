#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/command_flags.h"
#include "client/command_line.h"
#include "thresher/v1/job_service.pb.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;
// Else the overload below would hide the shared one.
using client::AddJobFlags;

// The flags of samples that choose among a job's networks.
struct ValidationFlags {
  std::shared_ptr<std::optional<double>> fraction = std::make_shared<std::optional<double>>();
  CLI::Option* dataset = nullptr;
  CLI::Option* patience = nullptr;
  std::vector<CLI::Option*> all;
};

ValidationFlags AddValidationFlags(CLI::App* app, v1::Validation* validation,
                                   const std::string& fraction_help) {
  ValidationFlags flags;
  CLI::Option* fraction = AddValue<double>(
      app, "--validation_fraction", [kept = flags.fraction](auto x) { *kept = x; }, fraction_help,
      "X");
  flags.dataset = AddName(
      app, "--validation_dataset", "datasets",
      [=](auto name) { validation->set_dataset(std::move(name)); },
      "Choose by the samples of this data set instead");
  flags.dataset->excludes(fraction);
  flags.patience = AddValue<int64_t>(
      app, "--patience", [=](auto n) { validation->set_patience(n); },
      "End after so many networks in a row that were no better for the validation samples; 0: "
      "never (default)",
      "N");
  flags.all = {fraction, flags.dataset, flags.patience};
  return flags;
}

// What was given reaches the specification; nothing where nothing was.
template <typename Spec>
void FinishValidation(const ValidationFlags& flags, const v1::Validation& validation, Spec* spec) {
  if (std::all_of(flags.all.begin(), flags.all.end(),
                  [](const CLI::Option* option) { return option->count() == 0; })) {
    return;
  }
  *spec->mutable_validation() = validation;
  if (*flags.fraction) spec->mutable_validation()->set_fraction(**flags.fraction);
}

// The flags that choose the budget from a range, instead of --nonzeros.
struct PathFlags {
  CLI::Option* min_nonzeros;
  CLI::Option* max_nonzeros;
  std::vector<CLI::Option*> others;
};

PathFlags AddPathFlags(CLI::App* app, v1::RecoverySpec* spec) {
  PathFlags flags;
  flags.min_nonzeros = AddValue<int64_t>(
      app, "--min_nonzeros", [=](auto s) { spec->mutable_path()->set_min_nonzeros(s); },
      "Choose the budget from A to B by a path of networks, instead of --nonzeros", "A");
  flags.max_nonzeros = AddValue<int64_t>(
      app, "--max_nonzeros", [=](auto s) { spec->mutable_path()->set_max_nonzeros(s); },
      "Largest budget of the path", "B");
  flags.others.push_back(AddEnum<v1::SelectionCriterion>(
      app, "--criterion", [=](auto v) { spec->mutable_path()->set_criterion(v); },
      "How the path's budgets are judged (default information)"));
  flags.others.push_back(AddEnum<v1::PathSearch>(
      app, "--search", [=](auto v) { spec->mutable_path()->set_search(v); },
      "Which budgets the path visits first (default grid)"));
  flags.others.push_back(AddValue<int64_t>(
      app, "--num_folds", [=](auto n) { spec->mutable_path()->set_num_folds(n); },
      "Folds of --criterion k_fold, 2 to 20 (default 5)", "K"));
  flags.others.push_back(AddValue<int64_t>(
      app, "--max_points", [=](auto n) { spec->mutable_path()->set_max_points(n); },
      "Budgets that the path visits at most (default 60)", "N"));
  return flags;
}

// One budget, or a range of them.
void CheckBudget(const CLI::Option& nonzeros, const PathFlags& path) {
  const bool has_min = path.min_nonzeros->count() > 0;
  const bool has_max = path.max_nonzeros->count() > 0;
  if (nonzeros.count() > 0 && (has_min || has_max)) {
    throw CLI::ValidationError("--nonzeros",
                               "gives the budget that --min_nonzeros and --max_nonzeros let the "
                               "path choose; give one or the other");
  }
  if (has_min != has_max) {
    throw CLI::ValidationError(has_min ? "--max_nonzeros" : "--min_nonzeros",
                               "--min_nonzeros and --max_nonzeros go together");
  }
  if (nonzeros.count() == 0 && !has_min) {
    throw CLI::ValidationError("--nonzeros",
                               "say how many weights, or --min_nonzeros A --max_nonzeros B to "
                               "let a path choose");
  }
  if (has_min) return;
  for (const CLI::Option* option : path.others) {
    if (option->count() > 0) {
      throw CLI::ValidationError(option->get_name(),
                                 "is for a path: give --min_nonzeros A --max_nonzeros B as well");
    }
  }
}

void AddJobFlags(CLI::App* app, CreateJobCommand* command) {
  AddJobFlags(app, &command->request);
  app->add_flag("--watch", command->watch, "Watch the job to its end");
}

void CheckWatch(const CreateJobCommand& command) {
  if (command.watch && command.request.validate_only()) {
    throw CLI::ValidationError("--watch", "--validate_only makes no job to watch");
  }
}

// "50" or "300,100": a width a hidden layer.
CLI::Option* AddHiddenWidths(CLI::App* app, v1::PruningOptions* options) {
  const auto parse = [options](const std::string& text) {
    for (const auto& word : absl::StrSplit(text, ',')) {
      int64_t width = 0;
      if (!absl::SimpleAtoi(word, &width)) {
        throw CLI::ValidationError(
            "--hidden_widths", absl::StrCat("\"", text, "\" is no list of widths such as 300,100"));
      }
      options->add_hidden_widths(width);
    }
  };
  return app
      ->add_option_function<std::string>("--hidden_widths", parse,
                                         "Width of each hidden layer of the dense network to train")
      ->type_name("M,M2,...");
}

// The flags of a pruning that only one of its two kinds has.
struct PruneFlags {
  CLI::Option* model = nullptr;
  CLI::Option* hidden_widths = nullptr;
  CLI::Option* nonzeros = nullptr;
  CLI::Option* fraction = nullptr;
  std::vector<CLI::Option*> path;
  std::vector<CLI::Option*> of_training;  // of a dense network
  std::vector<CLI::Option*> of_model;
};

// Flags that a dense network and a model share reach both messages; FinishPrune drops one.
void AddSharedPruneFlags(CLI::App* app, v1::PruningSpec* spec, PruneFlags* flags) {
  v1::PruningOptions* options = spec->mutable_options();
  v1::ModelPruningOptions* of_model = spec->mutable_model_options();
  AddName(
      app, "--dataset", "datasets", [=](auto name) { spec->set_dataset(name); },
      "Data set to learn, with any number of outputs; with --model samples of its inputs and "
      "outputs")
      ->required();
  flags->nonzeros = AddValue<int64_t>(
      app, "--nonzeros",
      [=](auto s) {
        options->set_nonzeros(s);
        of_model->set_nonzeros(s);
      },
      "Budget of non-zero weights over all layers, biases and output weights included", "S");
  AddEnum<v1::PruningMethod>(
      app, "--method",
      [=](auto v) {
        options->set_method(v);
        of_model->set_method(v);
      },
      "imp, iterative magnitude pruning, for a network that is trained (default); for --model one "
      "shot by magnitude, activation, obs (layer by layer) or curvature (all layers), or distill, "
      "which trains on the model's own outputs (default)");
  AddEnum<v1::Loss>(
      app, "--loss",
      [=](auto v) {
        options->set_loss(v);
        of_model->set_loss(v);
      },
      "What is minimised: squared, cross_entropy for three and more classes, logistic for two "
      "(default: cross_entropy for three and more classes, else squared; with --model that of the "
      "model, or cross_entropy for classes)");
  AddValue<int64_t>(
      app, "--epochs",
      [=](auto n) {
        options->set_epochs(n);
        of_model->set_epochs(n);
      },
      "Passes over the samples, of each round or of the whole gradual training (default 50); with "
      "--model of each budget (default 30)",
      "N");
  AddValue<int64_t>(
      app, "--batch_size",
      [=](auto n) {
        options->set_batch_size(n);
        of_model->set_batch_size(n);
      },
      "Samples that a step looks at; 0: all (default 5000; with --model 128)", "N");
  AddValue<double>(
      app, "--learning_rate",
      [=](auto x) {
        options->set_learning_rate(x);
        of_model->set_learning_rate(x);
      },
      "Of Adam (default 0.001; with --model 0.002)", "X");
  AddValue<double>(
      app, "--learning_rate_decay",
      [=](auto x) {
        options->set_learning_rate_decay(x);
        of_model->set_learning_rate_decay(x);
      },
      "Last share of the epochs over which the learning rate falls to 0, in [0, 1] (default 0; "
      "with --model 0.5)",
      "X");
  AddValue<double>(
      app, "--schedule_power",
      [=](auto x) {
        options->set_schedule_power(x);
        of_model->set_schedule_power(x);
      },
      "gradual and --model: power of the fall, 1 to 10 (default 3)", "X");
  AddValue<double>(
      app, "--prune_end",
      [=](auto x) {
        options->set_prune_end(x);
        of_model->set_prune_end(x);
      },
      "gradual and --model: share of the epochs after which pruning ends (default 0.75; with "
      "--model 0.6)",
      "X");
  AddValue<uint64_t>(
      app, "--seed",
      [=](auto seed) {
        options->set_seed(seed);
        of_model->set_seed(seed);
      },
      "Seed of the initial weights and the orders; equal seeds give equal bits", "K");
  AddHeldOutFlags(app, spec, "report");
  AddValue<uint64_t>(
      app, "--split_seed", [=](auto seed) { spec->set_split_seed(seed); },
      "Seed of the choice of held-out and validation samples", "K");
}

// Of a dense network that is trained.
void AddTrainingFlags(CLI::App* app, v1::PruningOptions* options, PruneFlags* flags) {
  std::vector<CLI::Option*>& added = flags->of_training;
  flags->hidden_widths = AddHiddenWidths(app, options);
  added.push_back(flags->hidden_widths);
  added.push_back(app->add_flag_function(
      "--bias", [=](int64_t) { options->set_bias(true); }, "Give every layer a constant input"));
  added.push_back(AddEnum<v1::PruneSchedule>(
      app, "--schedule", [=](auto v) { options->set_schedule(v); },
      "Rounds of training, pruning and rewinding, or gradually in one training (default rounds)"));
  added.push_back(AddEnum<v1::Saliency>(
      app, "--saliency", [=](auto v) { options->set_saliency(v); },
      "By what a weight w is kept: |w|, or w^2 E[g^2] (default magnitude)"));
  added.push_back(AddValue<double>(
      app, "--prune_fraction", [=](auto x) { options->set_prune_fraction(x); },
      "rounds: share of the remaining weights that a round prunes (default 0.1)", "X"));
  added.push_back(AddValue<int64_t>(
      app, "--rewind_epoch", [=](auto n) { options->set_rewind_epoch(n); },
      "rounds: return to the weights after so many epochs of the first (default 0)", "N"));
  added.push_back(app->add_flag_function(
      "--retrain_after_last_prune", [=](int64_t) { options->set_retrain_after_last_prune(true); },
      "rounds: train once more at the end"));
}

// "2:4": at most 2 of 4.
void SetPattern(const std::string& text, v1::ModelPruningOptions* options) {
  const std::vector<std::string> sizes = absl::StrSplit(text, ':');
  int64_t kept = 0;
  int64_t size = 0;
  if (sizes.size() != 2 || !absl::SimpleAtoi(sizes[0], &kept) ||
      !absl::SimpleAtoi(sizes[1], &size)) {
    throw CLI::ValidationError("--pattern",
                               absl::StrCat("\"", text, "\" is no pattern such as 2:4"));
  }
  options->set_pattern_kept(kept);
  options->set_pattern_size(size);
}

// Of a model that there is.
void AddModelPruneFlags(CLI::App* app, Parameters* p, v1::ModelPruningOptions* options,
                        PruneFlags* flags) {
  std::vector<CLI::Option*>& added = flags->of_model;
  flags->model =
      app->add_option("--model", p->prune.model.name,
                      "Prune this network instead of training one: a file (ONNX, "
                      "safetensors, NPZ, JSON), which is uploaded first, or a model's id")
          ->type_name("FILE|ID");
  added.push_back(AddEnum<v1::ModelFormat>(
      app, "--model_format", [p](auto v) { p->prune.model.format = v; },
      "Format of the file (default by its name)"));
  flags->fraction = AddValue<double>(
      app, "--fraction", [=](auto x) { options->set_fraction(x); },
      "Budget as a share of the model's weights, in (0, 1]", "X");
  flags->path = {
      app->add_flag_function(
          "--path", [=](int64_t) { options->mutable_path(); },
          "Many budgets from dense to sparse, each a model, the knee marked"),
      AddValue<int64_t>(
          app, "--min_nonzeros", [=](auto s) { options->mutable_path()->set_min_nonzeros(s); },
          "Smallest budget of the path (default a hundredth of the weights)", "A"),
      AddValue<int64_t>(
          app, "--max_nonzeros", [=](auto s) { options->mutable_path()->set_max_nonzeros(s); },
          "Largest budget of the path (default half of the weights)", "B"),
      AddValue<int64_t>(
          app, "--num_points", [=](auto n) { options->mutable_path()->set_num_points(n); },
          "Budgets of the path, 2 to 100 (default 8)", "N")};
  added.push_back(flags->fraction);
  added.insert(added.end(), flags->path.begin(), flags->path.end());
  added.push_back(AddEnum<v1::PruneTargets>(
      app, "--targets", [=](auto v) { options->set_targets(v); },
      "distill: what is trained on, the model's own outputs or the data set's labels (default "
      "network)"));
  added.push_back(AddEnum<v1::PruneScope>(
      app, "--scope", [=](auto v) { options->set_scope(v); },
      "Whether weights of all layers compete, or each layer keeps the same share (default "
      "global)"));
  added.push_back(app->add_option_function<std::string>(
                         "--pattern", [=](const std::string& text) { SetPattern(text, options); },
                         "n:m sparsity: of each M inputs in a row at most N have a weight")
                      ->type_name("N:M"));
  added.push_back(app->add_flag_function(
      "--whole_neurons", [=](int64_t) { options->set_whole_neurons(true); },
      "Drop hidden neurons as a whole"));
  added.push_back(AddValue<double>(
      app, "--damping", [=](auto x) { options->set_damping(x); },
      "obs, curvature, distill: ridge relative to the mean of the diagonal, in (0, 1] (default "
      "0.001; curvature 0.1)",
      "X"));
  added.push_back(AddValue<int64_t>(
      app, "--max_samples", [=](auto n) { options->set_max_samples(n); },
      "Samples that one shot looks at (default 4096; curvature at most 2048)", "N"));
  added.push_back(AddValue<int64_t>(
      app, "--stages", [=](auto n) { options->set_stages(n); },
      "curvature: stages in which weights go (default 12)", "N"));
  added.push_back(AddValue<double>(
      app, "--start_factor", [=](auto x) { options->set_start_factor(x); },
      "distill: train from so many times the budget's weights (default 8)", "X"));
}

// Keeps the message of the kind that was asked for.
void FinishPrune(Parameters* p, const PruneFlags& flags) {
  v1::PruningSpec* spec = p->prune.request.mutable_job()->mutable_pruning();
  const bool has_path = std::any_of(flags.path.begin(), flags.path.end(),
                                    [](const CLI::Option* flag) { return flag->count() > 0; });
  if (flags.model->count() == 0) {
    for (const CLI::Option* flag : flags.of_model) {
      if (flag->count() == 0) continue;
      throw CLI::ValidationError(flag->get_name(), "is for a model: give --model as well");
    }
    for (const CLI::Option* flag : {flags.hidden_widths, flags.nonzeros}) {
      if (flag->count() > 0) continue;
      throw CLI::ValidationError(
          flag->get_name(),
          "is required: say --hidden_widths M,M2,... --nonzeros S for a network "
          "to train, or --model for one to prune");
    }
    spec->clear_model_options();
    return;
  }
  if (p->prune.model.name.empty()) throw CLI::ValidationError("--model", "names no model");
  for (const CLI::Option* flag : flags.of_training) {
    if (flag->count() == 0) continue;
    throw CLI::ValidationError(flag->get_name(),
                               "is for a network that is trained; leave it out with --model");
  }
  if ((flags.nonzeros->count() > 0) + (flags.fraction->count() > 0) + has_path != 1) {
    throw CLI::ValidationError("--nonzeros",
                               "say how many weights may stay, one of --nonzeros S, --fraction X "
                               "and --path");
  }
  spec->clear_options();
}

}  // namespace

void AddJobFlags(CLI::App* app, v1::CreateJobRequest* request) {
  v1::Job* job = request->mutable_job();
  AddDuration(
      app, "--time_limit",
      [=](milliseconds limit) {
        job->mutable_time_limit()->set_seconds(limit.count() / 1000);
        job->mutable_time_limit()->set_nanos(limit.count() % 1000 * 1000000);
      },
      "End with the best network found after this time, as 90s, 10m, 1h30m");
  AddValue<int32_t>(
      app, "--priority", [=](auto n) { job->set_priority(n); },
      "-100 to 100; higher runs first (default 0)", "P");
  AddLabels(app, job->mutable_labels());
  AddValue<std::string>(
      app, "--id", [=](auto id) { request->set_job_id(id); },
      "Name of the new job; made by the server when left out", "ID");
  AddValue<std::string>(
      app, "--request_id", [=](auto id) { request->set_request_id(id); },
      "Repeating a call with the same id is safe", "R");
  app->add_flag_function(
      "--validate_only", [=](int64_t) { request->set_validate_only(true); },
      "Check it and predict memory and cost; queue nothing");
}

void AddRecover(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(root, "recover", "Find a sparse network that explains a data set");
  v1::RecoverySpec* spec = p->recover.request.mutable_job()->mutable_recovery();
  v1::RecoveryOptions* options = spec->mutable_options();
  AddName(
      app, "--dataset", "datasets", [=](auto name) { spec->set_dataset(name); },
      "Data set to explain")
      ->required();
  AddValue<int64_t>(
      app, "--hidden_width", [=](auto m) { options->set_hidden_width(m); },
      "Hidden neurons m, or gates", "M")
      ->required();
  CLI::Option* nonzeros = AddValue<int64_t>(
      app, "--nonzeros", [=](auto s) { options->set_nonzeros(s); }, "Budget of non-zero weights",
      "S");
  const PathFlags path = AddPathFlags(app, spec);
  AddEnum<v1::Algorithm>(
      app, "--algorithm", [=](auto v) { options->set_algorithm(v); },
      "Which algorithm iterates (default auto: the server chooses)", "auto");
  AddEnum<v1::GateMode>(
      app, "--gates", [=](auto v) { options->set_gate_mode(v); },
      "Gates that follow the weights, giving a ReLU network, fixed random gates, giving a gated "
      "one, or all gates of neurons with one or two weights (default sequential)");
  AddValue<int64_t>(
      app, "--max_iterations", [=](auto n) { options->set_max_iterations(n); }, "Most steps", "N");
  AddValue<uint64_t>(
      app, "--seed", [=](auto seed) { options->set_seed(seed); },
      "Seed of start gates and mini-batches; equal seeds give equal bits", "K");
  AddValue<int64_t>(
      app, "--working_nonzeros", [=](auto n) { options->set_working_nonzeros(n); },
      "Non-zeros while iterating, at least S (default S; reciprocal and enumerated gates 2 S, "
      "winnow 5 S)",
      "N");
  AddEnum<v1::OutputSigns>(
      app, "--output_signs", [=](auto v) { options->set_output_signs(v); },
      "Whether all neurons add, or some subtract (default: mixed where a target lies below 0 or "
      "with "
      "--linear_term, else positive)");
  app->add_flag_function(
      "--bias", [=](int64_t) { options->set_bias(true); }, "Give every neuron a constant input");
  AddEnum<v1::LinearTerm>(
      app, "--linear_term", [=](auto v) { options->set_linear_term(v); },
      "Fit a linear term beside the neurons: dense, not counted in --nonzeros, or sparse, its "
      "entries counted as weights are, which suits tables; with --bias it has an intercept, never "
      "counted; --algorithm winnow only (default none)",
      "none");
  AddValue<int64_t>(
      app, "--hidden_layers", [=](auto n) { options->set_hidden_layers(n); },
      "Hidden layers, M neurons each; S then counts the weights of all layers (default 1)", "L");
  AddEnum<v1::Loss>(
      app, "--loss", [=](auto v) { options->set_loss(v); },
      "What is minimised: squared, cross_entropy for three and more classes, logistic for two "
      "(default: for data sets of classes theirs where the algorithm has it, else squared)");
  AddValue<double>(
      app, "--step_size", [=](auto x) { options->set_step_size(x); },
      "Fixed step size of --algorithm iht and reciprocal (default: estimated), and count_sketch "
      "(default: as published)",
      "X");
  AddValue<int64_t>(
      app, "--batch_size", [=](auto n) { options->set_batch_size(n); },
      "Samples that a step looks at (default all; svrg a sixteenth)", "N");
  AddValue<double>(
      app, "--relative_residual_tolerance",
      [=](auto x) { options->set_relative_residual_tolerance(x); },
      "End when ||f(X) - y|| <= X ||y||; 0: never", "X");
  AddValue<int64_t>(
      app, "--stagnation_iterations", [=](auto n) { options->set_stagnation_iterations(n); },
      "End after so many steps without progress; 0: never", "N");
  AddHeldOutFlags(app, spec, "report");
  AddValue<uint64_t>(
      app, "--split_seed", [=](auto seed) { spec->set_split_seed(seed); },
      "Seed of the choice of held-out and validation samples", "K");
  auto validation = std::make_shared<v1::Validation>();
  const ValidationFlags validation_flags = AddValidationFlags(
      app, validation.get(),
      "Keep the network that is best for this share of the other samples, which are not learned "
      "from (default 0.2 where --patience is given); of a path: what --criterion held_out judges "
      "by");
  AddName(
      app, "--initial_model", "models", [=](auto name) { spec->set_initial_model(name); },
      "Start from this model");
  AddJobFlags(app, &p->recover);
  app->callback([=] {
    CheckBudget(*nonzeros, path);
    const bool has_path = path.min_nonzeros->count() > 0;
    if (!has_path) FinishValidation(validation_flags, *validation, spec);
    if (has_path && *validation_flags.fraction) {
      spec->mutable_path()->set_validation_fraction(**validation_flags.fraction);
    }
    for (const CLI::Option* flag : {validation_flags.dataset, validation_flags.patience}) {
      if (!has_path || flag->count() == 0) continue;
      throw CLI::ValidationError(flag->get_name(),
                                 "is for one budget: a path judges its budgets by --criterion");
    }
    CheckWatch(p->recover);
    p->line.command = p->recover;
  });
}

void AddPrune(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(root, "prune",
                             "Prune a network to a budget of weights: a model or a file of another "
                             "tool (--model), or a dense one that is trained (--hidden_widths)");
  v1::PruningSpec* spec = p->prune.request.mutable_job()->mutable_pruning();
  const auto flags = std::make_shared<PruneFlags>();
  AddSharedPruneFlags(app, spec, flags.get());
  AddModelPruneFlags(app, p, spec->mutable_model_options(), flags.get());
  AddTrainingFlags(app, spec->mutable_options(), flags.get());
  const auto validation = std::make_shared<v1::Validation>();
  const ValidationFlags validation_flags =
      AddValidationFlags(app, validation.get(),
                         "Keep the network within the budget that is best for this share of the "
                         "other samples, which are not learned from: with --schedule gradual or "
                         "--retrain_after_last_prune (default 0.2 where --patience is given)");
  flags->of_training.insert(flags->of_training.end(), validation_flags.all.begin(),
                            validation_flags.all.end());
  AddJobFlags(app, &p->prune);
  app->callback([=] {
    FinishPrune(p, *flags);
    FinishValidation(validation_flags, *validation, spec);
    CheckWatch(p->prune);
    p->line.command = p->prune;
  });
}

void AddJobCommands(CLI::App* root, Parameters* p) {
  CLI::App* jobs = AddCommand(root, "jobs", "Look at jobs, watch and cancel them");
  jobs->require_subcommand(1);
  AddStandardCommands(jobs, p, Collection::kJobs, "jobs", "job");
  CLI::App* watch = AddCommand(jobs, "watch",
                               "Watch a job to its end; exit code 4 or 5 when it "
                               "failed or was cancelled");
  AddName(
      watch, "ID", "jobs", [=](auto name) { p->watch.name = name; }, "Which one")
      ->required();
  AddValue<uint64_t>(
      watch, "--after", [=](auto number) { p->watch.after_event_number = AsSigned(number); },
      "Only events after this number (default 0: all that are kept)", "N");
  watch->callback([p] { p->line.command = p->watch; });
  CLI::App* plot = AddCommand(jobs, "plot", "Draw the convergence of a job, once it has ended");
  AddName(
      plot, "ID", "jobs", [=](auto name) { p->plot.name = name; }, "Which one")
      ->required();
  AddPicture(plot, "--output", &p->plot.picture)->required();
  plot->callback([p] { p->line.command = p->plot; });
  CLI::App* cancel =
      AddCommand(jobs, "cancel", "Cancel a queued or running job; its best network so far is kept");
  AddName(
      cancel, "ID", "jobs", [=](auto name) { p->cancel.name = name; }, "Which one")
      ->required();
  cancel->callback([p] { p->line.command = p->cancel; });
}

}  // namespace thresher::client
