#ifndef THRESHER_CLIENT_SWEEP_TEXT_H_
#define THRESHER_CLIENT_SWEEP_TEXT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "thresher/v1/job.pb.h"
#include "thresher/v1/sweep.pb.h"

namespace thresher::client {

// A sweep from a file: SweepSpec in protobuf's JSON mapping.
// Errors: NOT_FOUND or INVALID_ARGUMENT, with the file's name, also for files of more than 1 MiB.
absl::StatusOr<v1::SweepSpec> ReadSweepFile(const std::string& path);

// What a table or a picture says about a row, on held-out samples where there are some. Parameters:
// hidden_width, nonzeros, num_samples, seed. Measured: psnr_db, relative_residual, accuracy, error,
// success, seconds, memory_bytes, network_nonzeros, active_neurons. Nothing where a cell has none:
// measured values of cells that did not succeed, for example. `error` is the share of the samples
// named wrong. `success` is 1 for the planted network or a PSNR of at least 120 dB, else 0, also
// for a failed cell.
std::optional<double> ValueOf(const v1::SweepCell& row, const std::string& name);
const std::vector<std::string>& SweepParameters();
const std::vector<std::string>& SweepMeasures();

// accuracy where the rows have one, else psnr_db.
std::string MainMeasure(const v1::SweepReport& report);

// With a row more for each number of samples and seed on which a model was pruned: the model as it
// was given, without time and memory. Its method is "(given)", which no method of a sweep can be.
v1::SweepReport WithGivenModel(const v1::SweepReport& report);

// "12 of 40 cells, 1 failed, about 3 min left".
std::string SweepProgressText(const v1::SweepProgress& progress);

// The table for people: a line for each method, width, budget and number of samples, medians over
// the seeds, and one for a model that was pruned as it was given. Empty without rows.
std::string SweepTable(const v1::SweepReport& report);

// Why cells failed: each distinct error with the number of its cells, the most frequent first and
// at most 10. Empty where none failed.
std::string SweepErrors(const v1::SweepReport& report);
// Whether every row is of a cell that failed; not without rows.
bool AllFailed(const v1::SweepReport& report);

// Every row with every field, as CSV with a header line (RFC 4180; what is unset is empty).
std::string SweepCsv(const v1::SweepReport& report);

// Writes the table to a file whose ending says how: .csv, or .json for the whole job in protobuf's
// JSON mapping. Errors: INVALID_ARGUMENT for another ending, or where the file cannot be written.
absl::Status CheckTablePath(const std::string& path);
absl::Status WriteTable(const v1::Job& job, const std::string& path);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_SWEEP_TEXT_H_
