#include "client/pruning_text.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace thresher::client {
namespace {

// An enum's word, `unset` where the server chooses.
template <typename Enum>
std::string Word(Enum value, size_t prefix, const char* unset) {
  if (static_cast<int>(value) == 0) return unset;
  const auto* descriptor =
      google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(static_cast<int>(value));
  // A newer server may know more values.
  if (descriptor == nullptr) return absl::StrCat(static_cast<int>(value));
  return absl::AsciiStrToLower(descriptor->name().substr(prefix));
}

std::string MethodWord(const v1::ModelPruningOptions& options) {
  return Word(options.method(), sizeof("PRUNING_METHOD"), "distill");
}

bool IsTrained(const v1::ModelPruningOptions& options) {
  return options.method() == v1::PRUNING_METHOD_UNSPECIFIED ||
         options.method() == v1::PRUNING_METHOD_DISTILL;
}

template <typename Message>
std::string LossAndMore(const Message& fit) {
  std::string text = absl::StrCat("loss ", FormatNumber(fit.loss()));
  if (fit.has_accuracy()) absl::StrAppend(&text, ", ", FormatAccuracy(fit.accuracy()), " right");
  if (fit.has_psnr_db()) absl::StrAppend(&text, ", PSNR ", FormatDecibel(fit.psnr_db()));
  if (fit.has_r_squared()) absl::StrAppend(&text, ", R^2 ", FormatNumber(fit.r_squared()));
  return text;
}

std::string PointsText(double change) {
  const double points = 100 * change;
  if (std::abs(points) < 0.005) return "as many";
  return absl::StrFormat("%.2f points %s", std::abs(points), points < 0 ? "less" : "more");
}

std::string ShareOf(int64_t part, int64_t whole) {
  return whole > 0 ? FormatShare(static_cast<double>(part) / static_cast<double>(whole)) : "-";
}

// Rows of samples without targets: there is nothing that the given network could miss.
void AddFitRows(const std::string& samples, const v1::PruningFit& fit,
                std::vector<std::vector<std::string>>* rows) {
  rows->push_back({samples + " loss", "-", FormatNumber(fit.loss()), "-"});
  if (fit.has_accuracy()) {
    rows->push_back({samples + " agreement", "-", FormatShare(fit.accuracy()), "-"});
  }
  if (fit.has_psnr_db()) {
    rows->push_back({samples + " PSNR", "-", FormatDecibel(fit.psnr_db()), "-"});
  }
}

// Rows of one set of samples.
void AddFitRows(const std::string& samples, const v1::PruningFit& given, const v1::PruningFit& fit,
                std::vector<std::vector<std::string>>* rows) {
  rows->push_back(
      {samples + " loss", FormatNumber(given.loss()), FormatNumber(fit.loss()),
       given.loss() > 0 ? absl::StrCat(FormatNumber(fit.loss() / given.loss()), " times") : "-"});
  if (given.has_accuracy() && fit.has_accuracy()) {
    rows->push_back({samples + " right", FormatAccuracy(given.accuracy()),
                     FormatAccuracy(fit.accuracy()),
                     absl::StrFormat("%+.2f points", 100 * (fit.accuracy() - given.accuracy()))});
  }
  if (given.has_psnr_db() && fit.has_psnr_db()) {
    rows->push_back({samples + " PSNR", FormatDecibel(given.psnr_db()),
                     FormatDecibel(fit.psnr_db()),
                     absl::StrFormat("%+.1f dB", fit.psnr_db() - given.psnr_db())});
  }
}

std::string PathTable(const v1::PruningReport& report) {
  const auto& path = report.model_report().path();
  const auto fit_of = [](const v1::PruningPathPoint& point) -> const v1::PruningFit& {
    return point.has_held_out() ? point.held_out() : point.training();
  };
  const v1::PruningFit& first = fit_of(path[0]);
  std::vector<std::string> header = {"BUDGET", "WEIGHTS", "NEURONS", "TRAINING LOSS",
                                     path[0].has_held_out() ? "HELD-OUT LOSS" : "LOSS"};
  if (first.has_accuracy()) header.emplace_back("RIGHT");
  if (first.has_psnr_db()) header.emplace_back("PSNR");
  for (const char* name : {"TIME", "MODEL", ""}) header.emplace_back(name);
  std::vector<std::vector<std::string>> rows = {header};
  for (const v1::PruningPathPoint& point : path) {
    const v1::PruningFit& fit = fit_of(point);
    std::vector<std::string> row = {absl::StrCat(point.budget()), absl::StrCat(point.nonzeros()),
                                    absl::StrCat(point.active_neurons()),
                                    FormatNumber(point.training().loss()),
                                    FormatNumber(fit.loss())};
    if (first.has_accuracy()) row.push_back(FormatAccuracy(fit.accuracy()));
    if (first.has_psnr_db()) row.push_back(FormatDecibel(fit.psnr_db()));
    row.push_back(FormatDuration(point.elapsed()));
    row.push_back(point.model());
    row.emplace_back(point.knee() ? "<- knee" : "");
    rows.push_back(std::move(row));
  }
  return absl::StrCat("\nBudgets on the path, each a model:\n", FormatTable(rows));
}

}  // namespace

std::string BudgetText(const v1::ModelPruningOptions& options) {
  if (options.has_fraction()) {
    return absl::StrCat("at most ", FormatShare(options.fraction()), " of the weights");
  }
  if (!options.has_path()) {
    return absl::StrCat("at most ", FormatCount(options.nonzeros(), "weight"));
  }
  const v1::PruningPath& path = options.path();
  const std::string most =
      path.has_max_nonzeros() ? absl::StrCat(path.max_nonzeros()) : "half of the";
  const std::string least =
      path.has_min_nonzeros() ? absl::StrCat(path.min_nonzeros()) : "a hundredth";
  return absl::StrCat(path.has_num_points() ? absl::StrCat(path.num_points()) : "8",
                      " budgets from ", most, " weights to ", least);
}

std::string BudgetColumn(const v1::ModelPruningOptions& options) {
  if (options.has_fraction()) return FormatShare(options.fraction());
  return options.has_path() ? "path" : absl::StrCat(options.nonzeros());
}

std::string MethodText(const v1::ModelPruningOptions& options) {
  std::string text = MethodWord(options);
  if (IsTrained(options)) {
    absl::StrAppend(&text, ", targets ",
                    Word(options.targets(), sizeof("PRUNE_TARGETS"), "network"));
  }
  if (options.scope() == v1::PRUNE_SCOPE_PER_LAYER) absl::StrAppend(&text, ", per layer");
  if (options.pattern_size() > 0) {
    absl::StrAppend(&text, ", ", options.pattern_kept(), ":", options.pattern_size());
  }
  if (options.whole_neurons()) absl::StrAppend(&text, ", whole neurons");
  return absl::StrCat(text, ", loss ", Word(options.loss(), sizeof("LOSS"), "by the model"),
                      ", seed ", options.seed());
}

std::string EpochText(const v1::EpochReport& report) {
  if (report.path_nonzeros() == 0) {
    if (report.epoch() == 0) return "pruned at once";
    return absl::StrCat("round ", report.round(), ", epoch ", report.epoch());
  }
  const std::string budget = absl::StrCat("budget ", report.path_nonzeros());
  if (report.epoch() == 0) return budget + ", pruned at once";
  return absl::StrCat(budget, " of the path, epoch ", report.epoch());
}

std::string PruningEndSentence(const v1::PruningReport& report) {
  const bool of_model = report.has_model_report();
  const v1::ModelPruningOptions& options = report.model_report().options_used();
  const int points = report.model_report().path_size();
  std::string effort = FormatCount(report.iterations(), "epoch");
  if (of_model && !IsTrained(options)) {
    effort = points > 0 ? FormatCount(points, "budget") : "one shot";
  } else if (points > 0) {
    absl::StrAppend(&effort, " for ", FormatCount(points, "budget"));
  } else if (!of_model && report.options_used().schedule() != v1::PRUNE_SCHEDULE_GRADUAL) {
    absl::StrAppend(&effort, " in ", FormatCount(report.rounds(), "round"));
  }
  absl::StrAppend(&effort, " (", FormatDuration(report.elapsed()), ")");
  const bool has_path = of_model && options.has_path();
  switch (report.termination_reason()) {
    case v1::TERMINATION_REASON_ITERATION_LIMIT:
      if (of_model) {
        return absl::StrCat("Pruned by ", MethodWord(options), " after ", effort,
                            points > 0 ? "; the model is that of the knee." : ".");
      }
      return absl::StrCat("Pruned to the budget after ", effort, ".");
    case v1::TERMINATION_REASON_TIME_LIMIT:
    case v1::TERMINATION_REASON_CANCELLED: {
      const char* begin = report.termination_reason() == v1::TERMINATION_REASON_CANCELLED
                              ? "Cancelled after "
                              : "Stopped at the time limit, after ";
      if (has_path) return absl::StrCat(begin, effort, ": these are the budgets until then.");
      return absl::StrCat(begin, effort, ": this is the best network until then.",
                          report.partial() ? " It was pruned to the budget at once." : "");
    }
    case v1::TERMINATION_REASON_EARLY_STOPPED:
      return absl::StrCat("Stopped early, after ", effort,
                          ": the networks got no better for the validation samples.");
    default:
      return absl::StrCat("Ended after ", effort, ".");
  }
}

std::string LossText(const v1::EpochReport& report) { return LossAndMore(report); }

std::string LossText(const v1::PruningFit& fit) { return LossAndMore(fit); }

std::string PruningFitText(const v1::PruningFit& fit) {
  return absl::StrCat(LossAndMore(fit), " (", FormatCount(fit.num_samples(), "sample"), ")");
}

std::string ChangeText(const v1::PruningFit& fit, const v1::PruningFit& given) {
  if (fit.has_accuracy() && given.has_accuracy()) {
    const double change = fit.accuracy() - given.accuracy();
    return absl::StrCat(FormatAccuracy(fit.accuracy()), " right, ", PointsText(change),
                        " than as given (", FormatAccuracy(given.accuracy()), ")");
  }
  if (fit.has_psnr_db() && given.has_psnr_db() && std::isfinite(given.psnr_db())) {
    return absl::StrCat("PSNR ", FormatDecibel(fit.psnr_db()), ", as given ",
                        FormatDecibel(given.psnr_db()));
  }
  return absl::StrCat("loss ", FormatNumber(fit.loss()), ", as given ", FormatNumber(given.loss()));
}

std::string NetworkText(const v1::PruningReport& report) {
  std::string text = absl::StrCat(FormatCount(report.nonzeros(), "weight"), " in ",
                                  FormatCount(report.active_neurons(), "hidden neuron"));
  if (!report.has_model_report()) return text;
  const v1::ModelPruningReport& of_model = report.model_report();
  return absl::StrCat(text, ", of ", of_model.given_nonzeros(), " in ",
                      of_model.given_active_neurons(), " (",
                      ShareOf(report.nonzeros(), of_model.given_nonzeros()), " of the weights)");
}

bool IsAgainstGiven(const v1::PruningReport& report) {
  return report.has_model_report() && !report.model_report().has_given_training() &&
         report.training().num_samples() > 0;
}

std::string PruningPage(const v1::PruningReport& report) {
  if (!report.has_model_report()) return "";
  const v1::ModelPruningReport& of_model = report.model_report();
  std::vector<std::vector<std::string>> rows = {{"", "GIVEN", "PRUNED", "CHANGE"}};
  rows.push_back({"weights", absl::StrCat(of_model.given_nonzeros()),
                  absl::StrCat(report.nonzeros()),
                  "to " + ShareOf(report.nonzeros(), of_model.given_nonzeros())});
  rows.push_back({"hidden neurons", absl::StrCat(of_model.given_active_neurons()),
                  absl::StrCat(report.active_neurons()),
                  "to " + ShareOf(report.active_neurons(), of_model.given_active_neurons())});
  const bool unlabelled = IsAgainstGiven(report);
  if (unlabelled) {
    AddFitRows("training", report.training(), &rows);
    if (report.has_held_out()) AddFitRows("held-out", report.held_out(), &rows);
  } else {
    AddFitRows("training", of_model.given_training(), report.training(), &rows);
  }
  if (report.has_held_out() && of_model.has_given_held_out()) {
    AddFitRows("held-out", of_model.given_held_out(), report.held_out(), &rows);
  }
  std::string page = absl::StrCat(
      "\nBefore and after",
      unlabelled ? ", against the outputs of the given model as the samples have no targets" : "",
      ":\n", FormatTable(rows));
  if (!of_model.path().empty()) page += PathTable(report);
  return page;
}

}  // namespace thresher::client
