#include "server/store/job_record.h"

namespace thresher::store {

const std::string& DatasetIdOf(const JobSpec& spec) {
  return std::visit([](const auto& each) -> const std::string& { return each.dataset_id; }, spec);
}

TerminationReason TerminationReasonOf(const JobReport& report) {
  return std::visit([](const auto& each) { return each.termination_reason; }, report);
}

int64_t IterationsOf(const JobReport& report) {
  return std::visit([](const auto& each) { return each.iterations; }, report);
}

int64_t IterationOf(const JobProgress& progress) {
  return std::visit([](const auto& each) { return each.iteration; }, progress);
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
