#include "server/jobs/sweep_grid.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/network/network.h"
#include "server/store/error_details.h"

namespace thresher::jobs {

using store::InvalidField;

namespace {

constexpr size_t kMaxNameBytes = 63;
constexpr double kMaxCellTimeLimitSeconds = 1e9;

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && absl::ascii_isalnum(name[0]) &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) || std::string_view(" ._+-").find(c) != std::string::npos;
         });
}

template <typename Number>
absl::Status CheckList(const std::vector<Number>& list, Number smallest, bool required,
                       const std::string& field) {
  if (required && list.empty()) return InvalidField(field, "needs at least one number");
  if (list.size() > static_cast<size_t>(kMaxSweepCells)) {
    return InvalidField(field, absl::StrCat("has ", list.size(), " numbers, a sweep has at most ",
                                            kMaxSweepCells, " cells"));
  }
  std::set<Number> seen;
  for (const Number number : list) {
    if (number < smallest) {
      return InvalidField(field, absl::StrCat("holds ", number, ", must be at least ", smallest));
    }
    if (!seen.insert(number).second) {
      return InvalidField(field, absl::StrCat("holds ", number, " twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckMethods(const SweepSpec& spec) {
  if (spec.methods.empty()) return InvalidField("sweep.methods", "needs at least one method");
  std::set<std::string_view> names;
  for (size_t i = 0; i < spec.methods.size(); ++i) {
    const SweepMethod& method = spec.methods[i];
    const std::string field = absl::StrCat("sweep.methods[", i, "].");
    if (!IsName(method.name)) {
      return InvalidField(field + "name",
                          "must be 1 to 63 letters, digits, spaces and ._+-, the first one a "
                          "letter or a digit");
    }
    if (!names.insert(method.name).second) {
      return InvalidField(field + "name", "is the name of an earlier method as well");
    }
    if (const auto* recovery = std::get_if<RecoveryOptions>(&method.options)) {
      if (recovery->hidden_width != 0 || recovery->hidden_layers != 1 || recovery->nonzeros != 0 ||
          recovery->seed != 0) {
        return InvalidField(
            field + "recovery",
            "hidden_width, hidden_layers, nonzeros and seed are the cell's; leave them unset");
      }
    } else if (const auto* pruning = std::get_if<PruneOptions>(&method.options)) {
      if (!pruning->hidden_widths.empty() || pruning->nonzeros != 0 || pruning->seed != 0) {
        return InvalidField(field + "pruning",
                            "hidden_widths, nonzeros and seed are the cell's; leave them unset");
      }
    } else {
      const auto& of_model = std::get<store::ModelPruningOptions>(method.options);
      const OneShotOptions& one_shot = of_model.distill.one_shot;
      if (one_shot.nonzeros != 0 || of_model.fraction || of_model.path || one_shot.seed != 0) {
        return InvalidField(
            field + "model_pruning",
            "nonzeros, fraction, path and seed are the cell's; leave them unset and say the "
            "budgets by sweep.nonzeros");
      }
    }
  }
  return absl::OkStatus();
}

// A model, and widths, where methods use them and nowhere else.
absl::Status CheckModelAndWidths(const SweepSpec& spec) {
  const auto with_width = std::count_if(spec.methods.begin(), spec.methods.end(), HasHiddenWidth);
  const auto pruned = std::find_if_not(spec.methods.begin(), spec.methods.end(), HasHiddenWidth);
  if (pruned == spec.methods.end()) {
    if (spec.model_id.empty()) return absl::OkStatus();
    return InvalidField("sweep.model",
                        "is pruned by no method; add one of model_pruning, or leave it unset");
  }
  if (spec.model_id.empty()) {
    return InvalidField("sweep.model", absl::StrCat("is required: which model does the method \"",
                                                    pruned->name, "\" prune?"));
  }
  if (spec.planted) {
    return InvalidField("sweep.model",
                        "is pruned on a data set of its inputs and outputs; give sweep.dataset "
                        "instead of sweep.planted");
  }
  if (with_width > 0) {
    if (spec.hidden_widths.size() <= 1) return absl::OkStatus();
    return InvalidField("sweep.hidden_widths",
                        "must be one beside methods of model_pruning, which do not depend on it; "
                        "make a sweep without these methods for more");
  }
  if (!spec.hidden_widths.empty()) {
    return InvalidField("sweep.hidden_widths",
                        "are of methods of recovery and pruning; leave them unset, the model has "
                        "its own");
  }
  if (spec.hidden_layers > 1) {
    return InvalidField("sweep.hidden_layers",
                        "are of methods of recovery and pruning; leave them unset, the model has "
                        "its own");
  }
  return absl::OkStatus();
}

absl::Status CheckPlanted(const SweepSpec& spec) {
  const PlantedOptions& planted = *spec.planted;
  if (planted.hidden_width != 0 || planted.nonzeros != 0 || planted.seed != 0) {
    return InvalidField(
        "sweep.planted",
        "hidden_width, hidden_layers, nonzeros and seed are the cell's; leave them unset");
  }
  if (spec.num_samples.empty() == (planted.num_samples == 0)) {
    return InvalidField("sweep.planted.num_samples",
                        "give it, or the list sweep.num_samples, and not both");
  }
  // Some cells may ask for more weights than fit; they fail alone. All of them is a mistake.
  absl::Status first_error;
  SweepCell cell = CellAt(spec, 0);
  for (const int64_t width : spec.hidden_widths) {
    for (const int64_t nonzeros : spec.nonzeros) {
      cell.hidden_width = width;
      cell.nonzeros = nonzeros;
      absl::Status status = PlantedBytes(PlantedOf(spec, cell)).status();
      if (status.ok()) return status;
      first_error.Update(status);
    }
  }
  return store::NameField(first_error, "sweep.planted.");
}

}  // namespace

bool HasHiddenWidth(const SweepMethod& method) {
  return !std::holds_alternative<store::ModelPruningOptions>(method.options);
}

absl::Status ValidateSweep(const SweepSpec& spec) {
  const bool needs_width = std::any_of(spec.methods.begin(), spec.methods.end(), HasHiddenWidth);
  absl::Status status =
      CheckList<int64_t>(spec.hidden_widths, 1, needs_width, "sweep.hidden_widths");
  status.Update(CheckList<int64_t>(spec.nonzeros, 1, /*required=*/true, "sweep.nonzeros"));
  status.Update(CheckList<int64_t>(spec.num_samples, 1, /*required=*/false, "sweep.num_samples"));
  status.Update(CheckList<uint64_t>(spec.seeds, 0, /*required=*/false, "sweep.seeds"));
  if (!status.ok()) return status;
  if (spec.hidden_layers < 1 || spec.hidden_layers > kMaxHiddenLayers) {
    return InvalidField("sweep.hidden_layers", absl::StrCat("must be 1 to ", kMaxHiddenLayers));
  }
  status = CheckMethods(spec);
  if (status.ok()) status = CheckModelAndWidths(spec);
  if (!status.ok()) return status;
  // Each factor is at most 10^4, so that the product of three fits.
  int64_t cells = 1;
  for (const size_t count : {spec.num_samples.size(), spec.seeds.size(), spec.hidden_widths.size(),
                             spec.nonzeros.size(), spec.methods.size()}) {
    cells *= std::max<int64_t>(1, static_cast<int64_t>(count));
    if (cells > kMaxSweepCells) {
      return InvalidField("sweep", absl::StrCat("has more than ", kMaxSweepCells,
                                                " cells; make its lists shorter, or several "
                                                "sweeps of it"));
    }
  }
  if (!(spec.held_out_fraction >= 0 && spec.held_out_fraction < 1)) {
    return InvalidField("sweep.held_out_fraction", "must be at least 0 and less than 1");
  }
  if (spec.planted && !spec.held_out_dataset_id.empty()) {
    return InvalidField("sweep.held_out_dataset",
                        "is for a data set; of planted samples hold out a fraction");
  }
  if (spec.cell_time_limit_seconds &&
      !(*spec.cell_time_limit_seconds > 0 &&
        *spec.cell_time_limit_seconds <= kMaxCellTimeLimitSeconds)) {
    return InvalidField("sweep.cell_time_limit", absl::StrCat("must be more than 0 and at most ",
                                                              kMaxCellTimeLimitSeconds, " s"));
  }
  return spec.planted ? CheckPlanted(spec) : absl::OkStatus();
}

int64_t NumCells(const SweepSpec& spec) {
  return static_cast<int64_t>(
      std::max<size_t>(1, spec.num_samples.size()) * std::max<size_t>(1, spec.seeds.size()) *
      std::max<size_t>(1, spec.hidden_widths.size()) * spec.nonzeros.size() * spec.methods.size());
}

int64_t CellsPerDataset(const SweepSpec& spec) {
  if (spec.planted) return static_cast<int64_t>(spec.methods.size());
  return static_cast<int64_t>(std::max<size_t>(1, spec.hidden_widths.size()) *
                              spec.nonzeros.size() * spec.methods.size());
}

SweepCell CellAt(const SweepSpec& spec, int64_t index) {
  SweepCell cell;
  cell.cell = index;
  // The digits of the index, the last one first.
  const auto digit = [&index](size_t base) {
    const auto count = static_cast<int64_t>(base);
    return static_cast<size_t>(std::exchange(index, index / count) % count);
  };
  const SweepMethod& method = spec.methods[digit(spec.methods.size())];
  cell.method = method.name;
  cell.nonzeros = spec.nonzeros[digit(spec.nonzeros.size())];
  if (!spec.hidden_widths.empty()) {
    const int64_t width = spec.hidden_widths[digit(spec.hidden_widths.size())];
    if (HasHiddenWidth(method)) cell.hidden_width = width;
  }
  if (!spec.seeds.empty()) cell.seed = spec.seeds[digit(spec.seeds.size())];
  if (!spec.num_samples.empty()) {
    cell.num_samples = spec.num_samples[digit(spec.num_samples.size())];
  } else if (spec.planted) {
    cell.num_samples = spec.planted->num_samples;
  }
  return cell;
}

PlantedOptions PlantedOf(const SweepSpec& spec, const SweepCell& cell) {
  PlantedOptions planted = *spec.planted;
  planted.num_samples = cell.num_samples;
  planted.hidden_width = cell.hidden_width;
  planted.nonzeros = cell.nonzeros;
  planted.seed = cell.seed;
  return planted;
}

JobSpec JobOf(const SweepSpec& spec, const SweepCell& cell, const std::string& dataset_id) {
  const auto method = std::find_if(spec.methods.begin(), spec.methods.end(),
                                   [&](const auto& each) { return each.name == cell.method; });
  const store::SampleSplit split = {.held_out_fraction = spec.held_out_fraction,
                                    .held_out_dataset_id = spec.held_out_dataset_id,
                                    .split_seed = cell.seed};
  if (const auto* recovery = std::get_if<RecoveryOptions>(&method->options)) {
    RecoverySpec job = {.dataset_id = dataset_id, .options = *recovery};
    job.options.hidden_width = cell.hidden_width;
    job.options.hidden_layers = spec.hidden_layers;
    job.options.nonzeros = cell.nonzeros;
    job.options.seed = cell.seed;
    job.split = split;
    return job;
  }
  PruningSpec job = {.dataset_id = dataset_id, .split = split};
  if (const auto* of_model = std::get_if<store::ModelPruningOptions>(&method->options)) {
    job.model_id = spec.model_id;
    job.model_options = *of_model;
    job.model_options.distill.one_shot.nonzeros = cell.nonzeros;
    job.model_options.distill.one_shot.seed = cell.seed;
    return job;
  }
  job.options = std::get<PruneOptions>(method->options);
  job.options.hidden_widths.assign(static_cast<size_t>(spec.hidden_layers), cell.hidden_width);
  job.options.nonzeros = cell.nonzeros;
  job.options.seed = cell.seed;
  return job;
}

}  // namespace thresher::jobs
