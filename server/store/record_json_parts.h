// What the files of record_json.h share. Internal to store/record_json*.cc.
#ifndef THRESHER_SERVER_STORE_RECORD_JSON_PARTS_H_
#define THRESHER_SERVER_STORE_RECORD_JSON_PARTS_H_

#include <cstddef>
#include <optional>
#include <string>

#include "core/iteration/termination.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"
#include "core/pruning/prune.h"
#include "core/recovery/recovery.h"
#include "server/store/job_record.h"
#include "server/store/record_json.h"

namespace thresher::store {

// Enumerators are stored by name, so that core may reorder them.
template <typename Enum>
struct Name {
  Enum value;
  const char* name;
};

inline constexpr Name<OutputSigns> kOutputSigns[] = {{OutputSigns::kPositive, "positive"},
                                                     {OutputSigns::kMixed, "mixed"}};
inline constexpr Name<LinearTerm> kLinearTerms[] = {
    {LinearTerm::kNone, "none"}, {LinearTerm::kDense, "dense"}, {LinearTerm::kSparse, "sparse"}};
inline constexpr Name<TerminationReason> kTerminationReasons[] = {
    {TerminationReason::kConverged, "converged"},
    {TerminationReason::kStagnated, "stagnated"},
    {TerminationReason::kIterationLimit, "iteration_limit"},
    {TerminationReason::kTimeLimit, "time_limit"},
    {TerminationReason::kCancelled, "cancelled"},
    {TerminationReason::kEarlyStopped, "early_stopped"}};
inline constexpr Name<Loss> kLosses[] = {{Loss::kSquared, "squared"},
                                         {Loss::kCrossEntropy, "cross_entropy"},
                                         {Loss::kLogistic, "logistic"}};

template <typename Enum, size_t kSize>
Json NameOf(const Name<Enum> (&names)[kSize], Enum value) {
  for (const Name<Enum>& entry : names) {
    if (entry.value == value) return entry.name;
  }
  return nullptr;
}

template <typename Enum, size_t kSize>
Enum ReadName(const Name<Enum> (&names)[kSize], const Json& json) {
  const std::string name = json.get<std::string>();
  for (const Name<Enum>& entry : names) {
    if (name == entry.name) return entry.value;
  }
  throw Json::other_error::create(501, "unknown name " + name, &json);
}

// ----- Small parts: record_json.cc. -----

void AddDouble(const char* name, const std::optional<double>& value, Json& json);
std::optional<double> ReadOptionalDouble(const Json& json, const char* name);
// Of a table row.
Json OrNull(const std::optional<double>& value);
std::optional<double> ReadOptionalDouble(const Json& json);
Json ErrorToJson(const JobError& error);
JobError ReadError(const Json& json);
JobState ReadState(const Json& json);

// ----- Recovery: record_json_recovery.cc. -----

Json OptionsToJson(const RecoveryOptions& options);
RecoveryOptions ReadRecoveryOptions(const Json& json);
void AddSplit(const SampleSplit& split, Json& json);
SampleSplit ReadSplit(const Json& json);
Json SpecToJson(const RecoverySpec& spec);
RecoverySpec ReadRecoverySpec(const Json& json);
Json ReportToJson(const RecoveryReport& report);
RecoveryReport ReadRecoveryReport(const Json& json);
Json ProgressToJson(const IterationReport& report);
IterationReport ReadIterationReport(const Json& json);

// ----- Pruning: record_json_pruning.cc. -----

Json OptionsToJson(const PruneOptions& options);
PruneOptions ReadPruneOptions(const Json& json);
Json FitToJson(const PruningFit& fit);
PruningFit ReadPruningFit(const Json& json);
Json OptionsToJson(const ModelPruningOptions& options);
ModelPruningOptions ReadModelPruningOptions(const Json& json);
Json SpecToJson(const PruningSpec& spec);
PruningSpec ReadPruningSpec(const Json& json);
Json ReportToJson(const PruningReport& report);
PruningReport ReadPruningReport(const Json& json);
Json ProgressToJson(const PruneReport& report);
PruneReport ReadPruneReport(const Json& json);

// ----- Sweeps: record_json_sweep.cc. -----

Json SpecToJson(const SweepSpec& spec);
SweepSpec ReadSweepSpec(const Json& json);
Json ReportToJson(const SweepReport& report);
SweepReport ReadSweepReport(const Json& json);
Json CellToJson(const SweepCell& cell);
SweepCell ReadCell(const Json& json);
Json ProgressToJson(const SweepProgress& progress);
SweepProgress ReadSweepProgress(const Json& json);

}  // namespace thresher::store

#endif  // THRESHER_SERVER_STORE_RECORD_JSON_PARTS_H_
