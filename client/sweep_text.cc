#include "client/sweep_text.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/formatting.h"
#include "client/job_text.h"
#include "google/protobuf/util/json_util.h"

namespace thresher::client {
namespace {

constexpr std::streamsize kMaxFileBytes = 1 << 20;
// As the exact-recovery figures of the paper count it.
constexpr double kSuccessPsnrDb = 120;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

std::optional<double> PsnrOf(const v1::SweepCell& row) {
  if (row.has_held_out_psnr_db()) return row.held_out_psnr_db();
  if (row.has_training_psnr_db()) return row.training_psnr_db();
  return std::nullopt;
}

std::optional<double> Success(const v1::SweepCell& row) {
  if (row.state() == v1::SWEEP_CELL_STATE_CANCELLED) return std::nullopt;
  if (row.state() != v1::SWEEP_CELL_STATE_SUCCEEDED) return 0;
  return row.exact() || PsnrOf(row).value_or(0) >= kSuccessPsnrDb ? 1 : 0;
}

std::optional<double> Median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string StateText(v1::SweepCellState state) {
  const std::string name = v1::SweepCellState_Name(state);
  return absl::StartsWith(name, "SWEEP_CELL_STATE_") ? name.substr(sizeof("SWEEP_CELL_STATE"))
                                                     : absl::StrCat(static_cast<int>(state));
}

std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string Digits(double value) { return absl::StrFormat("%.9g", value); }

}  // namespace

absl::StatusOr<v1::SweepSpec> ReadSweepFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  std::string text(static_cast<size_t>(kMaxFileBytes) + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.gcount() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has more than 1 MiB; is it a sweep?"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  v1::SweepSpec spec;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &spec);
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ": is no sweep in JSON: ", std::string(status.message().data(), status.message().size())));
  }
  return spec;
}

const std::vector<std::string>& SweepParameters() {
  static const auto& names =
      *new std::vector<std::string>{"hidden_width", "nonzeros", "num_samples", "seed"};
  return names;
}

const std::vector<std::string>& SweepMeasures() {
  static const auto& names = *new std::vector<std::string>{
      "psnr_db", "relative_residual", "accuracy",         "error",         "success",
      "seconds", "memory_bytes",      "network_nonzeros", "active_neurons"};
  return names;
}

std::optional<double> ValueOf(const v1::SweepCell& row, const std::string& name) {
  if (name == "hidden_width") return static_cast<double>(row.hidden_width());
  if (name == "nonzeros") return static_cast<double>(row.nonzeros());
  if (name == "num_samples") return static_cast<double>(row.num_samples());
  if (name == "seed") return static_cast<double>(row.seed());
  if (name == "success") return Success(row);
  if (row.state() != v1::SWEEP_CELL_STATE_SUCCEEDED) return std::nullopt;
  if (name == "psnr_db") return PsnrOf(row);
  if (name == "relative_residual") {
    if (row.has_held_out_relative_residual()) return row.held_out_relative_residual();
    if (row.has_training_relative_residual()) return row.training_relative_residual();
    return std::nullopt;
  }
  if (name == "accuracy") {
    if (row.has_held_out_accuracy()) return row.held_out_accuracy();
    if (row.has_training_accuracy()) return row.training_accuracy();
    return std::nullopt;
  }
  if (name == "error") {
    const std::optional<double> accuracy = ValueOf(row, "accuracy");
    return accuracy ? std::optional<double>(1 - *accuracy) : std::nullopt;
  }
  if (name == "seconds" && row.has_elapsed()) return Seconds(row.elapsed());
  if (name == "memory_bytes" && row.predicted_peak_memory_bytes() > 0) {
    return static_cast<double>(row.predicted_peak_memory_bytes());
  }
  if (name == "network_nonzeros") return static_cast<double>(row.network_nonzeros());
  if (name == "active_neurons") return static_cast<double>(row.active_neurons());
  return std::nullopt;
}

std::string MainMeasure(const v1::SweepReport& report) {
  const bool classes = std::any_of(report.rows().begin(), report.rows().end(),
                                   [](const auto& row) { return row.has_training_accuracy(); });
  return classes ? "accuracy" : "psnr_db";
}

v1::SweepReport WithGivenModel(const v1::SweepReport& report) {
  v1::SweepReport result = report;
  std::set<std::pair<int64_t, uint64_t>> seen;
  for (const v1::SweepCell& row : report.rows()) {
    if (row.given_nonzeros() == 0) continue;
    if (!seen.emplace(row.num_samples(), row.seed()).second) continue;
    v1::SweepCell& given = *result.add_rows();
    given.set_method("(given)");
    given.set_state(v1::SWEEP_CELL_STATE_SUCCEEDED);
    given.set_nonzeros(row.given_nonzeros());
    given.set_network_nonzeros(row.given_nonzeros());
    given.set_num_samples(row.num_samples());
    given.set_seed(row.seed());
    const v1::PruningFit& training = row.given_training();
    const v1::PruningFit& held_out = row.given_held_out();
    if (training.has_psnr_db()) given.set_training_psnr_db(training.psnr_db());
    if (held_out.has_psnr_db()) given.set_held_out_psnr_db(held_out.psnr_db());
    if (training.has_accuracy()) given.set_training_accuracy(training.accuracy());
    if (held_out.has_accuracy()) given.set_held_out_accuracy(held_out.accuracy());
  }
  return result;
}

std::string SweepProgressText(const v1::SweepProgress& progress) {
  std::string text =
      absl::StrCat(progress.cells_done(), " of ", FormatCount(progress.cells_total(), "cell"));
  if (progress.cells_failed() > 0) absl::StrAppend(&text, ", ", progress.cells_failed(), " failed");
  if (progress.has_left() && progress.cells_done() < progress.cells_total()) {
    absl::StrAppend(&text, ", about ", FormatDuration(progress.left()), " left");
  }
  return text;
}

std::string SweepTable(const v1::SweepReport& cells) {
  if (cells.rows().empty()) return "";
  const v1::SweepReport report = WithGivenModel(cells);
  // Methods in the order of the sweep.
  std::map<std::string, size_t> order;
  for (const v1::SweepCell& row : report.rows()) order.try_emplace(row.method(), order.size());
  // Pruned models have no width of the sweep. Beside them is one at most, which then does not part
  // the methods of a budget.
  std::set<int64_t> widths;
  for (const v1::SweepCell& row : report.rows()) {
    if (row.hidden_width() != 0) widths.insert(row.hidden_width());
  }
  using Key = std::tuple<int64_t, int64_t, int64_t, size_t>;
  std::map<Key, std::vector<const v1::SweepCell*>> groups;
  for (const v1::SweepCell& row : report.rows()) {
    const int64_t width = widths.size() > 1 ? row.hidden_width() : 0;
    groups[{row.num_samples(), width, row.nonzeros(), order[row.method()]}].push_back(&row);
  }
  const auto has = [&](const char* name) {
    return std::any_of(report.rows().begin(), report.rows().end(),
                       [&](const auto& row) { return ValueOf(row, name).has_value(); });
  };
  const bool psnr = has("psnr_db");
  const bool accuracy = has("accuracy");
  std::vector<std::vector<std::string>> lines = {{"SAMPLES"}};
  if (!widths.empty()) lines[0].push_back("WIDTH");
  lines[0].insert(lines[0].end(), {"NONZEROS", "METHOD", "FOUND"});
  if (psnr) lines[0].push_back("PSNR");
  const bool counts_exact = psnr && !accuracy;  // classes are never met to rounding
  if (counts_exact) lines[0].push_back("EXACT");
  if (accuracy) lines[0].push_back("ACCURACY");
  lines[0].insert(lines[0].end(), {"MEMORY", "TIME", "FAILED"});
  const auto num_ended = [](const auto& rows, v1::SweepCellState state) {
    return std::count_if(rows.begin(), rows.end(),
                         [state](const v1::SweepCell* row) { return row->state() == state; });
  };
  const bool cancelled = std::any_of(
      report.rows().begin(), report.rows().end(),
      [](const v1::SweepCell& row) { return row.state() == v1::SWEEP_CELL_STATE_CANCELLED; });
  if (cancelled) lines[0].push_back("CANCELLED");
  for (const auto& [key, rows] : groups) {
    const auto median = [&rows = rows](const char* name) {
      std::vector<double> values;
      for (const v1::SweepCell* row : rows) {
        if (const auto value = ValueOf(*row, name)) values.push_back(*value);
      }
      return Median(std::move(values));
    };
    const v1::SweepCell& first = *rows.front();
    std::vector<std::string> line = {absl::StrCat(first.num_samples())};
    if (!widths.empty()) {
      line.push_back(first.hidden_width() == 0 ? "-" : absl::StrCat(first.hidden_width()));
    }
    line.insert(line.end(), {absl::StrCat(first.nonzeros()), first.method()});
    const auto add = [&](const char* name, const auto& format) {
      const auto value = median(name);
      line.push_back(value ? format(*value) : "-");
    };
    const auto num_cancelled = num_ended(rows, v1::SWEEP_CELL_STATE_CANCELLED);
    add("network_nonzeros", [](double count) { return absl::StrCat(std::llround(count)); });
    if (psnr) add("psnr_db", FormatDecibel);
    if (counts_exact) {
      const auto exact = std::count_if(rows.begin(), rows.end(), [](const v1::SweepCell* row) {
        return Success(*row).value_or(0) == 1;
      });
      line.push_back(
          absl::StrCat(exact, " of ", static_cast<int64_t>(rows.size()) - num_cancelled));
    }
    if (accuracy) add("accuracy", FormatAccuracy);
    add("memory_bytes", [](double bytes) { return FormatBytes(std::llround(bytes)); });
    add("seconds", FormatSeconds);
    line.push_back(absl::StrCat(num_ended(rows, v1::SWEEP_CELL_STATE_FAILED)));
    if (cancelled) line.push_back(absl::StrCat(num_cancelled));
    lines.push_back(std::move(line));
  }
  return FormatTable(lines);
}

std::string SweepErrors(const v1::SweepReport& report) {
  constexpr size_t kMostShown = 10;
  std::map<std::string, int64_t> counts;
  for (const v1::SweepCell& row : report.rows()) {
    if (row.state() == v1::SWEEP_CELL_STATE_FAILED) ++counts[row.error().message()];
  }
  std::vector<std::pair<int64_t, std::string>> errors;
  errors.reserve(counts.size());
  for (const auto& [message, count] : counts) errors.emplace_back(-count, message);
  std::sort(errors.begin(), errors.end());
  std::string text;
  for (size_t i = 0; i < std::min(errors.size(), kMostShown); ++i) {
    absl::StrAppend(&text, FormatCount(-errors[i].first, "cell"),
                    " failed: ", Printable(errors[i].second), "\n");
  }
  if (errors.size() > kMostShown) {
    absl::StrAppend(&text, "and ", errors.size() - kMostShown, " other errors\n");
  }
  return text;
}

bool AllFailed(const v1::SweepReport& report) {
  return report.rows_size() > 0 &&
         std::all_of(report.rows().begin(), report.rows().end(), [](const v1::SweepCell& row) {
           return row.state() == v1::SWEEP_CELL_STATE_FAILED;
         });
}

std::string SweepCsv(const v1::SweepReport& report) {
  std::string csv =
      "cell,method,hidden_width,nonzeros,num_samples,seed,state,termination_reason,"
      "network_nonzeros,active_neurons,training_relative_residual,held_out_relative_residual,"
      "training_psnr_db,held_out_psnr_db,training_accuracy,held_out_accuracy,training_loss,"
      "held_out_loss,exact,iterations,seconds,predicted_peak_memory_bytes,given_nonzeros,"
      "given_training_psnr_db,given_held_out_psnr_db,given_training_accuracy,"
      "given_held_out_accuracy,given_training_loss,given_held_out_loss,model,error\r\n";
  const auto digits = [](bool has, double value) { return has ? Digits(value) : std::string(); };
  for (const v1::SweepCell& row : report.rows()) {
    const std::string reason = row.termination_reason() == v1::TERMINATION_REASON_UNSPECIFIED
                                   ? ""
                                   : v1::TerminationReason_Name(row.termination_reason())
                                         .substr(sizeof("TERMINATION_REASON"));
    const v1::PruningFit& training = row.given_training();
    const v1::PruningFit& held_out = row.given_held_out();
    const std::vector<std::string> fields = {
        absl::StrCat(row.cell()),
        CsvField(row.method()),
        absl::StrCat(row.hidden_width()),
        absl::StrCat(row.nonzeros()),
        absl::StrCat(row.num_samples()),
        absl::StrCat(row.seed()),
        StateText(row.state()),
        reason,
        absl::StrCat(row.network_nonzeros()),
        absl::StrCat(row.active_neurons()),
        digits(row.has_training_relative_residual(), row.training_relative_residual()),
        digits(row.has_held_out_relative_residual(), row.held_out_relative_residual()),
        digits(row.has_training_psnr_db(), row.training_psnr_db()),
        digits(row.has_held_out_psnr_db(), row.held_out_psnr_db()),
        digits(row.has_training_accuracy(), row.training_accuracy()),
        digits(row.has_held_out_accuracy(), row.held_out_accuracy()),
        digits(row.has_training_loss(), row.training_loss()),
        digits(row.has_held_out_loss(), row.held_out_loss()),
        row.has_exact() ? (row.exact() ? "true" : "false") : "",
        absl::StrCat(row.iterations()),
        Digits(Seconds(row.elapsed())),
        absl::StrCat(row.predicted_peak_memory_bytes()),
        row.given_nonzeros() == 0 ? "" : absl::StrCat(row.given_nonzeros()),
        digits(training.has_psnr_db(), training.psnr_db()),
        digits(held_out.has_psnr_db(), held_out.psnr_db()),
        digits(training.has_accuracy(), training.accuracy()),
        digits(held_out.has_accuracy(), held_out.accuracy()),
        digits(row.has_given_training(), training.loss()),
        digits(row.has_given_held_out(), held_out.loss()),
        CsvField(row.model()),
        CsvField(row.error().message())};
    absl::StrAppend(&csv, absl::StrJoin(fields, ","), "\r\n");
  }
  return csv;
}

absl::Status CheckTablePath(const std::string& path) {
  if (absl::EndsWith(path, ".csv") || absl::EndsWith(path, ".json")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": the name of a table ends in .csv or .json"));
}

absl::Status WriteTable(const v1::Job& job, const std::string& path) {
  if (absl::Status status = CheckTablePath(path); !status.ok()) return status;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << (absl::EndsWith(path, ".csv") ? SweepCsv(job.sweep_report()) : ToJson(job) + "\n");
  file.close();
  if (!file) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be written"));
  return absl::OkStatus();
}

}  // namespace thresher::client
