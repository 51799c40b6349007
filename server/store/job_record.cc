#include "server/store/job_record.h"

#include <algorithm>

namespace thresher::store {
namespace {

// As long as a row should be: a table has up to 10000.
constexpr size_t kMaxRowErrorBytes = 200;

void AddReport(const RecoveryReport& report, SweepCell& row) {
  row.training_relative_residual = report.training.relative_residual;
  row.training_psnr_db = report.training.psnr_db;
  row.training_accuracy = report.training.accuracy;
  if (report.held_out) {
    row.held_out_relative_residual = report.held_out->relative_residual;
    row.held_out_psnr_db = report.held_out->psnr_db;
    row.held_out_accuracy = report.held_out->accuracy;
  }
  if (report.planted) row.exact = report.planted->exact;
}

void AddReport(const PruningReport& report, SweepCell& row) {
  row.training_psnr_db = report.training.fit.psnr_db;
  row.training_accuracy = report.training.fit.accuracy;
  if (report.held_out) {
    row.held_out_psnr_db = report.held_out->fit.psnr_db;
    row.held_out_accuracy = report.held_out->fit.accuracy;
  }
  if (report.training.num_samples == 0) return;  // cancelled before there was a network
  row.training_loss = report.training.fit.loss;
  if (report.held_out) row.held_out_loss = report.held_out->fit.loss;
  if (report.model) {
    row.given_nonzeros = report.model->given_nonzeros;
    if (report.model->given_training.num_samples > 0) {
      row.given_training = report.model->given_training;
    }
    row.given_held_out = report.model->given_held_out;
  }
}

}  // namespace

SweepCell RowOf(const JobRecord& cell) {
  SweepCell row = cell.cell.value_or(SweepCell());
  row.state = cell.state;
  row.error = cell.error;
  if (row.error && row.error->message.size() > kMaxRowErrorBytes) {
    size_t end = kMaxRowErrorBytes;  // of a whole UTF-8 character
    while (end > 0 && (row.error->message[end] & 0xC0) == 0x80) --end;
    row.error->message.resize(end);
  }
  row.predicted_peak_memory_bytes = cell.predicted_cost.peak_memory_bytes;
  row.model_id = cell.model_id;
  if (!cell.report) return row;
  row.termination_reason = TerminationReasonOf(*cell.report);
  row.iterations = IterationsOf(*cell.report);
  const auto add = [&row](const auto& report) {
    row.elapsed_seconds = report.elapsed_seconds;
    row.network_nonzeros = report.nonzeros;
    row.active_neurons = report.active_neurons;
    AddReport(report, row);
  };
  if (const auto* recovery = std::get_if<RecoveryReport>(&*cell.report)) add(*recovery);
  if (const auto* pruning = std::get_if<PruningReport>(&*cell.report)) add(*pruning);
  return row;
}

const std::string& DatasetIdOf(const JobSpec& spec) {
  return std::visit([](const auto& each) -> const std::string& { return each.dataset_id; }, spec);
}

std::vector<std::string> DatasetIdsOf(const JobSpec& spec) {
  std::vector<std::string> ids = {DatasetIdOf(spec)};
  if (const auto* sweep = std::get_if<SweepSpec>(&spec)) {
    ids.push_back(sweep->held_out_dataset_id);
  } else {
    const SampleSplit& split = std::holds_alternative<RecoverySpec>(spec)
                                   ? std::get<RecoverySpec>(spec).split
                                   : std::get<PruningSpec>(spec).split;
    ids.push_back(split.held_out_dataset_id);
    if (split.validation) ids.push_back(split.validation->dataset_id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  if (ids.front().empty()) ids.erase(ids.begin());
  return ids;
}

std::string ModelIdOf(const JobSpec& spec) {
  if (const auto* recovery = std::get_if<RecoverySpec>(&spec)) return recovery->initial_model_id;
  if (const auto* pruning = std::get_if<PruningSpec>(&spec)) return pruning->model_id;
  return std::get<SweepSpec>(spec).model_id;
}

TerminationReason TerminationReasonOf(const JobReport& report) {
  if (const auto* sweep = std::get_if<SweepReport>(&report)) {
    return sweep->termination_reason.value_or(TerminationReason::kIterationLimit);
  }
  if (const auto* pruning = std::get_if<PruningReport>(&report)) return pruning->termination_reason;
  return std::get<RecoveryReport>(report).termination_reason;
}

int64_t IterationsOf(const JobReport& report) {
  if (const auto* sweep = std::get_if<SweepReport>(&report)) return sweep->cells_done;
  if (const auto* pruning = std::get_if<PruningReport>(&report)) return pruning->iterations;
  return std::get<RecoveryReport>(report).iterations;
}

int64_t IterationOf(const JobProgress& progress) {
  if (const auto* sweep = std::get_if<SweepProgress>(&progress)) return sweep->cells_done;
  if (const auto* pruning = std::get_if<PruneReport>(&progress)) return pruning->iteration;
  return std::get<IterationReport>(progress).iteration;
}

double ElapsedSecondsOf(const JobProgress& progress) {
  return std::visit([](const auto& each) { return each.elapsed_seconds; }, progress);
}

std::string_view JobStateName(JobState state) {
  switch (state) {
    case JobState::kQueued:
      return "QUEUED";
    case JobState::kRunning:
      return "RUNNING";
    case JobState::kSucceeded:
      return "SUCCEEDED";
    case JobState::kFailed:
      return "FAILED";
    case JobState::kCancelled:
      return "CANCELLED";
  }
  return "UNKNOWN";
}

bool IsEnded(JobState state) { return state != JobState::kQueued && state != JobState::kRunning; }

bool IsLegalTransition(JobState from, JobState to) {
  switch (from) {
    case JobState::kQueued:
      return to == JobState::kRunning || to == JobState::kCancelled || to == JobState::kFailed;
    case JobState::kRunning:
      return to != JobState::kRunning;
    default:
      return false;
  }
}

}  // namespace thresher::store
