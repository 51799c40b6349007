// Each file of figures/ is a sweep that the server takes.
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "server/jobs/sweep_grid.h"
#include "server/rpc/convert.h"
#include "server/store/error_details.h"

namespace thresher::rpc {
namespace {

TEST(FiguresTest, EveryFileIsASweep) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(THRESHER_FIGURES)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().filename());
    ++files;
    std::ifstream file(entry.path());
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    v1::CreateJobRequest request;
    const auto parsed =
        google::protobuf::util::JsonStringToMessage(text, request.mutable_job()->mutable_sweep());
    ASSERT_TRUE(parsed.ok()) << parsed.ToString();
    const auto converted = FromProto(request);
    ASSERT_TRUE(converted.ok()) << converted.status();
    const auto& spec = std::get<store::SweepSpec>(converted->spec);
    const absl::Status status = jobs::ValidateSweep(spec);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_LE(jobs::NumCells(spec), jobs::kMaxSweepCells);
  }
  EXPECT_GE(files, 10);
}

}  // namespace
}  // namespace thresher::rpc
