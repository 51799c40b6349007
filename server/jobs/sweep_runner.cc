#include "server/jobs/sweep_runner.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/samples/split.h"
#include "server/jobs/job_samples.h"
#include "server/jobs/sweep_grid.h"
#include "server/store/blob_folder.h"
#include "server/store/error_details.h"

namespace thresher::jobs {

using std::chrono::steady_clock;
using store::DatasetRecord;
using store::InvalidField;
using store::NameField;

namespace {

// After this time what had no room is tried again.
constexpr std::chrono::seconds kRetryInterval{1};

// Errors that pass; others are the cell's own.
bool IsTransient(const absl::Status& status) {
  if (absl::IsUnavailable(status) || absl::IsInternal(status)) return true;
  const std::optional<std::string> reason = store::ReasonOf(status);
  return reason == store::kReasonQueueFull || reason == store::kReasonDiskFull;
}

// The turn to make samples, while it lives.
class Turn {
 public:
  // Waits for it until `deadline` or a stop.
  Turn(MakingData& making_data, const std::stop_token& stop, steady_clock::time_point deadline)
      : making_data_(making_data) {
    const std::stop_callback wake(stop, [&making_data] {
      const store::MutexLock lock(making_data.mutex);
      making_data.changed.NotifyAll();
    });
    const store::MutexLock lock(making_data.mutex);
    while (making_data.busy && !stop.stop_requested()) {
      if (!making_data.changed.WaitUntil(making_data.mutex, deadline)) break;
    }
    taken_ = !making_data.busy;
    making_data.busy = true;
  }
  ~Turn() {
    if (!taken_) return;
    const store::MutexLock lock(making_data_.mutex);
    making_data_.busy = false;
    making_data_.changed.NotifyAll();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  bool taken() const { return taken_; }

 private:
  MakingData& making_data_;
  bool taken_ = false;
};

// One attempt at a sweep.
class Attempt {
 public:
  Attempt(store::Store& store, MakingData& making_data, const JobRun& run)
      : store_(store),
        making_data_(making_data),
        run_(run),
        spec_(std::get<SweepSpec>(run.job.spec)),
        num_cells_(NumCells(spec_)),
        cells_per_dataset_(CellsPerDataset(spec_)),
        states_(static_cast<size_t>(num_cells_), CellState::kToDo),
        cells_left_(static_cast<size_t>(num_cells_ / cells_per_dataset_), cells_per_dataset_) {
    if (run.job.progress) elapsed_before_ = store::ElapsedSecondsOf(*run.job.progress);
  }

  absl::StatusOr<JobOutcome> Run() {
    if (!Begin()) return Outcome(TerminationReason::kCancelled);
    Report();
    TerminationReason reason = TerminationReason::kIterationLimit;
    while (num_done_ < num_cells_) {
      if (run_.stop.stop_requested()) {
        reason = TerminationReason::kCancelled;
        break;
      }
      if (run_.time_limit_seconds > 0 && ElapsedSeconds() >= run_.time_limit_seconds) {
        reason = TerminationReason::kTimeLimit;
        break;
      }
      auto deadline = Deadline();
      if (num_active_ < run_.cells.max_active && SkipTo(CellState::kToDo)) {
        if (StartNext()) continue;
        deadline = std::min(deadline, steady_clock::now() + kRetryInterval);
      }
      Take(run_.cells.wait(deadline));
    }
    if (reason != TerminationReason::kIterationLimit && !StopCells(reason)) {
      return Outcome(TerminationReason::kCancelled);
    }
    DeleteDatasets();
    return Outcome(reason);
  }

 private:
  enum class CellState : char { kToDo, kActive, kDone };

  // False: stopped before the store would say where the sweep stands.
  bool Begin() {
    for (;;) {
      const absl::StatusOr<SweepCells::SoFar> so_far = run_.cells.begin();
      if (so_far.ok()) {
        for (const EndedCell& cell : so_far->ended) MarkDone(cell);
        for (const int64_t cell : so_far->active) Activate(cell);
        return true;
      }
      if (run_.stop.stop_requested()) return false;
      run_.cells.wait(steady_clock::now() + kRetryInterval);
    }
  }

  // Cancels what is active, unless the server stops: then it is left for the next attempt, and the
  // answer is false.
  bool StopCells(TerminationReason reason) {
    if (reason == TerminationReason::kCancelled && !run_.cells.cancelled()) {
      Report();
      return false;
    }
    run_.cells.cancel();
    Take(run_.cells.wait(steady_clock::now()));
    return true;
  }

  void Activate(int64_t cell) {
    if (std::exchange(states_[static_cast<size_t>(cell)], CellState::kActive) == CellState::kToDo) {
      ++num_active_;
    }
  }

  // True: it was the last one on its data set.
  bool MarkDone(const EndedCell& cell) {
    CellState& state = states_[static_cast<size_t>(cell.cell)];
    if (state == CellState::kDone) return false;
    if (state == CellState::kActive) --num_active_;
    state = CellState::kDone;
    ++num_done_;
    if (cell.failed) ++num_failed_;
    return --cells_left_[static_cast<size_t>(cell.cell / cells_per_dataset_)] == 0;
  }

  void End(const EndedCell& cell) {
    if (!MarkDone(cell) || !OwnsDatasets()) return;
    store_.datasets().Delete(DatasetId(cell.cell / cells_per_dataset_)).IgnoreError();
  }

  void Take(const std::vector<EndedCell>& ended) {
    if (ended.empty()) return;
    for (const EndedCell& cell : ended) End(cell);
    Report();
  }

  // Moves to the next cell in this state; false: there is none.
  bool SkipTo(CellState state) {
    while (next_ < num_cells_ && states_[static_cast<size_t>(next_)] != state) ++next_;
    return next_ < num_cells_;
  }

  // Starts the next cell, or keeps its error as its row. False: neither works now.
  bool StartNext() {
    SweepCell cell = CellAt(spec_, next_);
    const absl::StatusOr<DatasetRecord> dataset = DatasetOf(cell);
    absl::Status status = dataset.status();
    if (status.ok()) {
      cell.num_samples = dataset->num_samples;
      status = run_.cells.start(cell, JobOf(spec_, cell, dataset->id));
    }
    if (status.ok()) {
      Activate(next_);
      return true;
    }
    if (run_.stop.stop_requested() || IsTransient(status)) return false;
    JobRecord failed;
    failed.cell = cell;
    failed.state = JobState::kFailed;
    failed.error = JobError{.code = status.code(), .message = std::string(status.message())};
    if (!run_.cells.record(store::RowOf(failed)).ok()) return false;
    End({.cell = next_, .failed = true});
    Report();
    return true;
  }

  // ----- The data sets of the sweep's own. -----

  bool OwnsDatasets() const { return spec_.planted || !spec_.num_samples.empty(); }

  // Always the same for the same sweep, so that another attempt finds it.
  std::string DatasetId(int64_t index) const {
    const std::string text = absl::StrCat(
        "sweep\n", run_.job.id, "\n", run_.job.create_time.time_since_epoch().count(), "\n", index);
    return absl::StrCat("sweep-", store::Sha256Hex(text).substr(0, 32));
  }

  absl::StatusOr<DatasetRecord> DatasetOf(const SweepCell& cell) {
    const int64_t index = cell.cell / cells_per_dataset_;
    if (dataset_ && dataset_index_ == index) return *dataset_;
    absl::StatusOr<DatasetRecord> dataset = MakeDataset(cell, index);
    if (dataset.ok()) {
      dataset_ = *dataset;
      dataset_index_ = index;
    }
    return dataset;
  }

  absl::StatusOr<DatasetRecord> MakeDataset(const SweepCell& cell, int64_t index) {
    if (!OwnsDatasets()) return store_.datasets().Get(spec_.dataset_id);
    store::CreateIdentity identity;
    identity.id = DatasetId(index);
    identity.parent = run_.job.id;
    absl::StatusOr<DatasetRecord> earlier = store_.datasets().Get(identity.id);
    if (!absl::IsNotFound(earlier.status())) return earlier;
    const Turn turn(making_data_, run_.stop, Deadline());
    if (!turn.taken()) return absl::UnavailableError("another sweep makes its data");
    if (spec_.planted) {
      return store_.datasets().CreatePlanted(identity, PlantedOf(spec_, cell), {}, run_.stop);
    }
    const absl::StatusOr<DatasetRecord> whole = store_.datasets().Get(spec_.dataset_id);
    if (!whole.ok()) return whole.status();
    const absl::StatusOr<std::shared_ptr<const Samples>> samples = store_.datasets().Load(*whole);
    if (!samples.ok()) return samples.status();
    const absl::StatusOr<Samples> subset = RandomSubset(**samples, cell.num_samples, cell.seed);
    if (!subset.ok()) return subset.status();
    const auto planted = store_.datasets().LoadPlantedNetwork(*whole);
    if (!planted.ok()) return planted.status();
    return store_.datasets().Create(identity, whole->source, {}, *subset,
                                    planted->has_value() ? &**planted : nullptr);
  }

  // Those that a death left, or whose cells were not all started.
  void DeleteDatasets() {
    store::ListRequest request;
    request.parent = run_.job.id;
    request.page_size = 1000;
    for (;;) {
      const absl::StatusOr<store::Page<DatasetRecord>> page = store_.datasets().List(request);
      // What stays by a failure here is removed at the next start.
      if (!page.ok()) return;
      for (const DatasetRecord& dataset : page->records) {
        store_.datasets().Delete(dataset.id).IgnoreError();
      }
      if (page->next_page_token.empty()) return;
      request.page_token = page->next_page_token;
    }
  }

  // ----- Telling. -----

  double ElapsedSeconds() const {
    return elapsed_before_ + std::chrono::duration<double>(steady_clock::now() - start_).count();
  }

  // The end of the time limit, or a day from now.
  steady_clock::time_point Deadline() const {
    constexpr double kDay = 86400;
    const double seconds = run_.time_limit_seconds > 0
                               ? std::min(kDay, run_.time_limit_seconds - ElapsedSeconds())
                               : kDay;
    return steady_clock::now() +
           std::chrono::milliseconds(static_cast<int64_t>(1000 * std::max(0.0, seconds)) + 1);
  }

  void Report() {
    SweepProgress progress = {.cells_total = num_cells_,
                              .cells_done = num_done_,
                              .cells_failed = num_failed_,
                              .elapsed_seconds = ElapsedSeconds()};
    if (num_done_ > 0) {
      progress.left_seconds = progress.elapsed_seconds *
                              static_cast<double>(num_cells_ - num_done_) /
                              static_cast<double>(num_done_);
    }
    run_.on_iteration(progress);
    // The rows are in the store; the checkpoint only brings the record up to date.
    if (run_.checkpoint_due(progress)) run_.on_checkpoint(Checkpoint());
  }

  std::string Checkpoint() const { return absl::StrCat("cells ", num_done_); }

  JobOutcome Outcome(TerminationReason reason) const {
    JobOutcome outcome;
    outcome.report = SweepReport{.termination_reason = reason,
                                 .cells_total = num_cells_,
                                 .cells_done = num_done_,
                                 .cells_failed = num_failed_,
                                 .elapsed_seconds = ElapsedSeconds()};
    outcome.checkpoint = Checkpoint();
    return outcome;
  }

  store::Store& store_;
  MakingData& making_data_;
  const JobRun& run_;
  const SweepSpec& spec_;
  const int64_t num_cells_;
  const int64_t cells_per_dataset_;
  const steady_clock::time_point start_ = steady_clock::now();
  double elapsed_before_ = 0;

  std::vector<CellState> states_;
  std::vector<int64_t> cells_left_;  // of each data set: without a row
  int64_t next_ = 0;                 // no cell before it is still to do
  int64_t num_active_ = 0;
  int64_t num_done_ = 0;
  int64_t num_failed_ = 0;
  std::optional<DatasetRecord> dataset_;  // of the latest cell
  int64_t dataset_index_ = 0;
};

// An error of a cell's job as one of its method, which is the `index`-th, or of what the sweep says
// for the method.
absl::Status NameMethod(const SweepSpec& spec, const absl::Status& status, size_t index) {
  const std::string field = store::FieldOf(status).value_or("");
  std::string message(status.message());
  if (message.starts_with(field + ": ")) message.erase(0, field.size() + 2);
  if (!HasHiddenWidth(spec.methods[index])) {
    if (field == "pruning.model") return InvalidField("sweep.model", message);
    if (field == "pruning.dataset") return InvalidField("sweep.dataset", message);
    if (field == "pruning.model_options.nonzeros") return InvalidField("sweep.nonzeros", message);
  }
  const std::string within = absl::StrReplaceAll(
      field, {{"pruning.model_options.", "model_pruning."}, {".options.", "."}});
  return InvalidField(absl::StrCat("sweep.methods[", index, "]", within.empty() ? "" : ".", within),
                      message);
}

}  // namespace

// Most of the time each method's first cell will do. Subsets of the data set do not exist yet;
// whether it fits a model does not depend on them.
absl::Status SweepRunner::PlanMethods(const SweepSpec& spec) {
  for (size_t i = 0; i < spec.methods.size(); ++i) {
    if (!spec.num_samples.empty() && HasHiddenWidth(spec.methods[i])) continue;
    absl::Status first_error;
    for (int64_t index = 0; index < NumCells(spec); ++index) {
      const SweepCell cell = CellAt(spec, index);
      if (cell.method != spec.methods[i].name) continue;
      const absl::Status status = plan_cell_(JobOf(spec, cell, spec.dataset_id)).status();
      if (!absl::IsInvalidArgument(status)) {
        first_error = absl::OkStatus();
        break;
      }
      first_error.Update(status);
    }
    if (!first_error.ok()) return NameMethod(spec, first_error, i);
  }
  return absl::OkStatus();
}

absl::StatusOr<JobCost> SweepRunner::Plan(const SweepSpec& spec) {
  if (absl::Status status = ValidateSweep(spec); !status.ok()) return status;
  if (!spec.planted) {
    if (spec.dataset_id.empty()) {
      return InvalidField("sweep.dataset", "is required, or sweep.planted");
    }
    const absl::StatusOr<DatasetRecord> dataset = store_->datasets().Get(spec.dataset_id);
    if (!dataset.ok()) return dataset.status();
    if (absl::Status status = CheckHasTargets(*dataset, "dataset"); !status.ok()) {
      return NameField(status, "sweep.");
    }
    const store::SampleSplit split = {.held_out_fraction = spec.held_out_fraction,
                                      .held_out_dataset_id = spec.held_out_dataset_id};
    if (absl::Status status = PlanSplit(*store_, *dataset, split).status(); !status.ok()) {
      return NameField(status, "sweep.");
    }
    if (!spec.model_id.empty()) {
      if (auto model = store_->models().Get(spec.model_id); !model.ok()) return model.status();
    }
    for (const int64_t count : spec.num_samples) {
      if (count > dataset->num_samples) {
        return InvalidField(
            "sweep.num_samples",
            absl::StrCat("holds ", count, ", the data set has ", dataset->num_samples, " samples"));
      }
    }
    if (absl::Status status = PlanMethods(spec); !status.ok()) return status;
  }
  return JobCost{};  // its cells have their own
}

absl::StatusOr<JobOutcome> SweepRunner::Run(const JobRun& run) {
  return Attempt(*store_, making_data_, run).Run();
}

}  // namespace thresher::jobs
