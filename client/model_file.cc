#include "client/model_file.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/formatting.h"
#include "nlohmann/json.hpp"

namespace thresher::client {
namespace {

constexpr int64_t kMaxBytes = int64_t{1} << 30;

std::string FileWord(ModelFileFormat format) { return std::string(ModelFileFormatName(format)); }

std::string Percent(int64_t part, int64_t whole) {
  return whole > 0 ? absl::StrFormat("%.3g %%",
                                     100.0 * static_cast<double>(part) / static_cast<double>(whole))
                   : "-";
}

absl::Status WithPath(const absl::Status& status, const std::string& path) {
  return status.ok() ? status
                     : absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// As a model's file carries it.
struct Metric {
  const char* key;
  const char* before;
  const char* after;
  std::string (*format)(double value);
};
constexpr Metric kMetrics[] = {{"accuracy", "", " right", FormatAccuracy},
                               {"r_squared", "R^2 ", "", FormatNumber},
                               {"psnr_db", "PSNR ", "", FormatDecibel},
                               {"mean_loss", "loss ", "", FormatNumber},
                               {"relative_residual", "relative residual ", "", FormatNumber}};

// On one set of samples, beside those of the network that was given.
void AddFit(const std::map<std::string, std::string>& metadata, const std::string& prefix,
            const char* name, std::vector<Field>& fields) {
  const auto value_of = [&metadata](const std::string& key, double& value) {
    const auto found = metadata.find(key);
    return found != metadata.end() && absl::SimpleAtod(found->second, &value);
  };
  std::vector<std::string> texts;
  for (const Metric& metric : kMetrics) {
    double value = 0;
    if (!value_of(prefix + metric.key, value)) continue;
    std::string& text =
        texts.emplace_back(absl::StrCat(metric.before, metric.format(value), metric.after));
    if (value_of(absl::StrCat("given_", prefix, metric.key), value)) {
      absl::StrAppend(&text, " (", metric.format(value), " as given)");
    }
  }
  if (!texts.empty()) fields.push_back({name, absl::StrJoin(texts, ", ")});
}

}  // namespace

v1::ModelFormat ModelFormatOf(const std::string& path) {
  if (absl::EndsWithIgnoreCase(path, ".png")) return v1::MODEL_FORMAT_PNG;
  const auto format = ModelFileFormatOfPath(path);
  v1::ModelFormat result = v1::MODEL_FORMAT_UNSPECIFIED;
  if (format) {
    v1::ModelFormat_Parse(absl::StrCat("MODEL_FORMAT_", absl::AsciiStrToUpper(FileWord(*format))),
                          &result);
  }
  return result;
}

std::string EndingOf(v1::ModelFormat format) {
  switch (format) {
    case v1::MODEL_FORMAT_JSON:
      return ".json";
    case v1::MODEL_FORMAT_SAFETENSORS:
      return ".safetensors";
    case v1::MODEL_FORMAT_ONNX:
    case v1::MODEL_FORMAT_ONNX_SPARSE:
      return ".onnx";
    case v1::MODEL_FORMAT_C_HEADER:
      return ".h";
    case v1::MODEL_FORMAT_PNG:
      return ".png";
    default:
      return ".npz";
  }
}

absl::StatusOr<ModelFileFormat> ToFileFormat(v1::ModelFormat format, const std::string& path) {
  if (format == v1::MODEL_FORMAT_PNG) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": a PNG is made by the server only, from one of its models (models download)"));
  }
  const std::string name = v1::ModelFormat_Name(format);
  const auto found =
      ModelFileFormatOfName(absl::AsciiStrToLower(absl::StripPrefix(name, "MODEL_FORMAT_")));
  if (found) return *found;
  return absl::InvalidArgumentError(absl::StrCat(
      path,
      ": the name does not say the format; end it in .npz, .json, .safetensors, .onnx or .h, "
      "or give the format by a flag"));
}

absl::StatusOr<Model> ReadModelAt(const std::string& path, v1::ModelFormat format) {
  const auto file_format = ToFileFormat(format, path);
  if (!file_format.ok()) return file_format.status();
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return absl::NotFoundError(absl::StrCat(path, ": ", error.message()));
  if (size > static_cast<uintmax_t>(kMaxBytes)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": larger than ", FormatBytes(kMaxBytes)));
  }
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  absl::StatusOr<Model> model = ReadModelFile(*file_format, bytes, 4 * kMaxBytes);
  if (!model.ok()) return WithPath(absl::InvalidArgumentError(model.status().message()), path);
  return model;
}

absl::StatusOr<int64_t> WriteModelAt(const Model& model, const std::string& path,
                                     v1::ModelFormat format) {
  const auto file_format = ToFileFormat(format, path);
  if (!file_format.ok()) return file_format.status();
  const std::string name = CName(std::filesystem::path(path).stem().string());
  const auto bytes = WriteModelFile(model, *file_format, name, kMaxBytes);
  if (!bytes.ok()) return WithPath(absl::InvalidArgumentError(bytes.status().message()), path);
  const std::string partial_path = path + ".partial";
  std::ofstream file(partial_path, std::ios::binary);
  file << *bytes;
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(partial_path, path, error);
  if (!file || error) {
    std::error_code ignored;
    std::filesystem::remove(partial_path, ignored);
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be written"));
  }
  return static_cast<int64_t>(bytes->size());
}

std::string ReportPage(const ModelReport& report,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<Field> fields = {
      {"weights", absl::StrCat(report.nonzeros, " of ", report.dense_weights, ", ",
                               Percent(report.nonzeros, report.dense_weights))},
      {"multiply-adds",
       absl::StrCat(report.multiply_adds, " of ", report.dense_multiply_adds, " a sample")},
      {"dense weights", FormatBytes(report.dense_bytes)}};
  AddFit(metadata, "", "training", fields);
  AddFit(metadata, "held_out_", "held out", fields);
  std::string page = FormatFields(fields);
  if (report.has_given) page += "Dense is the network that was given.\n";
  if (!report.layers.empty()) {
    std::vector<std::vector<std::string>> rows = {{"LAYER", "INPUTS", "UNITS", "WEIGHTS"}};
    for (const LayerReport& layer : report.layers) {
      rows.push_back({absl::StrCat(rows.size()), absl::StrCat(layer.num_inputs),
                      absl::StrCat(layer.num_units), absl::StrCat(layer.nonzeros)});
    }
    absl::StrAppend(&page, "\n", FormatTable(rows));
  }
  std::vector<std::vector<std::string>> files = {{"FORMAT", "SIZE", "OF DENSE"}};
  std::vector<std::string> larger;
  for (const FileSize& file : report.files) {
    files.push_back({FileWord(file.format), file.bytes ? FormatBytes(*file.bytes) : "-",
                     file.bytes ? Percent(*file.bytes, report.dense_bytes) : "-"});
    if (file.bytes && *file.bytes >= report.dense_bytes) larger.push_back(FileWord(file.format));
  }
  absl::StrAppend(&page, "\n", FormatTable(files));
  if (!report.latencies.empty()) {
    std::vector<std::vector<std::string>> rows = {{"BATCH", "SPARSE", "DENSE", "FASTER"}};
    for (const LatencyReport& each : report.latencies) {
      rows.push_back({absl::StrCat(each.batch), FormatSeconds(each.sparse_seconds),
                      FormatSeconds(each.dense_seconds),
                      absl::StrFormat("%.2f x", each.dense_seconds / each.sparse_seconds)});
    }
    absl::StrAppend(&page, "\n", FormatTable(rows));
  }
  for (const std::string& format : larger) {
    absl::StrAppend(&page, "As ", format, " it is not smaller than its dense weights.\n");
  }
  for (const LatencyReport& each : report.latencies) {
    if (each.sparse_seconds < each.dense_seconds) continue;
    absl::StrAppend(&page, "At a batch of ", each.batch, " it is not faster than dense.\n");
  }
  return page;
}

std::string ReportJson(const ModelReport& report) {
  nlohmann::ordered_json object = {{"hasGiven", report.has_given},
                                   {"nonzeros", report.nonzeros},
                                   {"denseWeights", report.dense_weights},
                                   {"multiplyAdds", report.multiply_adds},
                                   {"denseMultiplyAdds", report.dense_multiply_adds},
                                   {"denseBytes", report.dense_bytes}};
  object["layers"] = nlohmann::ordered_json::array();
  for (const LayerReport& layer : report.layers) {
    object["layers"].push_back({{"numInputs", layer.num_inputs},
                                {"numUnits", layer.num_units},
                                {"nonzeros", layer.nonzeros}});
  }
  object["fileBytes"] = nlohmann::ordered_json::object();
  for (const FileSize& file : report.files) {
    if (file.bytes) object["fileBytes"][FileWord(file.format)] = *file.bytes;
  }
  object["latencies"] = nlohmann::ordered_json::array();
  for (const LatencyReport& each : report.latencies) {
    object["latencies"].push_back({{"batch", each.batch},
                                   {"sparseSeconds", each.sparse_seconds},
                                   {"denseSeconds", each.dense_seconds}});
  }
  return object.dump();
}

}  // namespace thresher::client
