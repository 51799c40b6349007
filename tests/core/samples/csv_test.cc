#include "core/samples/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/network/model.h"

namespace thresher {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

CsvTable Table(const std::string& text, const CsvOptions& options = {.target_columns = {"y"}}) {
  const auto table = ParseCsv(text, options);
  EXPECT_TRUE(table.ok()) << table.status() << " for " << text;
  return table.ok() ? *table : CsvTable{};
}

std::string Error(const std::string& text, const CsvOptions& options = {.target_columns = {"y"}}) {
  const auto table = ParseCsv(text, options);
  EXPECT_TRUE(absl::IsInvalidArgument(table.status())) << table.status() << " for " << text;
  return std::string(table.status().message());
}

TEST(ParseCsvTest, SeparatesTargetsFromInputs) {
  const CsvTable table = Table("a,y,b\n1,2,3\n4,5,6\n");
  EXPECT_EQ(table.num_rows, 2);
  EXPECT_EQ(table.num_inputs, 2);
  EXPECT_THAT(table.inputs, ElementsAre(1, 3, 4, 6));
  EXPECT_THAT(table.targets, ElementsAre(2, 5));
}

TEST(ParseCsvTest, KeepsTheOrderOfTheTargetsAsked) {
  const CsvTable table = Table("a,y,b,z\n1,2,3,4\n5,6,7,8\n",
                               {.target_columns = {"z", "a"}, .ignored_columns = {"b"}});
  EXPECT_THAT(table.targets, ElementsAre(4, 1, 8, 5));
  EXPECT_THAT(table.inputs, ElementsAre(2, 6));
}

TEST(ParseCsvTest, TakesTheSpellingsOfOneTable) {
  for (const char* text :
       {"x,y\n1,2\n3,4\n", "x,y\r\n1,2\r\n3,4\r\n", "x,y\n1,2\n3,4", "\xEF\xBB\xBFx,y\n1,2\n3,4\n",
        "\"x\",\"y\"\n\"1\",2\n3,\"4\"\n", "x,y\n1,2\n3,4\n\n\r\n  \n", " x , y\n 1,2 \n3,\t4\n",
        "x,y\n1e0,+2\n3.,4.00\n", "x,y\r\n1,2\r\n3,4\r"}) {
    const CsvTable table = Table(text);
    EXPECT_THAT(table.inputs, ElementsAre(1, 3)) << text;
    EXPECT_THAT(table.targets, ElementsAre(2, 4)) << text;
  }
}

TEST(ParseCsvTest, TakesQuotedNamesAndLabels) {
  const CsvTable table = Table("x,\"a \"\"b\"\",\nc\"\n1,\"first, \nsecond\"\n2,plain\n3,plain\n",
                               {.target_columns = {"a \"b\",\nc"}, .targets_are_labels = true});
  EXPECT_THAT(table.labels, ElementsAre("first, \nsecond", "plain"));
  EXPECT_THAT(table.label_of_row, ElementsAre(0, 1, 1));
  EXPECT_TRUE(table.targets.empty());
}

TEST(ParseCsvTest, LabelsAreNamesThatAModelCanHave) {
  const CsvOptions labels = {.target_columns = {"y"}, .targets_are_labels = true};
  const std::string longest(kMaxClassNameBytes, 'n');
  EXPECT_THAT(Table("x,y\n1,\xC3\xA9\n2," + longest + "\n", labels).labels,
              ElementsAre("\xC3\xA9", longest));
  EXPECT_THAT(Error("x,y\n1,e\n2,\xE9\n", labels),
              AllOf(HasSubstr("line 3: column 2 ('y')"), HasSubstr("UTF-8")));
  EXPECT_THAT(Error("x,y\n1," + longest + "n\n2,e\n", labels),
              AllOf(HasSubstr("line 2: column 2 ('y')"), HasSubstr("1025 bytes")));
}

TEST(ParseCsvTest, NamesLineAndColumn) {
  EXPECT_THAT(Error("x,y\n1,2\n,4\n"),
              AllOf(HasSubstr("line 3: column 1 ('x')"), HasSubstr("missing value")));
  EXPECT_THAT(Error("x,y\n1,2\n3,\n"), HasSubstr("line 3: column 2 ('y'): missing value"));
  EXPECT_THAT(Error("x,y\n1,abc\n"), HasSubstr("line 2: column 2 ('y'): 'abc' is not a number"));
  EXPECT_THAT(Error("x,y\n1,nan\n"), HasSubstr("'nan' is not finite"));
  EXPECT_THAT(Error("x,y\n-inf,1\n"), HasSubstr("'-inf' is not finite"));
  EXPECT_THAT(Error("x,y\n1e39,1\n"), HasSubstr("beyond the range of float32"));
  EXPECT_THAT(Error("x,y\n1e999,1\n"), HasSubstr("column 1 ('x')"));
  EXPECT_THAT(Error("x,y\n0x10,1\n"), HasSubstr("'0x10' is not a number"));
  EXPECT_THAT(Error("x,y\n\"1,5\",1\n"), HasSubstr("'1,5' is not a number"));
  // A field over two lines moves the count on.
  EXPECT_THAT(Error("x,\"y\n\"\n1,2\n3,?\n", {.target_columns = {"y\n"}}), HasSubstr("line 4:"));
}

TEST(ParseCsvTest, RefusesRowsOfAnotherLength) {
  EXPECT_THAT(Error("x,y\n1,2\n3\n"), HasSubstr("line 3: 1 field, the header has 2"));
  EXPECT_THAT(Error("x,y\n1,2,3\n"), HasSubstr("line 2: 3 fields, the header has 2"));
  EXPECT_THAT(Error("x,y\n1,2\n\n3,4\n"), HasSubstr("line 3: the line is empty"));
  EXPECT_THAT(Error("\nx,y\n1,2\n"), HasSubstr("line 1: the line is empty"));
}

TEST(ParseCsvTest, RefusesWhatIsNoTable) {
  EXPECT_THAT(Error(""), HasSubstr("the file is empty"));
  EXPECT_THAT(Error("\n\n"), HasSubstr("the file is empty"));
  EXPECT_THAT(Error("x,y\n"), HasSubstr("no rows"));
  EXPECT_THAT(Error("x,y"), HasSubstr("no rows"));
  EXPECT_THAT(Error("x,y\r1,2\r3,4\r"), HasSubstr("carriage return"));
  EXPECT_THAT(Error("x,y\n1,2\n3,\"4\n"), HasSubstr("closing quote"));
  EXPECT_THAT(Error("x,y\n1,2\n3,4\"5\n"), HasSubstr("line 3: a stray quote"));
  EXPECT_THAT(Error("x,y\n1,\"2\"3\n"), HasSubstr("line 2: a stray quote"));
  EXPECT_THAT(Error(std::string("x,y\n1,2\0\n", 9)), HasSubstr("not a number"));
}

TEST(ParseCsvTest, NamesColumnsThatAreNotThere) {
  EXPECT_THAT(Error("x,y\n1,2\n", {.target_columns = {"z"}}),
              AllOf(HasSubstr("target_columns: there is no column 'z'"), HasSubstr("'x', 'y'")));
  EXPECT_THAT(Error("x,y\n1,2\n", {.target_columns = {"y"}, .ignored_columns = {"z"}}),
              HasSubstr("ignored_columns: there is no column 'z'"));
  EXPECT_THAT(Error("x,y\n1,2\n", {.target_columns = {"y", "y"}}), HasSubstr("named twice"));
  EXPECT_THAT(Error("x,y\n1,2\n", {.target_columns = {"y"}, .ignored_columns = {"y"}}),
              HasSubstr("named twice"));
  EXPECT_THAT(Error("x,y,x\n1,2,3\n"), HasSubstr("'x' occurs more than once"));
  EXPECT_THAT(Error("y\n1\n"), HasSubstr("no column is left"));
  EXPECT_THAT(Error("x,y\n1,2\n", {.target_columns = {}, .targets_are_labels = true}),
              HasSubstr("target_columns: class labels must be in one column"));
  EXPECT_THAT(Error("x,y,z\n1,2,3\n", {.target_columns = {"y", "z"}, .targets_are_labels = true}),
              HasSubstr("class labels must be in one column"));
  std::string wide = "y";
  for (int k = 0; k < 100; ++k) absl::StrAppend(&wide, ",c", k);
  EXPECT_THAT(Error(wide + "\n", {.target_columns = {"z"}}), HasSubstr("and 81 more"));
}

TEST(ParseCsvTest, BoundsFieldsAndTables) {
  // An unclosed quote must not swallow a large file.
  EXPECT_THAT(Error("x,y\n1,\"" + std::string(3 << 20, 'a')), HasSubstr("longer than"));
  std::string lines = "x,y\n\"";
  for (int k = 0; k < 200000; ++k) lines += "1,2,3,4\n";
  EXPECT_THAT(Error(lines), HasSubstr("longer than"));
  const std::string table = "x,y\n1,2\n3,4\n";
  EXPECT_TRUE(ParseCsv(table, {.target_columns = {"y"}, .max_bytes = 16}).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(
      ParseCsv(table, {.target_columns = {"y"}, .max_bytes = 15}).status()));
}

TEST(ParseCsvTest, ReadsLinesLongerThanItsPieces) {
  std::string text;
  std::string row;
  constexpr int kColumns = 50000;
  for (int k = 0; k < kColumns; ++k) {
    absl::StrAppend(&text, "c", k, ",");
    absl::StrAppend(&row, k, ",");
  }
  const CsvTable table = Table(text + "y\n" + row + "7\n");
  ASSERT_EQ(table.num_inputs, kColumns);
  for (int k = 0; k < kColumns; ++k) ASSERT_EQ(table.inputs[k], static_cast<float>(k));
  EXPECT_THAT(table.targets, ElementsAre(7));
}

}  // namespace
}  // namespace thresher
