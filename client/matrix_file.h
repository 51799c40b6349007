#ifndef THRESHER_CLIENT_MATRIX_FILE_H_
#define THRESHER_CLIENT_MATRIX_FILE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "thresher/v1/model_service.pb.h"

namespace thresher::client {

// Inputs for a prediction, read by the client. Deliberately small: data sets are parsed by the
// server, which reads more.
//
// Errors are INVALID_ARGUMENT, with the line and column of the file where there is one.

// A file by its ending, .csv or .npy, of at most 1 GiB.
absl::StatusOr<v1::Matrix> ReadMatrixFile(const std::string& path);

// Numbers separated by commas, one sample a line, all lines equally long; a first line without
// any number is a header. No quotes. Blank lines are skipped.
absl::StatusOr<v1::Matrix> ParseCsvMatrix(std::string_view text);

// NumPy array, n x d or n (n samples of one input), little-endian f4 or f8, C order.
absl::StatusOr<v1::Matrix> ParseNpyMatrix(std::string_view bytes);

// Each row as "1,2,3".
absl::StatusOr<v1::Matrix> ParseRows(const std::vector<std::string>& rows);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_MATRIX_FILE_H_
