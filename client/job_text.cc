#include "client/job_text.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "client/path_text.h"
#include "client/pruning_text.h"
#include "client/sweep_text.h"
#include "google/protobuf/util/json_util.h"
#include "google/rpc/status.pb.h"

namespace thresher::client {
namespace {

// An enum value's name without the type's prefix.
template <typename Enum>
std::string EnumWord(Enum value, size_t prefix) {
  const auto* descriptor =
      google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(static_cast<int>(value));
  // A newer server may know more values.
  if (descriptor == nullptr) return absl::StrCat(static_cast<int>(value));
  return descriptor->name().substr(prefix);
}

template <typename Enum>
std::string SmallEnumWord(Enum value, size_t prefix) {
  return absl::AsciiStrToLower(EnumWord(value, prefix));
}

std::string Labels(const google::protobuf::Map<std::string, std::string>& labels) {
  std::vector<std::string> pairs;
  for (const auto& [key, value] : labels) pairs.push_back(absl::StrCat(key, "=", value));
  std::sort(pairs.begin(), pairs.end());
  return absl::StrJoin(pairs, ", ");
}

// Fits in words: "R^2 0.81, PSNR 41.2 dB, relative residual 0.003", for classes "97 % right, loss
// 0.1, ...".
std::string FitText(const v1::FitQuality& fit) {
  std::string text;
  if (fit.has_accuracy()) absl::StrAppend(&text, FormatAccuracy(fit.accuracy()), " right, ");
  if (fit.has_loss()) absl::StrAppend(&text, "loss ", FormatNumber(fit.loss()), ", ");
  if (fit.has_r_squared()) absl::StrAppend(&text, "R^2 ", FormatNumber(fit.r_squared()), ", ");
  // Of the first class alone all targets may be zero, and nothing is relative to them.
  constexpr double kNoTargets = -400;  // dB
  const bool no_targets = !std::isfinite(fit.relative_residual()) || fit.psnr_db() <= kNoTargets;
  if (!(fit.has_accuracy() && no_targets)) {
    absl::StrAppend(&text, "PSNR ", FormatDecibel(fit.psnr_db()), ", relative residual ",
                    FormatNumber(fit.relative_residual()));
  }
  return absl::StrCat(absl::StripSuffix(text, ", "), " (", FormatCount(fit.num_samples(), "sample"),
                      ")");
}

// Why it ended, after `effort`, for the reasons that every kind of job has.
std::string EndSentence(v1::TerminationReason reason, const std::string& effort) {
  switch (reason) {
    case v1::TERMINATION_REASON_TIME_LIMIT:
      return absl::StrCat("Stopped at the time limit, after ", effort,
                          ": this is the best network until then.");
    case v1::TERMINATION_REASON_CANCELLED:
      return absl::StrCat("Cancelled after ", effort, ": this is the best network until then.");
    case v1::TERMINATION_REASON_EARLY_STOPPED:
      return absl::StrCat("Stopped early, after ", effort,
                          ": the networks got no better for the validation samples.");
    default:
      return absl::StrCat("Ended after ", effort, ".");
  }
}

std::string EndSentence(const v1::RecoveryReport& report) {
  const std::string effort = absl::StrCat(FormatCount(report.iterations(), "iteration"), " (",
                                          FormatDuration(report.elapsed()), ")");
  switch (report.termination_reason()) {
    case v1::TERMINATION_REASON_CONVERGED: {
      const double tolerance = report.options_used().relative_residual_tolerance();
      return absl::StrCat("Converged after ", effort, ": the relative residual reached its ",
                          "tolerance", tolerance > 0 ? " of " + FormatNumber(tolerance) : "", ".");
    }
    case v1::TERMINATION_REASON_STAGNATED:
      return absl::StrCat("Stopped after ", effort, ": no further progress.");
    case v1::TERMINATION_REASON_ITERATION_LIMIT:
      return absl::StrCat("Stopped at the iteration limit, after ", effort, ".");
    default:
      return EndSentence(report.termination_reason(), effort);
  }
}

std::string EndSentence(const v1::SweepReport& report) {
  // Cells that were cancelled while they ran have rows and count as done.
  const auto cancelled = std::count_if(
      report.rows().begin(), report.rows().end(),
      [](const v1::SweepCell& row) { return row.state() == v1::SWEEP_CELL_STATE_CANCELLED; });
  const std::string cells = absl::StrCat(
      report.cells_done() - cancelled, " of ", FormatCount(report.cells_total(), "cell"),
      report.cells_failed() > 0 ? absl::StrCat(", ", report.cells_failed(), " failed") : "",
      cancelled > 0 ? absl::StrCat(", ", cancelled, " cancelled while running") : "", " (",
      FormatDuration(report.elapsed()), ")");
  switch (report.termination_reason()) {
    case v1::TERMINATION_REASON_UNSPECIFIED:
      return absl::StrCat("So far ", cells, ".");
    case v1::TERMINATION_REASON_TIME_LIMIT:
      return absl::StrCat("Stopped at the time limit after ", cells, ".");
    case v1::TERMINATION_REASON_CANCELLED:
      return absl::StrCat("Cancelled after ", cells, ".");
    default:
      return absl::StrCat("Ran ", cells, ".");
  }
}

bool HasLinearTerm(const v1::RecoveryReport& report) {
  return report.options_used().linear_term() != v1::LINEAR_TERM_UNSPECIFIED;
}

std::string AskedLinearTermText(v1::LinearTerm linear_term) {
  switch (linear_term) {
    case v1::LINEAR_TERM_DENSE:
      return ", beside a linear term";
    case v1::LINEAR_TERM_SPARSE:
      return ", those of a linear term among them";
    default:
      return "";
  }
}

// linear_nonzeros: 0 also where it is not known.
std::string FoundLinearTermText(bool linear_term, int64_t linear_nonzeros) {
  if (!linear_term) return "";
  if (linear_nonzeros == 0) return ", beside a linear term";
  return absl::StrCat(", beside a linear term of ", FormatCount(linear_nonzeros, "input"));
}

std::string FoundLinearTermText(const v1::RecoveryReport& report) {
  return FoundLinearTermText(HasLinearTerm(report), report.linear_nonzeros());
}

// How close the network is to the planted one: counts, where the comparison has them, and shares
// otherwise. What was planted says nothing about the comparison's counts: parallel neurons are
// merged and dead ones dropped in both networks before their weights are counted.
std::string PlantedSentence(const v1::RecoveryReport& report,
                            const std::optional<v1::PlantedSource>& planted) {
  const v1::PlantedComparison& comparison = report.planted();
  const int64_t total = comparison.planted_nonzeros();
  const int64_t missing = total - comparison.matched_nonzeros();
  const int64_t wrong = comparison.recovered_nonzeros() - comparison.matched_nonzeros();
  std::string found;
  if (total > 0) {
    found = absl::StrCat(comparison.matched_nonzeros(), " of ", total, " planted weights found");
    if (planted && planted->nonzeros() != total) {
      absl::StrAppend(&found, " (", planted->nonzeros(),
                      " before parallel neurons are merged and dead ones dropped)");
    }
  } else {
    found = absl::StrCat(FormatShare(comparison.support_recall()), " of the planted weights found");
    if (comparison.support_precision() < 1) {
      absl::StrAppend(&found, ", ", FormatShare(1 - comparison.support_precision()),
                      " of the weights are not planted");
    }
  }
  std::string text = absl::StrCat("Recovered network: ", found);
  if (wrong > 0)
    absl::StrAppend(&text, ", ", wrong, " found that ", wrong == 1 ? "is" : "are", " not planted");
  absl::StrAppend(&text,
                  HasLinearTerm(report) ? ", weights and linear term within " : ", weights within ",
                  FormatNumber(comparison.relative_weight_error()));
  if (report.has_held_out()) {
    absl::StrAppend(&text, ", held-out PSNR ", FormatDecibel(report.held_out().psnr_db()));
  }
  if (comparison.exact()) return text + ": this is the planted network.";

  // The relative weight error below which `exact` calls weights equal.
  constexpr double kExactTolerance = 1e-4;
  if (comparison.relative_function_error() <= kExactTolerance) {
    return absl::StrCat(text, ": it computes the planted function (within ",
                        FormatNumber(comparison.relative_function_error()),
                        ") with other weights.");
  }
  const bool same_support = comparison.support_recall() == 1 && comparison.support_precision() == 1;
  absl::StrAppend(&text, same_support ? ": the planted support, but not the planted weights"
                                      : ": this is not the planted network");
  if (missing > 0) {
    absl::StrAppend(&text, "; ", missing, missing == 1 ? " weight is" : " weights are", " missing");
  }
  if (comparison.recovered_neurons() != comparison.planted_neurons()) {
    absl::StrAppend(&text, "; it has ", FormatCount(comparison.recovered_neurons(), "neuron"),
                    " where ", comparison.planted_neurons(), " were planted");
  }
  absl::StrAppend(&text, "; its outputs are off by ",
                  FormatNumber(comparison.relative_function_error()), " relative.");
  return text;
}

void AddLabels(const google::protobuf::Map<std::string, std::string>& labels,
               std::vector<Field>* fields) {
  if (!labels.empty()) fields->push_back({"labels", Labels(labels)});
}

// Nothing of a loss that the server chose.
std::string LossWord(v1::Loss loss, std::string_view before) {
  if (loss == v1::LOSS_UNSPECIFIED) return "";
  return absl::StrCat(std::string(before), SmallEnumWord(loss, sizeof("LOSS")));
}

// Samples apart from those learned from, where they are not a fraction held out.
template <typename Spec>
void AddSplit(const Spec& spec, std::vector<Field>* fields) {
  if (!spec.held_out_dataset().empty()) {
    fields->push_back({"held-out data", spec.held_out_dataset()});
  }
  if (!spec.has_validation()) return;
  const v1::Validation& validation = spec.validation();
  std::string text = validation.dataset();
  if (!validation.has_dataset()) {
    text = absl::StrCat(FormatShare(validation.has_fraction() ? validation.fraction() : 0.2),
                        " of the samples not held out");
  }
  if (validation.patience() > 0) {
    absl::StrAppend(&text, ", patience ", FormatCount(validation.patience(), "network"));
  }
  fields->push_back({"validation by", text});
}

// report: what was done, empty before the end.
void AddSpec(const v1::RecoverySpec& spec, const v1::RecoveryReport& report,
             std::vector<Field>* fields) {
  const v1::RecoveryOptions& options = spec.options();
  fields->push_back({"data set", spec.dataset()});
  fields->push_back(
      {"network", absl::StrCat(options.hidden_layers() > 1
                                   ? absl::StrCat(options.hidden_layers(), " hidden layers of ")
                                   : "hidden width ",
                               options.hidden_width(), spec.has_path() ? ", " : ", at most ",
                               BudgetText(spec), AskedLinearTermText(options.linear_term()))});
  const auto word = [](v1::Algorithm value) { return SmallEnumWord(value, sizeof("ALGORITHM")); };
  const v1::Algorithm used = report.options_used().algorithm();
  std::string algorithm = "auto";
  if (options.algorithm() != v1::ALGORITHM_UNSPECIFIED) {
    algorithm = word(options.algorithm());
  } else if (used != v1::ALGORITHM_UNSPECIFIED) {
    algorithm = absl::StrCat(word(used), ", chosen by the server");
  }
  if (options.gate_mode() != v1::GATE_MODE_UNSPECIFIED) {
    absl::StrAppend(&algorithm, ", ", SmallEnumWord(options.gate_mode(), sizeof("GATE_MODE")),
                    " gates");
  }
  absl::StrAppend(&algorithm, LossWord(options.loss(), ", loss "));
  absl::StrAppend(&algorithm, ", seed ", options.seed());
  fields->push_back({"algorithm", algorithm});
  if (!spec.initial_model().empty()) fields->push_back({"starts from", spec.initial_model()});
  AddSplit(spec, fields);
}

// "300, 100".
std::string WidthsText(const v1::PruningOptions& options, const char* separator) {
  return absl::StrJoin(options.hidden_widths(), separator);
}

void AddSpec(const v1::PruningSpec& spec, std::vector<Field>* fields) {
  const v1::PruningOptions& options = spec.options();
  fields->push_back({"data set", spec.dataset()});
  if (!spec.model().empty()) {
    fields->push_back(
        {"network", absl::StrCat(spec.model(), ", ", BudgetText(spec.model_options()))});
    fields->push_back({"pruned by", MethodText(spec.model_options())});
    AddSplit(spec, fields);
    return;
  }
  fields->push_back(
      {"network",
       absl::StrCat(options.hidden_widths_size() == 1 ? "hidden width " : "hidden widths ",
                    WidthsText(options, ", "), options.bias() ? " and biases" : "", ", at most ",
                    FormatCount(options.nonzeros(), "weight"))});
  // Words of the server's defaults where nothing was asked for.
  const auto word = [](const std::string& given, const char* unset) {
    return given == "unspecified" ? std::string(unset) : given;
  };
  fields->push_back(
      {"pruned by",
       absl::StrCat(word(SmallEnumWord(options.method(), sizeof("PRUNING_METHOD")), "imp"), ", ",
                    word(SmallEnumWord(options.schedule(), sizeof("PRUNE_SCHEDULE")), "rounds"),
                    ", ", word(SmallEnumWord(options.saliency(), sizeof("SALIENCY")), "magnitude"),
                    LossWord(options.loss(), ", loss "), ", seed ", options.seed())});
  AddSplit(spec, fields);
}

template <typename Numbers>
std::string NumbersText(const Numbers& numbers) {
  constexpr int kMostNumbers = 12;
  if (numbers.size() <= kMostNumbers) return absl::StrJoin(numbers, ", ");
  return absl::StrCat(numbers.size(), " from ", *std::min_element(numbers.begin(), numbers.end()),
                      " to ", *std::max_element(numbers.begin(), numbers.end()));
}

void AddSpec(const v1::SweepSpec& spec, std::vector<Field>* fields) {
  fields->push_back(
      {"data set", spec.has_planted()
                       ? absl::StrCat("planted, ", spec.planted().num_inputs(), " inputs")
                       : spec.dataset()});
  if (!spec.model().empty()) fields->push_back({"model to prune", spec.model()});
  if (!spec.hidden_widths().empty()) {
    fields->push_back({"hidden widths", NumbersText(spec.hidden_widths())});
  }
  fields->push_back({"budgets", NumbersText(spec.nonzeros())});
  if (!spec.num_samples().empty()) {
    fields->push_back({"samples", NumbersText(spec.num_samples())});
  }
  if (!spec.seeds().empty()) fields->push_back({"seeds", NumbersText(spec.seeds())});
  std::vector<std::string> names;
  for (const v1::SweepMethod& method : spec.methods()) names.push_back(method.name());
  fields->push_back({"methods", absl::StrJoin(names, ", ")});
  if (!spec.held_out_dataset().empty()) {
    fields->push_back({"held-out data", spec.held_out_dataset()});
  }
}

// Of what was used, where it is not the usual one.
void AddLoss(v1::Loss loss, std::vector<Field>* fields) {
  if (loss > v1::LOSS_SQUARED) fields->push_back({"loss", LossWord(loss, "")});
}

std::string ValidationText(const v1::RecoveryReport& report) {
  return absl::StrCat(FitText(report.validation()), ", after iteration ", report.best_iteration());
}

std::string ValidationText(const v1::PruningReport& report) {
  return absl::StrCat(PruningFitText(report.validation()), ", after epoch ",
                      report.best_iteration());
}

void AddReport(const v1::PruningReport& report, std::vector<Field>* fields) {
  fields->push_back({"ended", PruningEndSentence(report)});
  fields->push_back(
      {"found", NetworkText(report) + (report.partial() ? ", a partial result" : "")});
  AddLoss(report.options_used().loss(), fields);
  if (report.has_training()) fields->push_back({"training", PruningFitText(report.training())});
  if (report.has_validation()) fields->push_back({"validation", ValidationText(report)});
  if (report.has_held_out()) fields->push_back({"held out", PruningFitText(report.held_out())});
}

void AddReport(const v1::RecoveryReport& report, std::vector<Field>* fields) {
  fields->push_back({"ended", EndSentence(report)});
  fields->push_back({"found", absl::StrCat(FormatCount(report.nonzeros(), "weight"), " in ",
                                           FormatCount(report.active_neurons(), "neuron"),
                                           FoundLinearTermText(report),
                                           report.partial() ? ", a partial result" : "")});
  AddLoss(report.options_used().loss(), fields);
  if (report.has_training()) fields->push_back({"training", FitText(report.training())});
  if (report.has_validation()) fields->push_back({"validation", ValidationText(report)});
  if (report.has_held_out()) fields->push_back({"held out", FitText(report.held_out())});
  if (report.has_planted()) {
    fields->push_back({"planted", PlantedSentence(report, std::nullopt)});
  }
}

// What a list says about a model, on held-out samples where there are some.
struct ModelFit {
  std::optional<double> psnr_db;
  std::optional<double> accuracy;
};

ModelFit FitOf(const v1::Model& model) {
  ModelFit result;
  if (model.has_pruning_report()) {
    const v1::PruningReport& report = model.pruning_report();
    const v1::PruningFit& fit = report.has_held_out() ? report.held_out() : report.training();
    if (fit.has_psnr_db()) result.psnr_db = fit.psnr_db();
    if (fit.has_accuracy()) result.accuracy = fit.accuracy();
    return result;
  }
  if (!model.has_report()) return result;  // uploaded
  const v1::RecoveryReport& report = model.report();
  const v1::FitQuality& fit = report.has_held_out() ? report.held_out() : report.training();
  result.psnr_db = fit.psnr_db();
  if (fit.has_accuracy()) result.accuracy = fit.accuracy();
  return result;
}

std::string VerdictWords(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_EXPLAINS:
      return "explains the data";
    case v1::VERDICT_APPROXIMATES:
      return "approximates the data";
    case v1::VERDICT_UNCHECKED:
      return "fits the data, not checked on others";
    case v1::VERDICT_FITS_NOT_GENERALISES:
      return "fits the data, but does not generalise";
    case v1::VERDICT_DOES_NOT_EXPLAIN:
      return "does not explain the data";
    case v1::VERDICT_UNDETERMINED:
      return "not determined by the data";
    default:
      return SmallEnumWord(verdict, sizeof("VERDICT"));
  }
}

// A number of weights that need not be whole.
std::string WeightCount(double count) {
  constexpr double kMostDigits = 1e9;
  if (!(count < kMostDigits)) return absl::StrCat(FormatNumber(count), " weights");
  return FormatCount(static_cast<int64_t>(std::ceil(count)), "weight");
}

std::string KappaText(const v1::Conditioning& conditioning) {
  if (std::isinf(conditioning.kappa())) return "infinite: the columns are linearly dependent";
  return absl::StrCat(conditioning.is_bound() ? "at least " : "",
                      FormatNumber(conditioning.kappa()), " (eigenvalues ",
                      FormatNumber(conditioning.smallest_eigenvalue()), " to ",
                      FormatNumber(conditioning.largest_eigenvalue()), ", columns of norm 1)");
}

std::vector<Field> EvidenceFields(const v1::RecoveryReport& report) {
  const v1::RecoveryEvidence& evidence = report.evidence();
  std::vector<Field> fields;
  fields.push_back(
      {"  gates", SmallEnumWord(report.options_used().gate_mode(), sizeof("GATE_MODE"))});
  const bool has_neurons = report.nonzeros() > 0;  // else there is a linear term alone
  if (has_neurons) {
    fields.push_back({"  weakest weight kept", absl::StrCat(FormatNumber(evidence.weakest_kept()),
                                                            " of the norm of the targets")});
  }
  if (evidence.has_strongest_left_out()) {
    std::string text =
        absl::StrCat(FormatNumber(evidence.strongest_left_out()), " of the norm of the targets");
    if (evidence.strongest_left_out() > 0) {
      absl::StrAppend(&text, ", a gap of ",
                      FormatNumber(evidence.weakest_kept() / evidence.strongest_left_out()),
                      " times");
    }
    fields.push_back({"  strongest left out", text});
  }
  if (evidence.has_smallest_saliency()) {
    fields.push_back(
        {"  least saliency", absl::StrCat(FormatNumber(evidence.smallest_saliency()),
                                          " of the squared norm, the weight of least worth")});
  } else if (evidence.has_conditioning() && has_neurons) {
    fields.push_back({"  least saliency", "not computed"});
  }
  if (evidence.has_conditioning()) {
    fields.push_back({"  kappa", KappaText(evidence.conditioning())});
  }
  if (evidence.has_hard_thresholding_nonzeros()) {
    fields.push_back({"  theory asks for",
                      absl::StrCat(WeightCount(evidence.hard_thresholding_nonzeros()),
                                   " while iterating (reciprocal thresholding: ",
                                   WeightCount(evidence.reciprocal_thresholding_nonzeros()), ")")});
  }
  if (has_neurons) {
    fields.push_back(
        {"  epsilon",
         absl::StrCat(HasLinearTerm(report) ? "the emptiest side of a neuron's hyperplane holds "
                                            : "the least active neuron is on for ",
                      FormatShare(evidence.smallest_active_fraction()), " of the samples")});
  }
  if (evidence.has_smallest_pattern_difference()) {
    fields.push_back(
        {"  gamma",
         absl::StrCat("the two most similar of ", evidence.compared_patterns(),
                      " neurons differ on ", FormatShare(evidence.smallest_pattern_difference()))});
  }
  fields.push_back({"  starts", absl::StrCat(evidence.starts_agreeing(), " of ",
                                             evidence.starts_tried(), " ended at this residual")});
  fields.push_back({"  different samples", absl::StrCat(evidence.distinct_samples(), " of ",
                                                        report.training().num_samples())});
  return fields;
}

// An error detail of a type that this program does not know has no JSON.
void DropUnknownDetails(google::rpc::Status* status) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  auto* details = status->mutable_details();
  details->erase(std::remove_if(details->begin(), details->end(),
                                [pool](const google::protobuf::Any& detail) {
                                  const std::string& url = detail.type_url();
                                  const std::string name = url.substr(url.rfind('/') + 1);
                                  return pool->FindMessageTypeByName(name) == nullptr;
                                }),
                 details->end());
}

// "hidden width 20", "2 hidden layers of 20, 10 outputs".
std::string LayersText(const v1::PlantedSource& planted) {
  std::string text =
      planted.hidden_layers() > 1
          ? absl::StrCat(planted.hidden_layers(), " hidden layers of ", planted.hidden_width())
          : absl::StrCat("hidden width ", planted.hidden_width());
  if (planted.num_outputs() > 1) {
    absl::StrAppend(&text, ", ", FormatCount(planted.num_outputs(), "output"));
  }
  return text;
}

// "10 outputs, " where there are several.
std::string OutputsText(const v1::Model& model) {
  if (model.num_outputs() <= 1) return "";
  return absl::StrCat(FormatCount(model.num_outputs(), "output"), ", ");
}

std::string FeaturesText(const v1::ImageOptions& image) {
  std::string text = absl::StrCat(SmallEnumWord(image.features(), sizeof("IMAGE_FEATURES")),
                                  " coordinates, seed ", image.seed());
  if (image.has_sigma()) absl::StrAppend(&text, ", sigma ", FormatNumber(image.sigma()));
  if (image.has_channel_sigma()) {
    absl::StrAppend(&text, ", channel sigma ", FormatNumber(image.channel_sigma()));
  }
  if (image.has_crop()) {
    absl::StrAppend(&text, ", crop ", image.crop().width(), "x", image.crop().height(), "+",
                    image.crop().left(), "+", image.crop().top());
  }
  if (image.index() > 0) absl::StrAppend(&text, ", image ", image.index());
  return text;
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  const std::unique_ptr<google::protobuf::Message> known(message.New());
  known->CopyFrom(message);
  if (auto* status = dynamic_cast<google::rpc::Status*>(known.get())) {
    DropUnknownDetails(status);
  } else if (auto* job = dynamic_cast<v1::Job*>(known.get()); job && job->has_error()) {
    DropUnknownDetails(job->mutable_error());
  } else if (auto* event = dynamic_cast<v1::JobEvent*>(known.get()); event && event->has_job()) {
    if (event->job().has_error()) DropUnknownDetails(event->mutable_job()->mutable_error());
  }
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(*known, &json, options).ok()) return "{}";
  return json;
}

std::string IdOf(const std::string& resource_name) {
  return resource_name.substr(resource_name.find('/') + 1);
}

std::string StateWord(v1::JobState state) { return EnumWord(state, sizeof("JOB_STATE")); }

std::string EventLine(const v1::JobEvent& event) {
  const std::string start =
      absl::StrCat(absl::FormatTime("%H:%M:%S", absl::FromUnixSeconds(event.time().seconds()),
                                    absl::LocalTimeZone()),
                   "  #", event.number(), "  ");
  if (event.has_state_change()) {
    const v1::JobStateChange& change = event.state_change();
    return absl::StrCat(start, StateWord(change.state()), change.message().empty() ? "" : "  ",
                        Printable(change.message()));
  }
  if (event.has_pruning_progress()) {
    const v1::EpochReport& report = event.pruning_progress();
    return absl::StrCat(
        start, EpochText(report), "  ", LossText(report),
        report.has_validation() ? "  validation " + LossText(report.validation()) : "",
        "  weights ", report.nonzeros(),
        report.epoch() > 0 ? "  learning rate " + FormatNumber(report.learning_rate()) : "",
        "  elapsed ", FormatDuration(report.elapsed()));
  }
  if (event.has_sweep_progress()) {
    const v1::SweepProgress& progress = event.sweep_progress();
    return absl::StrCat(start, SweepProgressText(progress), "  elapsed ",
                        FormatDuration(progress.elapsed()));
  }
  const v1::IterationReport& report = event.progress();
  // Not every algorithm has a step size, or counts what is new in the support.
  const std::string changes =
      report.support_changes() > 0 ? absl::StrCat(" (", report.support_changes(), " new)") : "";
  const std::string step =
      report.step_size() > 0 ? absl::StrCat("  step ", FormatNumber(report.step_size())) : "";
  // Training does not count its neurons, and with classes has no PSNR.
  const bool trains = report.phase() == v1::SOLVE_PHASE_TRAIN;
  const std::string psnr = trains && report.psnr_db() == 0
                               ? ""
                               : absl::StrCat("  PSNR ", FormatDecibel(report.psnr_db()));
  std::string fit;
  if (report.has_loss()) absl::StrAppend(&fit, "  loss ", FormatNumber(report.loss()));
  if (report.has_accuracy())
    absl::StrAppend(&fit, "  ", FormatAccuracy(report.accuracy()), " right");
  if (report.has_r_squared()) absl::StrAppend(&fit, "  R^2 ", FormatNumber(report.r_squared()));
  if (report.has_validation()) {
    const v1::FitQuality& validation = report.validation();
    absl::StrAppend(&fit, "  validation ",
                    validation.has_loss()
                        ? "loss " + FormatNumber(validation.loss())
                        : "residual " + FormatNumber(validation.relative_residual()));
    if (validation.has_accuracy()) {
      absl::StrAppend(&fit, ", ", FormatAccuracy(validation.accuracy()), " right");
    }
  }
  const std::string neurons = trains ? "" : absl::StrCat("  neurons ", report.active_neurons());
  return absl::StrCat(start, "iteration ", report.iteration(), PhaseText(report), "  residual ",
                      FormatNumber(report.relative_residual()), fit, psnr, "  support ",
                      report.support_size(), changes, neurons, step, "  elapsed ",
                      FormatDuration(report.elapsed()));
}

std::string PhaseText(const v1::IterationReport& report) {
  const char* phase = nullptr;
  switch (report.phase()) {
    case v1::SOLVE_PHASE_START:
      phase = "";
      break;
    case v1::SOLVE_PHASE_EXPAND:
      phase = "expand";
      break;
    case v1::SOLVE_PHASE_PRUNE:
      phase = "prune";
      break;
    case v1::SOLVE_PHASE_SWAP:
      phase = "swap";
      break;
    case v1::SOLVE_PHASE_TRAIN:
      phase = "train";
      break;
    default:
      break;
  }
  std::vector<std::string> words;
  if (report.path_nonzeros() > 0) {
    words.push_back(absl::StrCat("budget ", report.path_nonzeros(), " of the path"));
  }
  if (phase != nullptr) {
    if (report.start() >= 0) words.push_back(absl::StrCat("start ", report.start() + 1));
    if (*phase != '\0') words.emplace_back(phase);
  }
  return words.empty() ? "" : absl::StrCat(" (", absl::StrJoin(words, ", "), ")");
}

std::string SummariseJob(const v1::Job& job, const std::optional<v1::PlantedSource>& planted) {
  std::vector<std::string> lines;
  const v1::RecoveryReport& report = job.recovery_report();
  if (job.state() == v1::JOB_STATE_FAILED) {
    lines.push_back(absl::StrCat("The job failed: ", Printable(job.error().message())));
  } else if (job.state() == v1::JOB_STATE_CANCELLED && !job.has_recovery_report() &&
             !job.has_pruning_report() && !job.has_sweep()) {
    lines.push_back("The job was cancelled before it had a network.");
  }
  if (job.has_recovery_report()) {
    lines.push_back(EndSentence(report));
    if (report.has_training()) lines.push_back("Training: " + FitText(report.training()) + ".");
    if (report.has_validation()) lines.push_back("Validation: " + ValidationText(report) + ".");
    if (report.has_held_out()) lines.push_back("Held out: " + FitText(report.held_out()) + ".");
    if (report.has_planted()) {
      lines.push_back(PlantedSentence(report, planted));
    } else {
      lines.push_back(absl::StrCat("Recovered network: ", FormatCount(report.nonzeros(), "weight"),
                                   " in ", FormatCount(report.active_neurons(), "neuron"),
                                   FoundLinearTermText(report), "."));
    }
  }
  if (job.has_pruning_report()) {
    const v1::PruningReport& pruning = job.pruning_report();
    lines.push_back(PruningEndSentence(pruning));
    const v1::ModelPruningReport& of_model = pruning.model_report();
    if (pruning.has_held_out() && of_model.has_given_held_out()) {
      lines.push_back(
          absl::StrCat("Held out: ", ChangeText(pruning.held_out(), of_model.given_held_out()),
                       ", ", FormatCount(pruning.held_out().num_samples(), "sample"), "."));
    } else {
      if (IsAgainstGiven(pruning)) {
        lines.push_back("The samples have no targets: fits are against the given model's outputs.");
      }
      if (pruning.has_training())
        lines.push_back("Training: " + PruningFitText(pruning.training()) + ".");
      if (pruning.has_validation()) {
        lines.push_back("Validation: " + ValidationText(pruning) + ".");
      }
      if (pruning.has_held_out())
        lines.push_back("Held out: " + PruningFitText(pruning.held_out()) + ".");
    }
    lines.push_back("Pruned network: " + NetworkText(pruning) + ".");
  }
  if (job.has_sweep_report()) lines.push_back(EndSentence(job.sweep_report()));
  return absl::StrJoin(lines, "\n") + (lines.empty() ? "" : "\n");
}

std::string EvidencePage(const v1::RecoveryReport& report, int width) {
  if (!report.has_evidence()) return "";
  constexpr int kIndentation = 2;
  std::string text = absl::StrCat("\nEvidence: ", VerdictWords(report.evidence().verdict()), "\n");
  for (const std::string& finding : report.evidence().findings()) {
    const std::string wrapped = WrapWords(Printable(finding), width - kIndentation);
    for (const auto& line : absl::StrSplit(wrapped, '\n')) {
      absl::StrAppend(&text, "  ", line, "\n");
    }
  }
  if (report.evidence().has_conditioning()) {
    absl::StrAppend(&text, "\n", FormatFields(EvidenceFields(report)));
  }
  return text;
}

std::string ImageShapeText(const v1::ImageShape& shape) {
  return absl::StrCat(shape.width(), " x ", shape.height(), " pixels",
                      shape.channels() == 1 ? ", grey" : ", colour");
}

std::vector<Field> DescribeDataset(const v1::Dataset& dataset) {
  std::vector<Field> fields = {{"name", dataset.name()}};
  if (dataset.has_planted()) {
    const v1::PlantedSource& planted = dataset.planted();
    std::string text = absl::StrCat(
        LayersText(planted), ", ", FormatCount(planted.nonzeros(), "weight"),
        planted.linear_term() ? ", beside a linear term" : "", ", seed ", planted.seed());
    if (planted.has_noise_db()) {
      absl::StrAppend(&text, ", noise at ", FormatDecibel(planted.noise_db()));
    }
    fields.push_back({"planted", text});
  } else if (dataset.has_upload()) {
    fields.push_back({"uploaded as", EnumWord(dataset.upload().format(), sizeof("FILE_FORMAT"))});
    if (dataset.upload().has_image()) {
      fields.push_back({"features", FeaturesText(dataset.upload().image())});
    }
  }
  if (dataset.has_image_shape()) {
    fields.push_back({"image", ImageShapeText(dataset.image_shape())});
  }
  fields.push_back({"samples", absl::StrCat(dataset.num_samples())});
  fields.push_back({"inputs", absl::StrCat(dataset.num_inputs())});
  fields.push_back({"outputs", absl::StrCat(dataset.num_outputs())});
  if (!dataset.class_names().empty()) {
    fields.push_back({"classes", absl::StrJoin(dataset.class_names(), ", ")});
  }
  fields.push_back({"size", FormatBytes(dataset.size_bytes())});
  fields.push_back({"created", FormatTime(dataset.create_time())});
  fields.push_back({"SHA-256", dataset.sha256()});
  AddLabels(dataset.labels(), &fields);
  return fields;
}

std::vector<Field> DescribeJob(const v1::Job& job) {
  std::vector<Field> fields;
  if (!job.name().empty()) fields.push_back({"name", job.name()});
  if (job.state() != v1::JOB_STATE_UNSPECIFIED) fields.push_back({"state", StateWord(job.state())});
  if (job.has_sweep()) {
    AddSpec(job.sweep(), &fields);
  } else if (job.has_pruning()) {
    AddSpec(job.pruning(), &fields);
  } else {
    AddSpec(job.recovery(), job.recovery_report(), &fields);
  }
  if (job.priority() != 0) fields.push_back({"priority", absl::StrCat(job.priority())});
  if (job.has_time_limit()) fields.push_back({"time limit", FormatDuration(job.time_limit())});
  // That of a sweep is its cells'.
  if (job.predicted_cost().peak_memory_bytes() > 0) {
    const v1::JobCost& cost = job.predicted_cost();
    fields.push_back(
        {"predicted cost",
         absl::StrCat(FormatBytes(cost.peak_memory_bytes()), " of memory",
                      cost.flops_per_iteration() > 0
                          ? absl::StrCat(", ", FormatNumber(cost.flops_per_iteration()),
                                         " operations an iteration")
                          : "")});
  }
  if (job.has_create_time()) fields.push_back({"created", FormatTime(job.create_time())});
  if (job.has_start_time()) fields.push_back({"started", FormatTime(job.start_time())});
  if (job.has_end_time()) fields.push_back({"ended at", FormatTime(job.end_time())});
  if (job.attempt_count() > 1) fields.push_back({"attempts", absl::StrCat(job.attempt_count())});
  if (job.state() == v1::JOB_STATE_RUNNING && job.has_progress()) {
    fields.push_back(
        {"progress", absl::StrCat("iteration ", job.progress().iteration(), ", relative residual ",
                                  FormatNumber(job.progress().relative_residual()), ", PSNR ",
                                  FormatDecibel(job.progress().psnr_db()))});
  }
  if (job.state() == v1::JOB_STATE_RUNNING && job.has_pruning_progress()) {
    const v1::EpochReport& report = job.pruning_progress();
    fields.push_back({"progress", absl::StrCat(EpochText(report), ", ", LossText(report), ", ",
                                               FormatCount(report.nonzeros(), "weight"))});
  }
  if (job.state() == v1::JOB_STATE_RUNNING && job.has_sweep_progress()) {
    fields.push_back({"progress", SweepProgressText(job.sweep_progress())});
  }
  if (job.has_error()) fields.push_back({"error", job.error().message()});
  if (job.has_recovery_report()) AddReport(job.recovery_report(), &fields);
  if (job.has_pruning_report()) AddReport(job.pruning_report(), &fields);
  if (job.has_sweep_report()) fields.push_back({"cells", EndSentence(job.sweep_report())});
  if (!job.parent().empty()) fields.push_back({"cell of", job.parent()});
  if (!job.model().empty()) fields.push_back({"model", job.model()});
  AddLabels(job.labels(), &fields);
  return fields;
}

std::vector<Field> DescribeModel(const v1::Model& model) {
  std::vector<Field> fields = {{"name", model.name()}};
  fields.push_back(
      {"network",
       absl::StrCat(EnumWord(model.network_kind(), sizeof("NETWORK_KIND")), ", ",
                    FormatCount(model.num_inputs(), "input"), model.bias() ? " and a bias" : "",
                    ", ", OutputsText(model), FormatCount(model.nonzeros(), "weight"), " in ",
                    FormatCount(model.active_neurons(), "neuron"),
                    FoundLinearTermText(model.linear_term(), model.linear_nonzeros()))});
  if (model.hidden_widths_size() > 1) {
    fields.push_back({"hidden widths", absl::StrJoin(model.hidden_widths(), ", ")});
  }
  if (!model.class_names().empty()) {
    fields.push_back({"classes", absl::StrJoin(model.class_names(), ", ")});
  }
  fields.push_back({"size", FormatBytes(model.size_bytes())});
  fields.push_back({"created", FormatTime(model.create_time())});
  fields.push_back({"job", model.job().empty() ? "none, uploaded" : model.job()});
  if (model.has_pruning_spec()) {
    AddSpec(model.pruning_spec(), &fields);
  } else if (model.has_spec()) {
    AddSpec(model.spec(), model.report(), &fields);
  }
  if (model.has_report()) AddReport(model.report(), &fields);
  if (model.has_pruning_report()) AddReport(model.pruning_report(), &fields);
  fields.push_back({"made by", absl::StrCat("thresherd ", model.program_version())});
  AddLabels(model.labels(), &fields);
  return fields;
}

std::string DatasetTable(const std::vector<v1::Dataset>& datasets) {
  std::vector<std::vector<std::string>> rows = {
      {"ID", "SOURCE", "SAMPLES", "INPUTS", "OUTPUTS", "SIZE", "CREATED", "LABELS"}};
  for (const v1::Dataset& dataset : datasets) {
    rows.push_back({IdOf(dataset.name()), dataset.has_planted() ? "planted" : "upload",
                    absl::StrCat(dataset.num_samples()), absl::StrCat(dataset.num_inputs()),
                    absl::StrCat(dataset.num_outputs()), FormatBytes(dataset.size_bytes()),
                    FormatTime(dataset.create_time()), Labels(dataset.labels())});
  }
  return FormatTable(rows);
}

std::string JobTable(const std::vector<v1::Job>& jobs) {
  std::vector<std::vector<std::string>> rows = {{"ID", "STATE", "DATASET", "WIDTH", "NONZEROS",
                                                 "ITERATION", "RESIDUAL", "CREATED", "LABELS"}};
  for (const v1::Job& job : jobs) {
    if (job.has_sweep()) {
      const v1::SweepSpec& spec = job.sweep();
      rows.push_back({IdOf(job.name()), StateWord(job.state()),
                      spec.has_planted() ? "planted" : IdOf(spec.dataset()),
                      absl::StrCat("sweep of ", spec.hidden_widths_size()),
                      absl::StrCat("of ", spec.nonzeros_size()),
                      job.has_sweep_progress()
                          ? absl::StrCat(job.sweep_progress().cells_done(), "/",
                                         job.sweep_progress().cells_total())
                          : "-",
                      "-", FormatTime(job.create_time()), Labels(job.labels())});
      continue;
    }
    if (job.has_pruning()) {
      const v1::PruningSpec& spec = job.pruning();
      const bool of_model = !spec.model().empty();
      rows.push_back(
          {IdOf(job.name()), StateWord(job.state()), IdOf(spec.dataset()),
           of_model ? IdOf(spec.model()) : WidthsText(spec.options(), "-"),
           of_model ? BudgetColumn(spec.model_options()) : absl::StrCat(spec.options().nonzeros()),
           job.has_pruning_progress() ? absl::StrCat(job.pruning_progress().iteration()) : "-", "-",
           FormatTime(job.create_time()), Labels(job.labels())});
      continue;
    }
    const v1::RecoveryOptions& options = job.recovery().options();
    rows.push_back({IdOf(job.name()), StateWord(job.state()), IdOf(job.recovery().dataset()),
                    absl::StrCat(options.hidden_width()), BudgetColumn(job.recovery()),
                    job.has_progress() ? absl::StrCat(job.progress().iteration()) : "-",
                    job.has_progress() ? FormatNumber(job.progress().relative_residual()) : "-",
                    FormatTime(job.create_time()), Labels(job.labels())});
  }
  return FormatTable(rows);
}

std::string ModelTable(const std::vector<v1::Model>& models) {
  std::vector<std::vector<std::string>> rows = {{"ID", "KIND", "INPUTS", "OUTPUTS", "LAYERS",
                                                 "NONZEROS", "NEURONS", "PSNR", "ACCURACY",
                                                 "DATASET", "CREATED", "LABELS"}};
  for (const v1::Model& model : models) {
    const ModelFit fit = FitOf(model);
    rows.push_back(
        {IdOf(model.name()), EnumWord(model.network_kind(), sizeof("NETWORK_KIND")),
         absl::StrCat(model.num_inputs()), absl::StrCat(std::max<int64_t>(model.num_outputs(), 1)),
         absl::StrCat(std::max(model.hidden_widths_size(), 1)), absl::StrCat(model.nonzeros()),
         absl::StrCat(model.active_neurons()), fit.psnr_db ? FormatDecibel(*fit.psnr_db) : "-",
         fit.accuracy ? FormatAccuracy(*fit.accuracy) : "-", IdOf(model.dataset()),
         FormatTime(model.create_time()), Labels(model.labels())});
  }
  return FormatTable(rows);
}

}  // namespace thresher::client
