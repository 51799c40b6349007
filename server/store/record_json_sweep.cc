#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "core/pruning/prune.h"
#include "core/recovery/recovery.h"
#include "core/samples/planted.h"
#include "server/store/dataset_store.h"
#include "server/store/job_record.h"
#include "server/store/record_json.h"
#include "server/store/record_json_parts.h"

namespace thresher::store {

// Methods and the planted problem have the JSON of jobs and data sets.
Json SpecToJson(const SweepSpec& spec) {
  Json methods = Json::array();
  for (const SweepMethod& method : spec.methods) {
    const char* kind = std::holds_alternative<RecoveryOptions>(method.options) ? "recovery"
                       : std::holds_alternative<PruneOptions>(method.options)  ? "pruning"
                                                                               : "model_pruning";
    methods.push_back({{"name", method.name},
                       {kind, std::visit([](const auto& options) { return OptionsToJson(options); },
                                         method.options)}});
  }
  Json json = {{"dataset", spec.dataset_id},
               {"hidden_widths", spec.hidden_widths},
               {"nonzeros", spec.nonzeros},
               {"num_samples", spec.num_samples},
               {"seeds", spec.seeds},
               {"methods", methods},
               {"hidden_layers", spec.hidden_layers},
               {"held_out_fraction", ToJson(spec.held_out_fraction)},
               {"keep_models", spec.keep_models}};
  if (spec.planted) json["planted"] = ToJson(DatasetSource(*spec.planted)).at("planted");
  AddDouble("cell_time_limit_seconds", spec.cell_time_limit_seconds, json);
  if (!spec.model_id.empty()) json["model"] = spec.model_id;
  if (!spec.held_out_dataset_id.empty()) json["held_out_dataset"] = spec.held_out_dataset_id;
  return json;
}

SweepSpec ReadSweepSpec(const Json& json) {
  SweepSpec spec;
  spec.dataset_id = json.at("dataset").get<std::string>();
  spec.hidden_widths = json.at("hidden_widths").get<std::vector<int64_t>>();
  spec.nonzeros = json.at("nonzeros").get<std::vector<int64_t>>();
  spec.num_samples = json.at("num_samples").get<std::vector<int64_t>>();
  spec.seeds = json.at("seeds").get<std::vector<uint64_t>>();
  for (const Json& from : json.at("methods")) {
    SweepMethod method;
    method.name = from.at("name").get<std::string>();
    if (from.contains("pruning")) {
      method.options = ReadPruneOptions(from.at("pruning"));
    } else if (from.contains("model_pruning")) {
      method.options = ReadModelPruningOptions(from.at("model_pruning"));
    } else {
      method.options = ReadRecoveryOptions(from.at("recovery"));
    }
    spec.methods.push_back(std::move(method));
  }
  spec.hidden_layers = json.at("hidden_layers").get<int64_t>();
  spec.held_out_fraction = ReadDouble(json.at("held_out_fraction"));
  spec.held_out_dataset_id = json.value("held_out_dataset", std::string());
  spec.keep_models = json.at("keep_models").get<bool>();
  if (json.contains("planted")) spec.planted = std::get<PlantedOptions>(ReadDatasetSource(json));
  spec.cell_time_limit_seconds = ReadOptionalDouble(json, "cell_time_limit_seconds");
  if (json.contains("model")) spec.model_id = json.at("model").get<std::string>();
  return spec;
}

Json ReportToJson(const SweepReport& report) {
  Json json = {{"cells_total", report.cells_total},
               {"cells_done", report.cells_done},
               {"cells_failed", report.cells_failed},
               {"elapsed_seconds", ToJson(report.elapsed_seconds)}};
  if (report.termination_reason) {
    json["termination_reason"] = NameOf(kTerminationReasons, *report.termination_reason);
  }
  return json;
}

SweepReport ReadSweepReport(const Json& json) {
  SweepReport report;
  if (json.contains("termination_reason")) {
    report.termination_reason = ReadName(kTerminationReasons, json.at("termination_reason"));
  }
  report.cells_total = json.at("cells_total").get<int64_t>();
  report.cells_done = json.at("cells_done").get<int64_t>();
  report.cells_failed = json.at("cells_failed").get<int64_t>();
  report.elapsed_seconds = ReadDouble(json.at("elapsed_seconds"));
  return report;
}

Json CellToJson(const SweepCell& cell) {
  Json json = {{"cell", cell.cell},
               {"hidden_width", cell.hidden_width},
               {"nonzeros", cell.nonzeros},
               {"num_samples", cell.num_samples},
               {"seed", cell.seed},
               {"method", cell.method},
               {"state", static_cast<int>(cell.state)},
               {"network_nonzeros", cell.network_nonzeros},
               {"active_neurons", cell.active_neurons},
               {"iterations", cell.iterations},
               {"elapsed_seconds", ToJson(cell.elapsed_seconds)},
               {"peak_memory_bytes", cell.predicted_peak_memory_bytes},
               {"model", cell.model_id}};
  if (cell.termination_reason) {
    json["termination_reason"] = NameOf(kTerminationReasons, *cell.termination_reason);
  }
  if (cell.error) json["error"] = ErrorToJson(*cell.error);
  if (cell.exact) json["exact"] = *cell.exact;
  AddDouble("training_relative_residual", cell.training_relative_residual, json);
  AddDouble("held_out_relative_residual", cell.held_out_relative_residual, json);
  AddDouble("training_psnr_db", cell.training_psnr_db, json);
  AddDouble("held_out_psnr_db", cell.held_out_psnr_db, json);
  AddDouble("training_accuracy", cell.training_accuracy, json);
  AddDouble("held_out_accuracy", cell.held_out_accuracy, json);
  AddDouble("training_loss", cell.training_loss, json);
  AddDouble("held_out_loss", cell.held_out_loss, json);
  if (cell.given_nonzeros != 0) json["given_nonzeros"] = cell.given_nonzeros;
  if (cell.given_training) json["given_training"] = FitToJson(*cell.given_training);
  if (cell.given_held_out) json["given_held_out"] = FitToJson(*cell.given_held_out);
  return json;
}

SweepCell ReadCell(const Json& json) {
  SweepCell cell;
  cell.cell = json.at("cell").get<int64_t>();
  cell.hidden_width = json.at("hidden_width").get<int64_t>();
  cell.nonzeros = json.at("nonzeros").get<int64_t>();
  cell.num_samples = json.at("num_samples").get<int64_t>();
  cell.seed = json.at("seed").get<uint64_t>();
  cell.method = json.at("method").get<std::string>();
  cell.state = ReadState(json.at("state"));
  cell.network_nonzeros = json.at("network_nonzeros").get<int64_t>();
  cell.active_neurons = json.at("active_neurons").get<int64_t>();
  cell.iterations = json.at("iterations").get<int64_t>();
  cell.elapsed_seconds = ReadDouble(json.at("elapsed_seconds"));
  cell.predicted_peak_memory_bytes = json.at("peak_memory_bytes").get<int64_t>();
  cell.model_id = json.at("model").get<std::string>();
  if (json.contains("termination_reason")) {
    cell.termination_reason = ReadName(kTerminationReasons, json.at("termination_reason"));
  }
  if (json.contains("error")) cell.error = ReadError(json.at("error"));
  if (json.contains("exact")) cell.exact = json.at("exact").get<bool>();
  cell.training_relative_residual = ReadOptionalDouble(json, "training_relative_residual");
  cell.held_out_relative_residual = ReadOptionalDouble(json, "held_out_relative_residual");
  cell.training_psnr_db = ReadOptionalDouble(json, "training_psnr_db");
  cell.held_out_psnr_db = ReadOptionalDouble(json, "held_out_psnr_db");
  cell.training_accuracy = ReadOptionalDouble(json, "training_accuracy");
  cell.held_out_accuracy = ReadOptionalDouble(json, "held_out_accuracy");
  cell.training_loss = ReadOptionalDouble(json, "training_loss");
  cell.held_out_loss = ReadOptionalDouble(json, "held_out_loss");
  if (json.contains("given_nonzeros")) {
    cell.given_nonzeros = json.at("given_nonzeros").get<int64_t>();
  }
  if (json.contains("given_training")) {
    cell.given_training = ReadPruningFit(json.at("given_training"));
  }
  if (json.contains("given_held_out")) {
    cell.given_held_out = ReadPruningFit(json.at("given_held_out"));
  }
  return cell;
}

Json ProgressToJson(const SweepProgress& progress) {
  return {progress.cells_total, progress.cells_done, progress.cells_failed,
          ToJson(progress.elapsed_seconds), OrNull(progress.left_seconds)};
}

SweepProgress ReadSweepProgress(const Json& json) {
  SweepProgress progress;
  progress.cells_total = json.at(0).get<int64_t>();
  progress.cells_done = json.at(1).get<int64_t>();
  progress.cells_failed = json.at(2).get<int64_t>();
  progress.elapsed_seconds = ReadDouble(json.at(3));
  progress.left_seconds = ReadOptionalDouble(json.at(4));
  return progress;
}

std::string SweepCellToJson(const SweepCell& cell) { return Dump(CellToJson(cell)); }

absl::StatusOr<SweepCell> SweepCellFromJson(std::string_view text) {
  return ParseRecord<SweepCell>(text, ReadCell);
}

}  // namespace thresher::store
