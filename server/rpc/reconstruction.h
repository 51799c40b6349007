// The image that a model stands for.
#ifndef THRESHER_SERVER_RPC_RECONSTRUCTION_H_
#define THRESHER_SERVER_RPC_RECONSTRUCTION_H_

#include <string>

#include "absl/status/statusor.h"
#include "server/rpc/call.h"
#include "server/store/model_store.h"

namespace thresher::rpc {

struct Reconstruction {
  std::string png;
  // Of the values before they are clamped and rounded to 8 bits, with the peak 1.
  double psnr_db = 0;
};

// The outputs of the model on the samples of its data set, which must be an image, as pixels. Looks
// between rows whether the client still waits.
// Errors: INVALID_ARGUMENT `format` for a model of no image; NOT_FOUND when the data set is no
// more.
absl::StatusOr<Reconstruction> Reconstruct(const ServiceContext& context,
                                           const grpc::CallbackServerContext& call,
                                           const store::ModelRecord& model);

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_RECONSTRUCTION_H_
