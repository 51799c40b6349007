// Models in JSON, as users upload them. Whatever is accepted must be a model that can be
// used and that round trips.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/network/model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<thresher::Model> model = thresher::ReadModelJson(text);
  if (!model.ok()) return 0;
  const absl::StatusOr<thresher::Model> again =
      thresher::ReadModelJson(thresher::WriteModelJson(*model));
  if (!again.ok() || !(*again == *model)) std::abort();
  const absl::StatusOr<std::string> npz = thresher::WriteModelNpz(*model);
  if (!npz.ok()) std::abort();
  const absl::StatusOr<thresher::Model> through_npz =
      thresher::ReadModelNpz(*npz, int64_t{1} << 28);
  if (!through_npz.ok() || !(*through_npz == *model)) std::abort();
  const int64_t num_inputs = thresher::NumInputs(model->network);
  if (num_inputs <= 1000) {
    const std::vector<float> inputs(static_cast<size_t>(2 * num_inputs), 1.0f);
    (void)thresher::Predict(*model, {inputs.data(), 2, num_inputs});
  }
  return 0;
}
