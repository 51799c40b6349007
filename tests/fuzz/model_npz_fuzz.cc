// Models in NPZ, as users upload them. Whatever is accepted must be a model that can be
// used and that round trips.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "core/network/model.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMaxBytes = int64_t{1} << 20;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<thresher::Model> model = thresher::ReadModelNpz(bytes, kMaxBytes);
  if (!model.ok()) return 0;
  const absl::StatusOr<std::string> written = thresher::WriteModelNpz(*model);
  if (!written.ok()) std::abort();
  const absl::StatusOr<thresher::Model> again = thresher::ReadModelNpz(*written, int64_t{1} << 26);
  if (!again.ok() || !(*again == *model)) std::abort();
  const absl::StatusOr<thresher::Model> through_json =
      thresher::ReadModelJson(thresher::WriteModelJson(*model));
  if (!through_json.ok() || !(*through_json == *model)) std::abort();
  const int64_t num_inputs = thresher::NumInputs(model->network);
  if (num_inputs <= 1000) {
    const std::vector<float> inputs(static_cast<size_t>(2 * num_inputs), 1.0f);
    (void)thresher::Predict(*model, {inputs.data(), 2, num_inputs});
  }
  return 0;
}
