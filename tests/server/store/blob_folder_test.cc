#include "server/store/blob_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/server/temporary_directory.h"

namespace thresher::store {
namespace {

class BlobFolderTest : public ::testing::Test {
 protected:
  void SetUp() override { Reopen(); }
  void Reopen() {
    auto folder = BlobFolder::Open(path());
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = std::move(*folder);
  }
  std::string path() const { return directory_.path() + "/blobs"; }
  int NumFiles(const std::string& folder) const {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      count += entry.is_regular_file() ? 1 : 0;
    }
    return count;
  }
  static absl::StatusOr<bool> Unreferenced() { return false; }

  testing::TemporaryDirectory directory_;
  std::unique_ptr<BlobFolder> folder_;
};

TEST_F(BlobFolderTest, HashIsSha256) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_F(BlobFolderTest, RoundTripsPiecesOfAnySize) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + size);
    auto file = folder_->NewTemporaryFile();
    ASSERT_TRUE(file.ok());
    for (size_t begin = 0; begin < size; begin += 70001) {
      ASSERT_TRUE(file->Append(std::string_view(bytes).substr(begin, 70001)).ok());
    }
    auto mapped = file->Map();
    ASSERT_TRUE(mapped.ok());
    EXPECT_EQ(*mapped, bytes);
    auto pin = folder_->Keep(std::move(*file));
    ASSERT_TRUE(pin.ok()) << pin.status();
    EXPECT_EQ(pin->sha256(), Sha256Hex(bytes));
    EXPECT_EQ(pin->size(), static_cast<int64_t>(size));
    auto read = folder_->Get(pin->sha256());
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, bytes);
    const auto blob = folder_->Map(pin->sha256());
    ASSERT_TRUE(blob.ok()) << blob.status();
    EXPECT_EQ(blob->bytes, bytes);
  }
}

TEST_F(BlobFolderTest, EqualBytesAreOneFile) {
  ASSERT_TRUE(folder_->Put("same").ok());
  ASSERT_TRUE(folder_->Put("same").ok());
  EXPECT_EQ(NumFiles(path()), 1);
  EXPECT_EQ(NumFiles(path() + "/tmp"), 0);
}

TEST_F(BlobFolderTest, TornTemporaryFilesGoAtTheNextStart) {
  std::ofstream(path() + "/tmp/123-4") << "half a bl";
  Reopen();
  EXPECT_EQ(NumFiles(path() + "/tmp"), 0);
}

TEST_F(BlobFolderTest, AnAbandonedTemporaryFileIsRemoved) {
  {
    auto file = folder_->NewTemporaryFile();
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Append("x").ok());
    EXPECT_EQ(NumFiles(path() + "/tmp"), 1);
  }
  EXPECT_EQ(NumFiles(path() + "/tmp"), 0);
}

TEST_F(BlobFolderTest, DamageIsDataLossAndAbsenceNotFound) {
  auto pin = folder_->Put("precious");
  ASSERT_TRUE(pin.ok());
  std::ofstream(path() + "/" + pin->sha256()) << "precioux";
  EXPECT_EQ(folder_->Get(pin->sha256()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(folder_->Get(Sha256Hex("never")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(folder_->Get("../../etc/passwd").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(folder_->Map(pin->sha256()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(folder_->Map(Sha256Hex("never")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(folder_->Map("../../etc/passwd").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BlobFolderTest, AMappedBlobOutlivesItsFile) {
  std::string sha256;
  {
    auto pin = folder_->Put("precious");
    ASSERT_TRUE(pin.ok());
    sha256 = pin->sha256();
  }
  const auto blob = folder_->Map(sha256);
  ASSERT_TRUE(blob.ok()) << blob.status();
  ASSERT_TRUE(folder_->Collect(sha256, Unreferenced).ok());
  EXPECT_EQ(NumFiles(path()), 0);
  EXPECT_EQ(blob->bytes, "precious");
}

TEST_F(BlobFolderTest, CollectsOnlyWhatNobodyNeeds) {
  std::string sha256;
  {
    auto pin = folder_->Put("blob");
    ASSERT_TRUE(pin.ok());
    sha256 = pin->sha256();
    ASSERT_TRUE(folder_->Collect(sha256, Unreferenced).ok());
    EXPECT_TRUE(folder_->Get(sha256).ok()) << "pinned";
  }
  ASSERT_TRUE(folder_->Collect(sha256, [] { return absl::StatusOr<bool>(true); }).ok());
  EXPECT_TRUE(folder_->Get(sha256).ok()) << "referenced";
  ASSERT_TRUE(folder_->Collect(sha256, Unreferenced).ok());
  EXPECT_FALSE(folder_->Get(sha256).ok());
  EXPECT_TRUE(folder_->Collect(sha256, Unreferenced).ok()) << "collecting twice does no harm";
}

TEST_F(BlobFolderTest, CollectAllButKeepsTheKept) {
  auto kept = folder_->Put("kept");
  auto lost = folder_->Put("lost");
  ASSERT_TRUE(kept.ok() && lost.ok());
  auto removed = folder_->CollectAllBut({kept->sha256()});
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(*removed, 1);
  EXPECT_TRUE(folder_->Get(kept->sha256()).ok());
}

}  // namespace
}  // namespace thresher::store
