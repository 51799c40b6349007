#include "server/rpc/reconstruction.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/network/compare.h"
#include "core/network/model.h"
#include "core/samples/image_samples.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

// Samples evaluated between two looks at whether the client still waits.
constexpr int64_t kSamplesAtOnce = 4096;

absl::Status NoImage(std::string_view why) {
  return store::InvalidField("format", std::string("can be PNG only for a model that was fitted to "
                                                   "an image; ")
                                           .append(why));
}

}  // namespace

absl::StatusOr<Reconstruction> Reconstruct(const ServiceContext& context,
                                           const grpc::CallbackServerContext& call,
                                           const store::ModelRecord& model_record) {
  if (model_record.dataset_id.empty()) return NoImage("this one was uploaded");
  const auto dataset = context.store.datasets().Get(model_record.dataset_id);
  if (!dataset.ok()) return dataset.status();
  // Another data set of that name may have taken the place of a deleted one.
  if (dataset->image_shape == ImageShape{} || dataset->sha256 != model_record.dataset_sha256) {
    return NoImage("its data set is of no image");
  }
  const MemoryLimiter::Reservation reservation(context.ingest_memory, dataset->size_bytes);
  if (absl::Status status = StillWanted(call); !status.ok()) return status;
  const auto samples = context.store.datasets().Load(*dataset);
  if (!samples.ok()) return samples.status();
  const auto model = context.store.models().Load(model_record);
  if (!model.ok()) return model.status();
  const Samples& image = **samples;

  std::vector<float> values;
  values.reserve(static_cast<size_t>(image.num_samples));
  double squared_error = 0;
  for (int64_t first = 0; first < image.num_samples; first += kSamplesAtOnce) {
    if (absl::Status status = StillWanted(call); !status.ok()) return status;
    const InputView rows = {image.inputs.data() + first * image.num_inputs,
                            std::min(kSamplesAtOnce, image.num_samples - first), image.num_inputs};
    const auto outputs = thresher::Predict(**model, rows);
    if (!outputs.ok()) return outputs.status();
    for (const double output : *outputs) {
      const double error = output - image.targets[values.size()];
      squared_error += error * error;
      values.push_back(static_cast<float>(output));
    }
  }
  auto png = WritePng(ImageOfSamples(image.image_shape, values));
  if (!png.ok()) return png.status();
  return Reconstruction{.png = *std::move(png),
                        .psnr_db = PsnrDb(squared_error, image.num_samples, /*largest=*/1)};
}

}  // namespace thresher::rpc
