// Readers: file bytes in a known format become samples.
#ifndef THRESHER_CORE_SAMPLES_READ_SAMPLES_H_
#define THRESHER_CORE_SAMPLES_READ_SAMPLES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/samples/image_samples.h"
#include "core/samples/samples.h"
#include "core/samples/scaling.h"

namespace thresher {

enum class FileFormat {
  kNpy,  // inputs n x d (or n x ..., flattened), targets n or n x k or none
  kNpz,  // members inputs_member and targets_member of one archive, or the first alone
  kCsv,  // one table with a header; target columns named, the rest are inputs
  kIdx,  // MNIST's format: inputs n x ..., flattened; targets n or none
  kPng,  // one image, whose pixels are the samples
};

// What the bytes mean.
struct ReadOptions {
  FileFormat format = FileFormat::kNpy;
  std::string inputs_member = "X";                // kNpz
  std::string targets_member = "y";               // kNpz
  std::vector<std::string> target_columns = {};   // kCsv; none: there are no targets
  std::vector<std::string> ignored_columns = {};  // kCsv
  // True: targets are class labels (numbers or, in CSV, text). Two classes become one
  // output with 0 and 1, more become one-hot outputs.
  bool targets_are_classes = false;
  // With classes: keep only samples of these, in this order; empty keeps all, sorted.
  std::vector<std::string> classes = {};
  ScalingMode scaling = ScalingMode::kNone;
  // kPng; and kIdx whose inputs are images, of which the pixels of one are the samples. Scaling
  // must be kNone: inputs and targets have their scale.
  std::optional<ImageOptions> image = std::nullopt;
  int64_t max_bytes = int64_t{1} << 31;  // of each unpacked file and of the samples
};

// Whether the targets come in a file of their own: kNpy, and kIdx without `image`.
bool HasTargetsFile(const ReadOptions& options);

// Files are gunzipped first when they start with gzip's magic. `targets` is empty where
// HasTargetsFile is false, and where there are none (num_outputs 0). kPng without `image` has the
// options' defaults. Errors: INVALID_ARGUMENT with the field, and for CSV line and column; rows of
// missing or non-numeric values are errors, never dropped; RESOURCE_EXHAUSTED beyond
// max_bytes.
absl::StatusOr<Samples> ReadSamples(const ReadOptions& options, std::string_view inputs,
                                    std::string_view targets);

}  // namespace thresher

#endif  // THRESHER_CORE_SAMPLES_READ_SAMPLES_H_
