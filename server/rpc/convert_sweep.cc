#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/pruning/prune.h"
#include "core/recovery/recovery.h"
#include "server/rpc/convert.h"
#include "server/rpc/convert_parts.h"
#include "server/store/error_details.h"
#include "server/store/job_record.h"
#include "thresher/v1/sweep.pb.h"

namespace thresher::rpc {
namespace {

using store::InvalidField;
// Else the overloads below would hide the shared ones.
using rpc::FromProto;
using rpc::ToProto;

// What a part of the sweep says about its own message is said about the message in the sweep.
absl::Status InSweep(const absl::Status& status, std::string_view from, std::string_view to) {
  const std::string_view message(status.message().data(), status.message().size());
  if (!absl::IsInvalidArgument(status) || !message.starts_with(from)) return status;
  const std::string_view rest = message.substr(from.size());
  const size_t colon = rest.find(": ");
  if (colon == std::string_view::npos) return status;
  return InvalidField(Concatenated(to, rest.substr(0, colon)), rest.substr(colon + 2));
}

absl::StatusOr<store::SweepMethod> FromProto(const v1::SweepMethod& method,
                                             const std::string& field) {
  store::SweepMethod result;
  result.name = method.name();
  if (method.has_recovery()) {
    auto options = FromProto(method.recovery());
    if (!options.ok()) {
      return InSweep(options.status(), "job.recovery.options.", field + ".recovery.");
    }
    result.options = *std::move(options);
  } else if (method.has_pruning()) {
    auto options = FromProto(method.pruning());
    if (!options.ok()) {
      return InSweep(options.status(), "job.pruning.options.", field + ".pruning.");
    }
    result.options = *std::move(options);
  } else if (method.has_model_pruning()) {
    auto options = FromProto(method.model_pruning());
    if (!options.ok()) {
      return InSweep(options.status(), "job.pruning.model_options.", field + ".model_pruning.");
    }
    result.options = *std::move(options);
  } else {
    return InvalidField(field, "needs recovery, pruning or model_pruning");
  }
  return result;
}

static_assert(static_cast<int>(store::JobState::kSucceeded) == v1::SWEEP_CELL_STATE_SUCCEEDED);
static_assert(static_cast<int>(store::JobState::kFailed) == v1::SWEEP_CELL_STATE_FAILED);
static_assert(static_cast<int>(store::JobState::kCancelled) == v1::SWEEP_CELL_STATE_CANCELLED);

v1::SweepCell ToProto(const store::SweepCell& cell) {
  v1::SweepCell result;
  result.set_cell(cell.cell);
  result.set_hidden_width(cell.hidden_width);
  result.set_nonzeros(cell.nonzeros);
  result.set_num_samples(cell.num_samples);
  result.set_seed(cell.seed);
  result.set_method(cell.method);
  result.set_state(static_cast<v1::SweepCellState>(cell.state));
  if (cell.termination_reason) result.set_termination_reason(ToProto(*cell.termination_reason));
  if (cell.error) {
    result.mutable_error()->set_code(static_cast<int>(cell.error->code));
    result.mutable_error()->set_message(cell.error->message);
  }
  result.set_network_nonzeros(cell.network_nonzeros);
  result.set_active_neurons(cell.active_neurons);
  if (cell.training_relative_residual) {
    result.set_training_relative_residual(*cell.training_relative_residual);
  }
  if (cell.held_out_relative_residual) {
    result.set_held_out_relative_residual(*cell.held_out_relative_residual);
  }
  if (cell.training_psnr_db) result.set_training_psnr_db(*cell.training_psnr_db);
  if (cell.held_out_psnr_db) result.set_held_out_psnr_db(*cell.held_out_psnr_db);
  if (cell.training_accuracy) result.set_training_accuracy(*cell.training_accuracy);
  if (cell.held_out_accuracy) result.set_held_out_accuracy(*cell.held_out_accuracy);
  if (cell.exact) result.set_exact(*cell.exact);
  result.set_iterations(cell.iterations);
  *result.mutable_elapsed() = ToDuration(cell.elapsed_seconds);
  result.set_predicted_peak_memory_bytes(cell.predicted_peak_memory_bytes);
  if (!cell.model_id.empty()) result.set_model(Concatenated(kModels, cell.model_id));
  if (cell.training_loss) result.set_training_loss(*cell.training_loss);
  if (cell.held_out_loss) result.set_held_out_loss(*cell.held_out_loss);
  result.set_given_nonzeros(cell.given_nonzeros);
  if (cell.given_training) *result.mutable_given_training() = ToProto(*cell.given_training);
  if (cell.given_held_out) *result.mutable_given_held_out() = ToProto(*cell.given_held_out);
  return result;
}

}  // namespace

absl::StatusOr<store::SweepSpec> FromProto(const v1::SweepSpec& spec) {
  store::SweepSpec result;
  if (spec.has_planted()) {
    auto planted = rpc::FromProto(spec.planted());
    if (!planted.ok()) {
      return InSweep(planted.status(), "dataset.planted.", "job.sweep.planted.");
    }
    result.planted = *std::move(planted);
    result.hidden_layers = result.planted->hidden_layers;
  } else {
    auto dataset = IdFromName(spec.dataset(), kDatasets, "job.sweep.dataset");
    if (!dataset.ok()) return dataset.status();
    result.dataset_id = *std::move(dataset);
  }
  if (!spec.model().empty()) {
    auto model = IdFromName(spec.model(), kModels, "job.sweep.model");
    if (!model.ok()) return model.status();
    result.model_id = *std::move(model);
  }
  if (spec.hidden_layers() != 0) result.hidden_layers = spec.hidden_layers();
  result.hidden_widths.assign(spec.hidden_widths().begin(), spec.hidden_widths().end());
  result.nonzeros.assign(spec.nonzeros().begin(), spec.nonzeros().end());
  result.num_samples.assign(spec.num_samples().begin(), spec.num_samples().end());
  result.seeds.assign(spec.seeds().begin(), spec.seeds().end());
  for (int i = 0; i < spec.methods_size(); ++i) {
    auto method = FromProto(spec.methods(i), absl::StrCat("job.sweep.methods[", i, "]"));
    if (!method.ok()) return method.status();
    result.methods.push_back(*std::move(method));
  }
  auto held_out = HeldOutDataset(spec.held_out_dataset(), "job.sweep");
  if (!held_out.ok()) return held_out.status();
  result.held_out_dataset_id = *std::move(held_out);
  if (!result.held_out_dataset_id.empty()) result.held_out_fraction = 0;
  if (spec.has_held_out_fraction()) result.held_out_fraction = spec.held_out_fraction();
  if (spec.has_cell_time_limit()) {
    const auto seconds = TimeLimit(spec.cell_time_limit());
    if (!seconds.ok()) {
      return InSweep(seconds.status(), "job.time_limit", "job.sweep.cell_time_limit");
    }
    result.cell_time_limit_seconds = *seconds;
  }
  result.keep_models = spec.keep_models();
  return result;
}

v1::SweepSpec ToProto(const store::SweepSpec& spec) {
  v1::SweepSpec result;
  if (spec.planted) {
    *result.mutable_planted() = ToProto(*spec.planted);
  } else {
    result.set_dataset(Concatenated(kDatasets, spec.dataset_id));
  }
  if (!spec.model_id.empty()) result.set_model(Concatenated(kModels, spec.model_id));
  result.mutable_hidden_widths()->Assign(spec.hidden_widths.begin(), spec.hidden_widths.end());
  result.mutable_nonzeros()->Assign(spec.nonzeros.begin(), spec.nonzeros.end());
  result.mutable_num_samples()->Assign(spec.num_samples.begin(), spec.num_samples.end());
  result.mutable_seeds()->Assign(spec.seeds.begin(), spec.seeds.end());
  for (const store::SweepMethod& method : spec.methods) {
    v1::SweepMethod& added = *result.add_methods();
    added.set_name(method.name);
    if (const auto* recovery = std::get_if<RecoveryOptions>(&method.options)) {
      *added.mutable_recovery() = ToProto(*recovery);
    } else if (const auto* pruning = std::get_if<PruneOptions>(&method.options)) {
      *added.mutable_pruning() = ToProto(*pruning);
    } else {
      *added.mutable_model_pruning() =
          ToProto(std::get<store::ModelPruningOptions>(method.options));
    }
  }
  result.set_hidden_layers(spec.hidden_layers);
  result.set_held_out_fraction(spec.held_out_fraction);
  if (!spec.held_out_dataset_id.empty()) {
    result.set_held_out_dataset(Concatenated(kDatasets, spec.held_out_dataset_id));
  }
  if (spec.cell_time_limit_seconds) {
    *result.mutable_cell_time_limit() = ToDuration(*spec.cell_time_limit_seconds);
  }
  result.set_keep_models(spec.keep_models);
  return result;
}

v1::SweepProgress ToProto(const store::SweepProgress& progress) {
  v1::SweepProgress result;
  result.set_cells_total(progress.cells_total);
  result.set_cells_done(progress.cells_done);
  result.set_cells_failed(progress.cells_failed);
  *result.mutable_elapsed() = ToDuration(progress.elapsed_seconds);
  if (progress.left_seconds) *result.mutable_left() = ToDuration(*progress.left_seconds);
  return result;
}

v1::SweepReport ToProto(const store::SweepReport& report) {
  v1::SweepReport result;
  if (report.termination_reason) {
    result.set_termination_reason(ToProto(*report.termination_reason));
  }
  result.set_cells_total(report.cells_total);
  result.set_cells_done(report.cells_done);
  result.set_cells_failed(report.cells_failed);
  *result.mutable_elapsed() = ToDuration(report.elapsed_seconds);
  for (const store::SweepCell& row : report.rows) *result.add_rows() = ToProto(row);
  return result;
}

}  // namespace thresher::rpc
