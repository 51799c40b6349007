#include "core/samples/class_targets.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/samples/number_text.h"

namespace thresher {
namespace {

constexpr size_t kMostClasses = 1000;

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, 60)), text.size() > 60 ? "..." : "",
                      "'");
}

// Labels that are not finite, or so large that different ones would become one number, stay text.
std::optional<double> AsNumber(const std::string& text) {
  constexpr double kMost = 9007199254740992;  // 2^53
  const std::optional<double> value = ParseNumber(text);
  return value.has_value() && std::abs(*value) < kMost ? value : std::nullopt;
}

// The classes there are, sorted, and the class of each label.
struct ClassList {
  bool numeric = true;
  std::vector<std::string> names;
  std::vector<size_t> class_of_label;
};

ClassList ListClasses(const std::vector<std::string>& labels) {
  ClassList list;
  std::vector<double> numbers;
  for (const std::string& label : labels) {
    const std::optional<double> number = AsNumber(label);
    if (!number.has_value()) {
      list.numeric = false;
      break;
    }
    numbers.push_back(*number);
  }
  list.class_of_label.resize(labels.size());
  if (list.numeric) {
    std::map<double, size_t> class_of_number;
    for (const double number : numbers) class_of_number.emplace(number, 0);
    for (auto& [number, index] : class_of_number) {
      index = list.names.size();
      list.names.push_back(NumberText(number));
    }
    for (size_t i = 0; i < labels.size(); ++i) {
      list.class_of_label[i] = class_of_number.at(numbers[i]);
    }
  } else {
    std::map<std::string, size_t> class_of_text;
    for (const std::string& label : labels) class_of_text.emplace(label, 0);
    for (auto& [text, index] : class_of_text) {
      index = list.names.size();
      list.names.push_back(text);
    }
    for (size_t i = 0; i < labels.size(); ++i) {
      list.class_of_label[i] = class_of_text.at(labels[i]);
    }
  }
  return list;
}

std::string Listed(const std::vector<std::string>& names) {
  constexpr size_t kMostShown = 20;
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kMostShown); ++i) {
    absl::StrAppend(&list, i > 0 ? ", " : "", Quoted(names[i]));
  }
  if (names.size() > kMostShown) {
    absl::StrAppend(&list, " and ", names.size() - kMostShown, " more");
  }
  return list;
}

}  // namespace

absl::Status SetClassTargets(const Labels& labels, const std::vector<std::string>& classes,
                             int64_t max_bytes, Samples& samples) {
  if (static_cast<int64_t>(labels.of_sample.size()) != samples.num_samples) {
    return absl::InvalidArgumentError(absl::StrCat(
        "targets: ", labels.of_sample.size(), " labels for ", samples.num_samples, " samples"));
  }
  const ClassList list = ListClasses(labels.names);

  // target_of_class: position among the classes that are kept, -1 for the rest.
  std::vector<int32_t> target_of_class(list.names.size(), -1);
  std::vector<std::string> kept_names;
  if (classes.empty()) {
    kept_names = list.names;
    for (size_t c = 0; c < list.names.size(); ++c) target_of_class[c] = static_cast<int32_t>(c);
  }
  for (const std::string& wanted : classes) {
    const std::optional<double> number = list.numeric ? AsNumber(wanted) : std::nullopt;
    const std::string name = number.has_value() ? NumberText(*number) : wanted;
    const auto found = std::find(list.names.begin(), list.names.end(), name);
    if (found == list.names.end()) {
      return absl::InvalidArgumentError(absl::StrCat("classes: no sample has class ",
                                                     Quoted(wanted), "; the classes are ",
                                                     Listed(list.names)));
    }
    int32_t& target = target_of_class[found - list.names.begin()];
    if (target >= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("classes: class ", Quoted(wanted), " is given twice"));
    }
    target = static_cast<int32_t>(kept_names.size());
    kept_names.push_back(name);
  }
  if (kept_names.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("classes: at least two are needed, there is only ", Listed(kept_names)));
  }
  if (kept_names.size() > kMostClasses) {
    return absl::InvalidArgumentError(
        absl::StrCat("classes: ", kept_names.size(), " distinct labels, at most ", kMostClasses,
                     " are taken; choose some, or read the targets as numbers"));
  }

  int64_t num_kept = 0;
  for (const int32_t label : labels.of_sample) {
    if (target_of_class[list.class_of_label[label]] >= 0) ++num_kept;
  }
  const int64_t num_outputs = kept_names.size() == 2 ? 1 : static_cast<int64_t>(kept_names.size());
  if (num_kept >
      max_bytes / static_cast<int64_t>(sizeof(float)) / (num_outputs + samples.num_inputs)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the samples would hold more than the limit of ", max_bytes, " bytes"));
  }
  samples.targets.assign(num_kept * num_outputs, 0);
  int64_t row = 0;
  for (int64_t i = 0; i < samples.num_samples; ++i) {
    const int32_t target = target_of_class[list.class_of_label[labels.of_sample[i]]];
    if (target < 0) continue;
    if (num_outputs == 1) {
      samples.targets[row] = static_cast<float>(target);
    } else {
      samples.targets[row * num_outputs + target] = 1;
    }
    if (row != i) {
      const auto from = samples.inputs.begin() + i * samples.num_inputs;
      std::copy(from, from + samples.num_inputs, samples.inputs.begin() + row * samples.num_inputs);
    }
    ++row;
  }
  samples.num_samples = num_kept;
  samples.num_outputs = num_outputs;
  samples.inputs.resize(num_kept * samples.num_inputs);
  samples.inputs.shrink_to_fit();
  samples.class_names = std::move(kept_names);
  return absl::OkStatus();
}

}  // namespace thresher
