#include "client/matrix_file.h"

#include <cmath>
#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// An .npy file of version 1 with this header text and these values.
template <typename Value>
std::string Npy(const std::string& header, const std::vector<Value>& values) {
  std::string bytes("\x93NUMPY\x01\x00", 8);
  const auto size = static_cast<uint16_t>(header.size());
  bytes.append(reinterpret_cast<const char*>(&size), 2);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value));
  return bytes;
}

std::string Header(const std::string& type, const std::string& shape, bool fortran = false) {
  return absl::StrCat("{'descr': '", type, "', 'fortran_order': ", fortran ? "True" : "False",
                      ", 'shape': ", shape, ", }          \n");
}

void ExpectConsistent(const v1::Matrix& matrix) {
  EXPECT_GE(matrix.num_rows(), 1);
  EXPECT_GE(matrix.num_columns(), 1);
  EXPECT_EQ(matrix.num_rows() * matrix.num_columns(), matrix.values_size());
}

TEST(ParseCsvMatrix, ReadsNumbersWithAndWithoutHeader) {
  for (const char* text :
       {"1,2.5\n-3,4e2\n", "a,b\n1,2.5\n-3,4e2", "\r\n1, 2.5\r\n\n-3 ,4e2\r\n"}) {
    const auto matrix = ParseCsvMatrix(text);
    ASSERT_TRUE(matrix.ok()) << matrix.status();
    EXPECT_EQ(matrix->num_rows(), 2);
    EXPECT_EQ(matrix->num_columns(), 2);
    EXPECT_THAT(matrix->values(), ElementsAre(1.0f, 2.5f, -3.0f, 400.0f));
  }
}

TEST(ParseCsvMatrix, SaysWhereItIsWrong) {
  const auto message = [](const char* text) {
    const auto matrix = ParseCsvMatrix(text);
    EXPECT_TRUE(absl::IsInvalidArgument(matrix.status())) << text;
    return std::string(matrix.status().message());
  };
  EXPECT_THAT(message("1,2\n3,x\n"), HasSubstr("line 2, column 2"));
  EXPECT_THAT(message("a,b\n1,2\n\n3,nan\n"), HasSubstr("line 4, column 2"));
  EXPECT_THAT(message("1,2\n3\n"), HasSubstr("line 2 has 1 columns"));
  EXPECT_THAT(message("1,1e99\n"), HasSubstr("column 2"));
  EXPECT_THAT(message("1,\n"), HasSubstr("column 2"));
  EXPECT_THAT(message(""), HasSubstr("no numbers"));
  EXPECT_THAT(message("a,b\n"), HasSubstr("no numbers"));
  EXPECT_THAT(message("a,b\nc,d\n"), HasSubstr("line 2, column 1"));
}

TEST(ParseRows, TakesEachAsASample) {
  const auto matrix = ParseRows({"1,2,3", "4,5,6"});
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ(matrix->num_rows(), 2);
  EXPECT_THAT(matrix->values(), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_FALSE(ParseRows({"1,2", "3"}).ok());
  EXPECT_FALSE(ParseRows({"a,b"}).ok());
  EXPECT_FALSE(ParseRows({}).ok());
}

TEST(ParseNpyMatrix, ReadsBothPrecisionsAndOneOrTwoDimensions) {
  const auto single = ParseNpyMatrix(Npy<float>(Header("<f4", "(2, 3)"), {1, 2, 3, 4, 5, 6}));
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_EQ(single->num_rows(), 2);
  EXPECT_EQ(single->num_columns(), 3);
  EXPECT_THAT(single->values(), ElementsAre(1, 2, 3, 4, 5, 6));
  const auto column = ParseNpyMatrix(Npy<double>(Header("<f8", "(2,)"), {1.5, -2}));
  ASSERT_TRUE(column.ok()) << column.status();
  EXPECT_EQ(column->num_rows(), 2);
  EXPECT_EQ(column->num_columns(), 1);
  EXPECT_THAT(column->values(), ElementsAre(1.5f, -2.0f));
}

TEST(ParseNpyMatrix, RefusesWhatItDoesNotReadWithARemedy) {
  const auto message = [](const std::string& bytes) {
    const auto matrix = ParseNpyMatrix(bytes);
    EXPECT_TRUE(absl::IsInvalidArgument(matrix.status()));
    return std::string(matrix.status().message());
  };
  EXPECT_THAT(message(Npy<float>(Header("<f4", "(2, 2)", true), {1, 2, 3, 4})),
              HasSubstr("ascontiguousarray"));
  EXPECT_THAT(message(Npy<int>(Header("<i4", "(2, 2)"), {1, 2, 3, 4})), HasSubstr("astype"));
  EXPECT_THAT(message(Npy<float>(Header(">f4", "(2, 2)"), {1, 2, 3, 4})), HasSubstr("astype"));
  EXPECT_THAT(message(Npy<float>(Header("<f4", "(1, 2, 2)"), {1, 2, 3, 4})),
              HasSubstr("dimensions"));
  EXPECT_THAT(message(Npy<float>(Header("<f4", "(2, 3)"), {1, 2, 3, 4})), HasSubstr("size"));
  EXPECT_THAT(message(Npy<float>(Header("<f4", "(0, 3)"), {})), HasSubstr("empty"));
  EXPECT_THAT(message(Npy<float>(Header("<f4", "(999999999999999999, 999999999999999999)"), {1})),
              HasSubstr("size"));
  EXPECT_THAT(message(Npy<float>(Header("<f4", "(1, 2)"), {1, std::nanf("")})),
              HasSubstr("row 1, column 2"));
  EXPECT_THAT(message(Npy<double>(Header("<f8", "(1, 1)"), {1e300})), HasSubstr("row 1"));
  EXPECT_THAT(message("PK\x03\x04"), HasSubstr("not an .npy"));
}

TEST(ParseNpyMatrix, SurvivesDamageInAnyByte) {
  const std::string good = Npy<float>(Header("<f4", "(2, 3)"), {1, 2, 3, 4, 5, 6});
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(ParseNpyMatrix(good.substr(0, size)).ok()) << size;
  }
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char byte : {'\x00', '\x01', '9', '(', '\x7f', '\xff'}) {
      std::string damaged = good;
      damaged[i] = byte;
      const auto matrix = ParseNpyMatrix(damaged);
      if (matrix.ok()) ExpectConsistent(*matrix);
    }
  }
}

TEST(ReadMatrixFile, GoesByTheEndingAndNamesTheFile) {
  const std::string path = testing::TempDir() + "/matrix_file_test.csv";
  std::ofstream(path) << "1,2\n3,4\n";
  const auto matrix = ReadMatrixFile(path);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  ExpectConsistent(*matrix);
  std::ofstream(path) << "1,2\n3,x\n";
  EXPECT_THAT(std::string(ReadMatrixFile(path).status().message()), HasSubstr(path));
  std::remove(path.c_str());
  EXPECT_TRUE(absl::IsInvalidArgument(ReadMatrixFile(path).status()));
  EXPECT_THAT(std::string(ReadMatrixFile("x.bin").status().message()), HasSubstr(".npy"));
}

}  // namespace
}  // namespace thresher::client
