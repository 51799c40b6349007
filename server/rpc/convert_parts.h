// What the converters of convert.h share. Internal to rpc/convert*.cc.
//
// Every switch over an enum of the wire has a case for each value, so that the compiler finds a
// missing one; what falls out is a number that this server does not know.
#ifndef THRESHER_SERVER_RPC_CONVERT_PARTS_H_
#define THRESHER_SERVER_RPC_CONVERT_PARTS_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/iteration/termination.h"
#include "core/network/network.h"
#include "core/pruning/loss.h"
#include "core/pruning/prune.h"
#include "core/recovery/recovery.h"
#include "core/samples/planted.h"
#include "server/rpc/convert.h"
#include "server/store/error_details.h"
#include "server/store/job_record.h"
#include "server/store/records.h"
#include "thresher/v1/dataset.pb.h"
#include "thresher/v1/pruning.pb.h"
#include "thresher/v1/recovery.pb.h"
#include "thresher/v1/sweep.pb.h"

namespace thresher::rpc {

// ----- Small parts: convert.cc. -----

std::string Concatenated(std::string_view a, std::string_view b);
absl::Status UnknownEnumValue(std::string_view field, int value);
google::protobuf::Timestamp ToProto(store::Timestamp time);
google::protobuf::Duration ToDuration(double seconds);
// Errors: INVALID_ARGUMENT `job.time_limit`.
absl::StatusOr<double> TimeLimit(const google::protobuf::Duration& duration);
// An optional count that, when set, must be at least 1: 0 is the value's "unset" inside.
absl::StatusOr<int64_t> PositiveOr0(bool is_set, int64_t value, std::string_view field);

// ----- Recovery: convert_recovery.cc. -----

absl::StatusOr<OutputSigns> FromProto(v1::OutputSigns value, std::string_view field);
v1::OutputSigns ToProto(OutputSigns value);
v1::TerminationReason ToProto(TerminationReason value);
absl::StatusOr<Loss> FromProto(v1::Loss value, std::string_view field);
v1::Loss ToProto(Loss value);
absl::StatusOr<RecoveryOptions> FromProto(const v1::RecoveryOptions& options);
v1::RecoveryOptions ToProto(const RecoveryOptions& options);
absl::StatusOr<store::RecoverySpec> FromProto(const v1::RecoverySpec& spec);
v1::RecoverySpec ToProto(const store::RecoverySpec& spec);
v1::IterationReport ToProto(const IterationReport& report);
v1::RecoveryReport ToProto(const store::RecoveryReport& report);

// `prefix`: the message's field in the request.
absl::StatusOr<std::string> HeldOutDataset(const std::string& name, const std::string& prefix);

// Of a v1::RecoverySpec or v1::PruningSpec.
template <typename Spec>
absl::StatusOr<store::SampleSplit> SplitFromProto(const Spec& spec, const std::string& prefix) {
  store::SampleSplit split;
  auto held_out = HeldOutDataset(spec.held_out_dataset(), prefix);
  if (!held_out.ok()) return held_out.status();
  split.held_out_dataset_id = *std::move(held_out);
  if (!split.held_out_dataset_id.empty()) split.held_out_fraction = 0;
  if (spec.has_held_out_fraction()) split.held_out_fraction = spec.held_out_fraction();
  if (!(split.held_out_fraction >= 0 && split.held_out_fraction < 1)) {
    return store::InvalidField(prefix + ".held_out_fraction", "must be at least 0 and less than 1");
  }
  split.split_seed = spec.split_seed();
  if (!spec.has_validation()) return split;
  store::ValidationSpec& validation = split.validation.emplace();
  validation.patience = spec.validation().patience();
  if (spec.validation().has_fraction()) validation.fraction = spec.validation().fraction();
  if (spec.validation().has_dataset()) {
    auto id = IdFromName(spec.validation().dataset(), kDatasets, prefix + ".validation.dataset");
    if (!id.ok()) return id.status();
    validation.dataset_id = *std::move(id);
  }
  return split;
}

template <typename Spec>
void AddSplit(const store::SampleSplit& split, Spec& spec) {
  spec.set_held_out_fraction(split.held_out_fraction);
  spec.set_split_seed(split.split_seed);
  if (!split.held_out_dataset_id.empty()) {
    spec.set_held_out_dataset(Concatenated(kDatasets, split.held_out_dataset_id));
  }
  if (!split.validation) return;
  v1::Validation& validation = *spec.mutable_validation();
  validation.set_patience(split.validation->patience);
  if (split.validation->dataset_id.empty()) {
    validation.set_fraction(split.validation->fraction);
  } else {
    validation.set_dataset(Concatenated(kDatasets, split.validation->dataset_id));
  }
}

// ----- Pruning: convert_pruning.cc. -----

absl::StatusOr<PruneOptions> FromProto(const v1::PruningOptions& options);
v1::PruningOptions ToProto(const PruneOptions& options);
absl::StatusOr<store::ModelPruningOptions> FromProto(const v1::ModelPruningOptions& options);
v1::ModelPruningOptions ToProto(const store::ModelPruningOptions& options);
absl::StatusOr<store::PruningSpec> FromProto(const v1::PruningSpec& spec);
v1::PruningSpec ToProto(const store::PruningSpec& spec);
v1::PruningFit ToProto(const store::PruningFit& fit);
v1::EpochReport ToProto(const PruneReport& report);
v1::PruningReport ToProto(const store::PruningReport& report);

// ----- Data sets: convert_dataset.cc. -----

v1::PlantedSource ToProto(const PlantedOptions& options);

// ----- Sweeps: convert_sweep.cc. -----

absl::StatusOr<store::SweepSpec> FromProto(const v1::SweepSpec& spec);
v1::SweepSpec ToProto(const store::SweepSpec& spec);
v1::SweepProgress ToProto(const store::SweepProgress& progress);
v1::SweepReport ToProto(const store::SweepReport& report);

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_CONVERT_PARTS_H_
