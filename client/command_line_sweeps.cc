#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/command_flags.h"
#include "client/command_line.h"
#include "client/picture.h"
#include "client/sweep_text.h"
#include "thresher/v1/job_service.pb.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;

void CheckPath(const std::string& flag, const absl::Status& status) {
  if (!status.ok()) throw CLI::ValidationError(flag, std::string(status.message()));
}

// "20,50,100".
template <typename List>
CLI::Option* AddNumbers(CLI::App* app, const std::string& flag, List* list, const std::string& help,
                        const std::string& type_name) {
  const auto parse = [flag, list](const std::string& text) {
    list->Clear();
    for (const auto& word : absl::StrSplit(text, ',')) {
      typename List::value_type number = 0;
      if (!absl::SimpleAtoi(word, &number)) {
        throw CLI::ValidationError(
            flag, absl::StrCat("\"", text, "\" is no list of numbers such as 20,50,100"));
      }
      list->Add(number);
    }
  };
  return app->add_option_function<std::string>(flag, parse, help)->type_name(type_name);
}

// "0.5,0.1".
CLI::Option* AddFractions(CLI::App* app, const std::string& flag, std::vector<double>* list,
                          const std::string& help) {
  const auto parse = [flag, list](const std::string& text) {
    list->clear();
    for (const auto& word : absl::StrSplit(text, ',')) {
      double number = 0;
      if (!absl::SimpleAtod(word, &number) || !(number > 0 && number <= 1)) {
        throw CLI::ValidationError(
            flag,
            absl::StrCat("\"", text,
                         "\" is no list of fractions above 0 and at most 1, such as 0.5,0.1"));
      }
      list->push_back(number);
    }
  };
  return app->add_option_function<std::string>(flag, parse, help)->type_name("X,X2,...");
}

void AddPictureFlags(CLI::App* app, PictureOptions* options) {
  const auto parse = [options](const std::string& text) {
    if (text != "heatmap" && text != "line" && text != "compare") {
      throw CLI::ValidationError("--kind",
                                 absl::StrCat("\"", text, "\" is none of heatmap, line, compare"));
    }
    options->kind = text == "line"      ? PictureKind::kLine
                    : text == "compare" ? PictureKind::kCompare
                                        : PictureKind::kHeatmap;
  };
  app->add_option_function<std::string>(
         "--kind", parse,
         "Heat map with a panel a method, lines, or lines of error, time and memory side by side")
      ->type_name("heatmap|line|compare");
  const auto add_name = [app](const std::string& flag, std::string* name,
                              const std::vector<std::string>& known, const std::string& help) {
    app->add_option_function<std::string>(
           flag,
           [=](const std::string& text) {
             if (std::find(known.begin(), known.end(), text) == known.end()) {
               throw CLI::ValidationError(
                   flag, absl::StrCat("\"", text, "\" is none of ", absl::StrJoin(known, ", ")));
             }
             *name = text;
           },
           help)
        ->type_name(absl::StrJoin(known, "|"));
  };
  add_name("--x", &options->x, SweepParameters(), "Columns (default nonzeros)");
  add_name("--y", &options->y, SweepParameters(), "Rows of a heat map (default hidden_width)");
  add_name("--value", &options->value, SweepMeasures(),
           "What is drawn (default accuracy for classes, else psnr_db)");
}

void AddTables(CLI::App* app, const std::string& flag, SweepOutputs* outputs) {
  app->add_option_function<std::vector<std::string>>(
         flag,
         [=](const std::vector<std::string>& paths) {
           for (const std::string& path : paths) CheckPath(flag, CheckTablePath(path));
           outputs->tables = paths;
         },
         "Write all rows to a .csv, or the whole job to a .json; may be repeated")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

// The methods that prune a model, by their words.
std::vector<std::pair<std::string, v1::PruningMethod>> WaysToPruneAModel() {
  auto words = EnumWords<v1::PruningMethod>("");
  std::erase_if(words, [](const auto& word) { return word.second == v1::PRUNING_METHOD_IMP; });
  return words;
}

std::string ModelMethodWords(const char* separator) {
  return absl::StrJoin(WaysToPruneAModel(), separator,
                       [](std::string* text, const auto& word) { text->append(word.first); });
}

// A word of --methods: an algorithm of recovery, a way of training and pruning, or of pruning the
// model.
v1::SweepMethod MethodOf(const std::string& word) {
  v1::SweepMethod method;
  method.set_name(word);
  v1::PruningOptions pruning;
  if (word == "imp" || word == "imp-retrained") {
    pruning.set_retrain_after_last_prune(word == "imp-retrained");
    *method.mutable_pruning() = pruning;
    return method;
  }
  if (word == "gradual") {
    pruning.set_schedule(v1::PRUNE_SCHEDULE_GRADUAL);
    pruning.set_saliency(v1::SALIENCY_FISHER);
    *method.mutable_pruning() = pruning;
    return method;
  }
  std::vector<std::string> names = {"imp", "imp-retrained", "gradual"};
  for (const auto& [name, algorithm] : EnumWords<v1::Algorithm>("auto")) {
    if (name == word) {
      method.mutable_recovery()->set_algorithm(algorithm);
      return method;
    }
    names.push_back(name);
  }
  for (const auto& [name, of_model] : WaysToPruneAModel()) {
    if (name == word) {
      method.mutable_model_pruning()->set_method(of_model);
      return method;
    }
    names.push_back(name);
  }
  throw CLI::ValidationError(
      "--methods", absl::StrCat("\"", word, "\" is none of ", absl::StrJoin(names, ", ")));
}

// What compare sets in all its methods that have it.
struct SharedOptions {
  v1::RecoveryOptions recovery;
  v1::PruningOptions pruning;
  v1::ModelPruningOptions model_pruning;  // of every method of a model
  v1::ModelPruningOptions distill;        // beside those
};

// The flags of compare that not all methods use.
struct CompareFlags {
  CLI::Option* model = nullptr;
  CLI::Option* model_format = nullptr;
  CLI::Option* hidden_width = nullptr;
  CLI::Option* nonzeros = nullptr;
  CLI::Option* fractions = nullptr;
  std::vector<CLI::Option*> of_recovery;
  std::vector<CLI::Option*> of_new_networks;  // recovered, or trained and pruned
  std::vector<CLI::Option*> of_training;
};

// Adds the methods and refuses what none of them uses.
void FinishCompare(Parameters* p, const std::string& words, const SharedOptions& shared,
                   const CompareFlags& flags) {
  v1::SweepSpec* spec = p->compare.request.mutable_job()->mutable_sweep();
  bool recovers = false;
  bool trains = false;
  std::string new_network, of_model;  // the first method of each kind
  for (const auto& word : absl::StrSplit(words, ',')) {
    v1::SweepMethod method = MethodOf(std::string(word));
    if (method.has_model_pruning()) {
      if (of_model.empty()) of_model = method.name();
      v1::ModelPruningOptions* options = method.mutable_model_pruning();
      options->MergeFrom(shared.model_pruning);
      if (options->method() == v1::PRUNING_METHOD_DISTILL) {
        trains = true;
        options->MergeFrom(shared.distill);
      }
    } else {
      if (new_network.empty()) new_network = method.name();
      recovers = recovers || method.has_recovery();
      trains = trains || method.has_pruning();
      if (method.has_recovery()) method.mutable_recovery()->MergeFrom(shared.recovery);
      if (method.has_pruning()) method.mutable_pruning()->MergeFrom(shared.pruning);
    }
    *spec->add_methods() = std::move(method);
  }
  const auto wrong = [](const CLI::Option* flag, const std::string& why) {
    throw CLI::ValidationError(flag->get_name(), why);
  };
  const auto refuse = [&](const std::vector<CLI::Option*>& unused, const std::string& why) {
    for (const CLI::Option* flag : unused) {
      if (flag->count() > 0) wrong(flag, why);
    }
  };
  if (flags.model->count() > 0 && p->compare.model.name.empty())
    wrong(flags.model, "names no model");
  if (of_model.empty()) {
    refuse({flags.model, flags.model_format, flags.fractions},
           absl::StrCat("is for a model to prune, which none of --methods does; name one of ",
                        ModelMethodWords(", ")));
  } else if (flags.model->count() == 0) {
    wrong(flags.model, absl::StrCat("is required: which model is ", of_model, " to prune?"));
  }
  if ((flags.nonzeros->count() > 0) == (flags.fractions->count() > 0)) {
    wrong(flags.nonzeros,
          "say the budgets by one of --nonzeros S,S2,... and, for a model, --fractions X,X2,...");
  }
  if (new_network.empty()) {
    refuse({flags.hidden_width},
           "is for networks that are recovered or trained, which none of --methods does; the model "
           "has its own widths");
    refuse(flags.of_new_networks,
           "is for networks that are recovered or trained, which none of --methods does");
  } else if (flags.hidden_width->count() == 0) {
    wrong(flags.hidden_width, "is required for " + new_network);
  }
  if (!of_model.empty() && spec->hidden_widths_size() > 1) {
    wrong(flags.hidden_width,
          absl::StrCat("must be one width beside ", of_model, ", which does not depend on it"));
  }
  if (!recovers) refuse(flags.of_recovery, "is for recoveries, which none of --methods is");
  if (!trains) refuse(flags.of_training, "is for methods that train, which none of --methods does");
}

}  // namespace

CLI::Option* AddPicture(CLI::App* app, const std::string& flag, std::string* picture) {
  return app
      ->add_option_function<std::string>(
          flag,
          [=](const std::string& path) {
            CheckPath(flag, PictureFormatOf(path).status());
            *picture = path;
          },
          "Draw a .png or .svg (needs gnuplot)")
      ->type_name("FILE");
}

void AddSweep(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(
      root, "sweep", "Run a grid of recoveries and prunings, and look at its table and pictures");
  app->require_subcommand(0, 1);
  CLI::Option* file = app->add_option("--file", p->sweep.file,
                                      "The sweep: SweepSpec as JSON, such as figures/figure1.json")
                          ->type_name("FILE");
  AddJobFlags(app, &p->sweep.request);
  app->add_flag("--watch", p->sweep.watch, "Watch it to its end and print its table");
  AddTables(app, "--table", &p->sweep.outputs);
  AddPicture(app, "--picture", &p->sweep.outputs.picture);
  AddPictureFlags(app, &p->sweep.outputs.picture_options);

  CLI::App* table = AddCommand(app, "table", "Print a sweep's table, also while it runs");
  AddName(
      table, "ID", "jobs", [=](auto name) { p->sweep_table.name = name; }, "Which sweep")
      ->required();
  AddTables(table, "--output", &p->sweep_table.outputs);
  CLI::App* plot = AddCommand(app, "plot", "Draw a sweep's table, also while it runs");
  AddName(
      plot, "ID", "jobs", [=](auto name) { p->sweep_plot.name = name; }, "Which sweep")
      ->required();
  AddPicture(plot, "--output", &p->sweep_plot.outputs.picture)->required();
  AddPictureFlags(plot, &p->sweep_plot.outputs.picture_options);

  // CLI11 calls back the inner command first.
  app->callback([=] {
    if (table->parsed()) {
      p->sweep_table.print_table = true;
      p->line.command = p->sweep_table;
    } else if (plot->parsed()) {
      p->line.command = p->sweep_plot;
    } else {
      if (file->count() == 0) {
        throw CLI::ValidationError("--file", "name the file of the sweep, or use table or plot");
      }
      const SweepOutputs& outputs = p->sweep.outputs;
      const bool wants_end = !outputs.tables.empty() || !outputs.picture.empty();
      if (p->sweep.request.validate_only() && (p->sweep.watch || wants_end)) {
        throw CLI::ValidationError("--validate_only", "makes no job to watch or to draw");
      }
      p->sweep.watch = p->sweep.watch || wants_end;
      p->line.command = p->sweep;
    }
  });
}

void AddCompare(CLI::App* root, Parameters* p) {
  CLI::App* app = AddCommand(root, "compare",
                             "Run recoveries and prunings, also of a model (--model), on the same "
                             "samples, split, seeds and "
                             "budgets; print a table");
  v1::SweepSpec* spec = p->compare.request.mutable_job()->mutable_sweep();
  const auto flags = std::make_shared<CompareFlags>();
  AddName(
      app, "--dataset", "datasets", [=](auto name) { spec->set_dataset(name); },
      "Data set to explain; with --model samples of its inputs and outputs")
      ->required();
  flags->model =
      app->add_option("--model", p->compare.model.name,
                      "Prune this network by the methods that prune a model: a file (ONNX, "
                      "safetensors, NPZ, JSON), which is uploaded first, or a model's id")
          ->type_name("FILE|ID");
  flags->model_format = AddEnum<v1::ModelFormat>(
      app, "--model_format", [=](auto v) { p->compare.model.format = v; },
      "Format of the file (default by its name)");
  flags->hidden_width =
      AddNumbers(app, "--hidden_width", spec->mutable_hidden_widths(),
                 "Hidden widths of networks that are recovered or trained; one beside methods that "
                 "prune a model",
                 "M,M2,...");
  flags->nonzeros = AddNumbers(app, "--nonzeros", spec->mutable_nonzeros(),
                               "Budgets of non-zero weights", "S,S2,...");
  flags->fractions = AddFractions(app, "--fractions", &p->compare.fractions,
                                  "Budgets as shares of the model's weights, in (0, 1]");
  AddNumbers(app, "--num_samples", spec->mutable_num_samples(),
             "Sizes of random subsets (default: all samples)", "N,N2,...");
  AddNumbers(app, "--seeds", spec->mutable_seeds(), "Seeds of split and method (default 0)",
             "K,K2,...");
  const auto methods = std::make_shared<std::string>();
  CLI::Option* named =
      app->add_option(
             "--methods", *methods,
             "Algorithms of recovery, and imp (as published), imp-retrained (trained after "
             "the last prune), gradual (by w^2 E[g^2]) (default auto,imp,imp-retrained); of "
             "--model " +
                 ModelMethodWords(", ") + " (with --model the default)")
          ->type_name("A,B,...");
  const auto shared = std::make_shared<SharedOptions>();
  flags->of_recovery.push_back(AddEnum<v1::OutputSigns>(
      app, "--output_signs", [=](auto v) { shared->recovery.set_output_signs(v); },
      "Recoveries: whether all neurons add, or some subtract (default positive)"));
  flags->of_new_networks.push_back(app->add_flag_function(
      "--bias",
      [=](int64_t) {
        shared->recovery.set_bias(true);
        shared->pruning.set_bias(true);
      },
      "Give every neuron of a network that is recovered or trained a constant input"));
  AddEnum<v1::Loss>(
      app, "--loss",
      [=](auto v) {
        shared->recovery.set_loss(v);
        shared->pruning.set_loss(v);
        shared->model_pruning.set_loss(v);
      },
      "What is minimised; of the algorithms of recovery auto, winnow, count_sketch and sequential "
      "take another than squared (default: each method's own for the data set)");
  flags->of_new_networks.push_back(AddValue<int64_t>(
      app, "--hidden_layers", [=](auto n) { spec->set_hidden_layers(n); },
      "Hidden layers, M neurons each (default 1)", "L"));
  flags->of_training.push_back(AddValue<int64_t>(
      app, "--epochs",
      [=](auto n) {
        shared->pruning.set_epochs(n);
        shared->distill.set_epochs(n);
      },
      "Prunings that train: passes over the samples of a round, or of the gradual training "
      "(default 50; distill 30)",
      "N"));
  flags->of_training.push_back(AddValue<int64_t>(
      app, "--batch_size",
      [=](auto n) {
        shared->pruning.set_batch_size(n);
        shared->distill.set_batch_size(n);
      },
      "Prunings that train: samples that a step looks at (default 5000; distill 128)", "N"));
  AddHeldOutFlags(app, spec, "table");
  AddDuration(
      app, "--cell_time_limit",
      [=](milliseconds limit) {
        spec->mutable_cell_time_limit()->set_seconds(limit.count() / 1000);
        spec->mutable_cell_time_limit()->set_nanos(limit.count() % 1000 * 1000000);
      },
      "Longest solving time of one method at one budget");
  AddJobFlags(app, &p->compare.request);
  AddTables(app, "--table", &p->compare.outputs);
  AddPicture(app, "--picture", &p->compare.outputs.picture);
  app->callback([=] {
    const std::string defaults =
        flags->model->count() > 0 ? ModelMethodWords(",") : "auto,imp,imp-retrained";
    FinishCompare(p, named->count() > 0 ? *methods : defaults, *shared, *flags);
    p->compare.watch = !p->compare.request.validate_only();
    p->compare.outputs.picture_options.kind = PictureKind::kCompare;
    p->line.command = p->compare;
  });
}

}  // namespace thresher::client
