// Sweeps: the grid, and the manager that runs its cells. The cells' solver is the test's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "server/jobs/sweep_grid.h"
#include "server/jobs/sweep_runner.h"
#include "server/store/job_store.h"
#include "tests/server/jobs/manager_fixture.h"

namespace thresher::jobs {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Two widths, two budgets, three seeds, two methods.
SweepSpec OnData() {
  SweepSpec spec;
  spec.dataset_id = "data";
  spec.hidden_widths = {1, 2};
  spec.nonzeros = {3, 4};
  spec.seeds = {5, 6, 7};
  spec.methods = {{.name = "auto", .options = RecoveryOptions()},
                  {.name = "imp", .options = PruneOptions()}};
  return spec;
}

store::ModelPruningOptions OneShot() {
  store::ModelPruningOptions options;
  options.train = false;
  return options;
}

// Two budgets, three seeds, two ways to prune the model.
SweepSpec OfModel() {
  SweepSpec spec = OnData();
  spec.model_id = "net";
  spec.hidden_widths.clear();
  spec.methods = {{.name = "distill", .options = store::ModelPruningOptions()},
                  {.name = "obs", .options = OneShot()}};
  return spec;
}

SweepSpec Planted() {
  SweepSpec spec = OnData();
  spec.dataset_id.clear();
  spec.planted = PlantedOptions{.num_samples = 20, .num_inputs = 5};
  return spec;
}

TEST(SweepGridTest, CellsAreAllCombinationsOnce) {
  SweepSpec spec = OnData();
  spec.num_samples = {1, 2};
  ASSERT_TRUE(ValidateSweep(spec).ok());
  ASSERT_EQ(NumCells(spec), 48);
  std::set<std::string> seen;
  for (int64_t i = 0; i < NumCells(spec); ++i) {
    SweepCell cell = CellAt(spec, i);
    EXPECT_EQ(cell.cell, i);
    cell.cell = 0;
    seen.insert(store::SweepCellToJson(cell));
  }
  EXPECT_THAT(seen, SizeIs(48));
  // Cells of one data set follow one another.
  EXPECT_EQ(CellsPerDataset(spec), 8);
  for (int64_t i = 0; i < NumCells(spec); ++i) {
    const SweepCell cell = CellAt(spec, i);
    const SweepCell first = CellAt(spec, i / 8 * 8);
    EXPECT_EQ(cell.num_samples, first.num_samples);
    EXPECT_EQ(cell.seed, first.seed);
  }
}

TEST(SweepGridTest, ACellsJobHasItsParameters) {
  SweepSpec spec = Planted();
  spec.held_out_fraction = 0.25;
  const SweepCell last = CellAt(spec, NumCells(spec) - 1);
  const JobSpec job = JobOf(spec, last, "d");
  const auto& pruning = std::get<PruningSpec>(job);
  EXPECT_EQ(pruning.dataset_id, "d");
  EXPECT_EQ(pruning.options.hidden_widths, std::vector<int64_t>{2});
  EXPECT_EQ(pruning.options.nonzeros, 4);
  EXPECT_EQ(pruning.options.seed, 7u);
  EXPECT_EQ(pruning.split.split_seed, 7u);
  EXPECT_EQ(pruning.split.held_out_fraction, 0.25);
  SweepSpec with_test = spec;
  with_test.held_out_dataset_id = "test";
  EXPECT_EQ(std::get<PruningSpec>(JobOf(with_test, last, "d")).split.held_out_dataset_id, "test");
  EXPECT_EQ(
      std::get<RecoverySpec>(JobOf(with_test, CellAt(spec, 0), "d")).split.held_out_dataset_id,
      "test");
  const JobSpec first = JobOf(spec, CellAt(spec, 0), "d");
  EXPECT_EQ(std::get<RecoverySpec>(first).options.hidden_width, 1);
  EXPECT_EQ(std::get<RecoverySpec>(first).options.nonzeros, 3);
  const PlantedOptions planted = PlantedOf(spec, last);
  EXPECT_EQ(planted.num_samples, 20);
  EXPECT_EQ(planted.hidden_width, 2);
  EXPECT_EQ(planted.nonzeros, 4);
  EXPECT_EQ(planted.seed, 7u);
}

TEST(SweepGridTest, APrunedModelHasNoWidthOfTheSweep) {
  SweepSpec spec = OfModel();
  ASSERT_TRUE(ValidateSweep(spec).ok()) << ValidateSweep(spec);
  ASSERT_EQ(NumCells(spec), 12);
  EXPECT_EQ(CellsPerDataset(spec), 4);
  // Beside methods with a width each budget and method is one cell still.
  spec.methods.push_back({.name = "imp", .options = PruneOptions()});
  spec.hidden_widths = {9};
  spec.held_out_fraction = 0.25;
  ASSERT_TRUE(ValidateSweep(spec).ok()) << ValidateSweep(spec);
  ASSERT_EQ(NumCells(spec), 18);
  for (int64_t i = 0; i < NumCells(spec); ++i) {
    const SweepCell cell = CellAt(spec, i);
    const auto job = std::get<PruningSpec>(JobOf(spec, cell, "d"));
    EXPECT_EQ(job.dataset_id, "d");
    EXPECT_EQ(job.split.held_out_fraction, 0.25);
    EXPECT_EQ(job.split.split_seed, cell.seed);
    if (cell.method == "imp") {
      EXPECT_EQ(cell.hidden_width, 9);
      EXPECT_EQ(job.model_id, "");
      EXPECT_EQ(job.options.hidden_widths, std::vector<int64_t>{9});
      continue;
    }
    EXPECT_EQ(cell.hidden_width, 0);
    EXPECT_EQ(job.model_id, "net");
    EXPECT_EQ(job.model_options.train, cell.method == "distill");
    EXPECT_EQ(job.model_options.distill.one_shot.nonzeros, cell.nonzeros);
    EXPECT_EQ(job.model_options.distill.one_shot.seed, cell.seed);
  }
}

TEST(SweepGridTest, ErrorsNameTheField) {
  const auto field = [](const auto& change, SweepSpec spec = OnData()) {
    change(spec);
    const absl::Status status = ValidateSweep(spec);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return store::FieldOf(status).value_or("");
  };
  EXPECT_EQ(field([](SweepSpec& s) { s.hidden_widths.clear(); }), "sweep.hidden_widths");
  EXPECT_EQ(field([](SweepSpec& s) { s.hidden_widths = {0}; }), "sweep.hidden_widths");
  EXPECT_EQ(field([](SweepSpec& s) { s.nonzeros.clear(); }), "sweep.nonzeros");
  EXPECT_EQ(field([](SweepSpec& s) { s.nonzeros = {4, 5, 4}; }), "sweep.nonzeros");
  EXPECT_EQ(field([](SweepSpec& s) { s.num_samples = {-1}; }), "sweep.num_samples");
  EXPECT_EQ(field([](SweepSpec& s) { s.seeds = {1, 1}; }), "sweep.seeds");
  EXPECT_EQ(field([](SweepSpec& s) { s.seeds.resize(20000); }), "sweep.seeds");
  EXPECT_EQ(field([](SweepSpec& s) { s.methods.clear(); }), "sweep.methods");
  EXPECT_EQ(field([](SweepSpec& s) { s.methods[1].name = "auto"; }), "sweep.methods[1].name");
  EXPECT_EQ(field([](SweepSpec& s) { s.methods[0].name = "a'b"; }), "sweep.methods[0].name");
  EXPECT_EQ(field([](SweepSpec& s) { s.methods[0].name = ""; }), "sweep.methods[0].name");
  EXPECT_EQ(field([](SweepSpec& s) { s.methods[1].options = PruneOptions{.nonzeros = 5}; }),
            "sweep.methods[1].pruning");
  EXPECT_EQ(field([](SweepSpec& s) { s.hidden_layers = 17; }), "sweep.hidden_layers");
  EXPECT_EQ(field([](SweepSpec& s) { s.held_out_fraction = 1; }), "sweep.held_out_fraction");
  EXPECT_EQ(field([](SweepSpec& s) { s.held_out_dataset_id = "test"; }, Planted()),
            "sweep.held_out_dataset");
  EXPECT_EQ(field([](SweepSpec& s) { s.cell_time_limit_seconds = 0; }), "sweep.cell_time_limit");
  EXPECT_EQ(field([](SweepSpec& s) {
              s.hidden_widths.clear();
              for (int64_t i = 1; i <= 1000; ++i) s.hidden_widths.push_back(i);
            }),
            "sweep");
  EXPECT_EQ(field([](SweepSpec& s) { s.planted->num_samples = 0; }, Planted()),
            "sweep.planted.num_samples");
  EXPECT_EQ(field([](SweepSpec& s) { s.num_samples = {3}; }, Planted()),
            "sweep.planted.num_samples");
  EXPECT_EQ(field([](SweepSpec& s) { s.planted->nonzeros = 3; }, Planted()), "sweep.planted");
  EXPECT_EQ(field([](SweepSpec& s) { s.planted->num_inputs = 0; }, Planted()),
            "sweep.planted.num_inputs");
  EXPECT_TRUE(ValidateSweep(OnData()).ok());
  EXPECT_TRUE(ValidateSweep(Planted()).ok());
  // A model where methods prune one and nowhere else, widths where methods have them.
  EXPECT_EQ(field([](SweepSpec& s) { s.model_id.clear(); }, OfModel()), "sweep.model");
  EXPECT_EQ(field([](SweepSpec& s) { s.model_id = "net"; }), "sweep.model");
  EXPECT_EQ(field(
                [](SweepSpec& s) {
                  s.dataset_id.clear();
                  s.planted = PlantedOptions{.num_samples = 20, .num_inputs = 5};
                },
                OfModel()),
            "sweep.model");
  EXPECT_EQ(field([](SweepSpec& s) { s.hidden_widths = {2}; }, OfModel()), "sweep.hidden_widths");
  EXPECT_EQ(field([](SweepSpec& s) { s.hidden_layers = 2; }, OfModel()), "sweep.hidden_layers");
  const auto with_imp = [](const std::vector<int64_t>& widths) {
    return [widths](SweepSpec& s) {
      s.methods.push_back({.name = "imp", .options = PruneOptions()});
      s.hidden_widths = widths;
    };
  };
  EXPECT_EQ(field(with_imp({}), OfModel()), "sweep.hidden_widths");
  EXPECT_EQ(field(with_imp({2, 3}), OfModel()), "sweep.hidden_widths");
  for (const auto& own : std::vector<std::function<void(store::ModelPruningOptions&)>>{
           [](auto& o) { o.distill.one_shot.nonzeros = 3; }, [](auto& o) { o.fraction = 0.5; },
           [](auto& o) { o.path = store::PruningPath(); },
           [](auto& o) { o.distill.one_shot.seed = 1; }}) {
    EXPECT_EQ(
        field(
            [&](SweepSpec& s) { own(std::get<store::ModelPruningOptions>(s.methods[1].options)); },
            OfModel()),
        "sweep.methods[1].model_pruning");
  }
}

// ----- The manager. -----

using CellRunner = std::function<absl::StatusOr<JobOutcome>(const JobRun&)>;

std::unique_ptr<JobManager> MakeManager(const JobManagerOptions& options, store::Store* store,
                                        SweepRunner* sweeps, CellRunner run_cell) {
  return std::make_unique<JobManager>(
      options, store,
      [sweeps](const JobSpec& spec) -> absl::StatusOr<JobCost> {
        if (const auto* sweep = std::get_if<SweepSpec>(&spec)) return sweeps->Plan(*sweep);
        return JobCost{.peak_memory_bytes = 7};
      },
      [sweeps, run_cell = std::move(run_cell)](const JobRun& run) -> absl::StatusOr<JobOutcome> {
        if (std::holds_alternative<SweepSpec>(run.job.spec)) return sweeps->Run(run);
        return run_cell(run);
      });
}

class SweepTest : public ManagerTest {
 protected:
  void TearDown() override {
    manager_.reset();
    sweeps_.reset();
  }
  void StartSweeps(CellRunner run_cell) {
    manager_.reset();
    sweeps_ = std::make_unique<SweepRunner>(store_.get(), plan_cell_);
    manager_ = MakeManager(options_, store_.get(), sweeps_.get(),
                           [this, run_cell = std::move(run_cell)](const JobRun& run) {
                             {
                               store::MutexLock lock(mutex_);
                               ++runs_[run.job.cell->cell];
                             }
                             return run_cell(run);
                           });
    ASSERT_TRUE(manager_->Start().ok());
  }
  static absl::StatusOr<JobOutcome> Converge(const JobRun&) {
    return Outcome(TerminationReason::kConverged);
  }
  static CreateJobRequest SweepRequest(const SweepSpec& spec) {
    CreateJobRequest request;
    request.identity.id = "sweep";
    request.spec = spec;
    return request;
  }
  SweepReport ReportOf(const std::string& id) {
    auto record = manager_->Get(id);
    EXPECT_TRUE(record.ok()) << record.status();
    return record.ok() ? std::get<SweepReport>(*record->report) : SweepReport();
  }
  std::vector<JobRecord> Children() {
    store::ListRequest request;
    request.parent = "sweep";
    return manager_->List(request)->records;
  }
  int64_t NumOwnDatasets() {
    store::ListRequest request;
    request.parent = "sweep";
    return static_cast<int64_t>(store_->datasets().List(request)->records.size());
  }
  // How often each cell was run.
  std::map<int64_t, int> runs() {
    store::MutexLock lock(mutex_);
    return runs_;
  }
  static void ExpectEveryCellOnce(const SweepSpec& spec, const SweepReport& report) {
    ASSERT_EQ(static_cast<int64_t>(report.rows.size()), NumCells(spec));
    for (int64_t i = 0; i < NumCells(spec); ++i) {
      const SweepCell& row = report.rows[static_cast<size_t>(i)];
      const SweepCell cell = CellAt(spec, i);
      EXPECT_EQ(row.cell, i);
      EXPECT_EQ(row.hidden_width, cell.hidden_width);
      EXPECT_EQ(row.nonzeros, cell.nonzeros);
      EXPECT_EQ(row.seed, cell.seed);
      EXPECT_EQ(row.method, cell.method);
    }
  }

  // A sweep and its first cell, as an earlier server left them.
  void Leave(const JobRecord& sweep, const JobRecord& cell) {
    JobEvent event;
    event.number = 1;
    const absl::Status status = store_->database().Write([&](store::Connection& connection)
                                                             -> absl::Status {
      auto key = store::InsertJob(connection, {.id = "sweep"}, sweep, event);
      if (!key.ok()) return key.status();
      return store::InsertJob(connection, {.id = "cell", .parent = "sweep"}, cell, event).status();
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  static JobRecord LeftSweep(JobState state) {
    JobRecord sweep;
    sweep.id = "sweep";
    sweep.spec = OnData();
    sweep.state = state;
    sweep.latest_event_number = 1;
    return sweep;
  }
  static JobRecord LeftCell(JobState state) {
    JobRecord cell;
    cell.id = "cell";
    cell.spec = JobOf(OnData(), CellAt(OnData(), 0), "data");
    cell.state = state;
    cell.parent_id = "sweep";
    cell.cell = CellAt(OnData(), 0);
    cell.latest_event_number = 1;
    return cell;
  }

  JobPlanner plan_cell_ = [](const JobSpec&) { return JobCost{}; };
  std::unique_ptr<SweepRunner> sweeps_;

 private:
  store::Mutex mutex_;
  std::map<int64_t, int> runs_ THRESHER_GUARDED_BY(mutex_);
};

TEST_F(SweepTest, EveryCellBecomesARowWithOneWorker) {
  StartSweeps([](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    EXPECT_EQ(run.job.parent_id, "sweep");
    EXPECT_EQ(run.job.priority, 3);
    EXPECT_EQ(run.time_limit_seconds, 12);
    JobOutcome outcome = Outcome(TerminationReason::kConverged);
    auto& report = std::get<RecoveryReport>(outcome.report);
    report.training.psnr_db = 40;
    report.held_out = FitQuality{.relative_residual = 0.5, .psnr_db = 30};
    report.nonzeros = 9;
    return outcome;
  });
  SweepSpec spec = OnData();
  spec.cell_time_limit_seconds = 12;
  CreateJobRequest request = SweepRequest(spec);
  request.priority = 3;
  Create(request);
  const JobRecord ended = WaitFor("sweep", JobState::kSucceeded);
  // Events and lists have no rows.
  EXPECT_THAT(std::get<SweepReport>(*ended.report).rows, IsEmpty());
  EXPECT_THAT(std::get<SweepReport>(*manager_->List({})->records.at(0).report).rows, IsEmpty());
  const SweepReport report = ReportOf("sweep");
  EXPECT_EQ(report.termination_reason, TerminationReason::kIterationLimit);
  EXPECT_EQ(report.cells_done, 24);
  EXPECT_EQ(report.cells_failed, 0);
  ExpectEveryCellOnce(spec, report);
  for (const SweepCell& row : report.rows) {
    EXPECT_EQ(row.state, JobState::kSucceeded);
    EXPECT_EQ(row.num_samples, 2);
    EXPECT_EQ(row.training_psnr_db, 40);
    EXPECT_EQ(row.held_out_psnr_db, 30);
    EXPECT_EQ(row.held_out_relative_residual, 0.5);
    EXPECT_EQ(row.network_nonzeros, 9);
    EXPECT_EQ(row.predicted_peak_memory_bytes, 7);
    EXPECT_EQ(row.model_id, "");
  }
  // The cells are gone, their models with them, and were never in the list.
  EXPECT_THAT(Children(), IsEmpty());
  EXPECT_THAT(manager_->List({})->records, SizeIs(1));
  EXPECT_THAT(store_->models().List({})->records, IsEmpty());
  EXPECT_TRUE(manager_->Delete("sweep").ok());
}

TEST_F(SweepTest, ModelsStayWhenAsked) {
  StartSweeps(Converge);
  SweepSpec spec = OnData();
  spec.seeds = {0};
  spec.keep_models = true;
  Create(SweepRequest(spec));
  WaitFor("sweep", JobState::kSucceeded);
  std::set<std::string> models;
  for (const SweepCell& row : ReportOf("sweep").rows) models.insert(row.model_id);
  EXPECT_THAT(models, SizeIs(8));
  for (const std::string& id : models) EXPECT_TRUE(store_->models().Get(id).ok()) << id;
}

TEST_F(SweepTest, AFailedCellIsARowAndTheSweepGoesOn) {
  StartSweeps([](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    if (run.job.cell->nonzeros == 4) return absl::InternalError(std::string(500, 'x'));
    return Outcome(TerminationReason::kConverged);
  });
  Create(SweepRequest(OnData()));
  WaitFor("sweep", JobState::kSucceeded);
  const SweepReport report = ReportOf("sweep");
  EXPECT_EQ(report.cells_failed, 12);
  ExpectEveryCellOnce(OnData(), report);
  for (const SweepCell& row : report.rows) {
    EXPECT_EQ(row.state == JobState::kFailed, row.nonzeros == 4);
    EXPECT_EQ(row.error.has_value(), row.nonzeros == 4);
    if (row.error) {
      EXPECT_LE(row.error->message.size(), 200u);
    }
  }
}

TEST_F(SweepTest, MethodsShareWhatIsPlantedForThem) {
  std::map<std::string, std::set<std::string>> methods;  // by data set
  store::Mutex mutex;
  StartSweeps([&](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    const std::string& id = store::DatasetIdOf(run.job.spec);
    const auto dataset = store_->datasets().Get(id);
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    if (dataset.ok()) {
      const auto& planted = std::get<PlantedOptions>(dataset->source);
      EXPECT_EQ(planted.nonzeros, run.job.cell->nonzeros);
      EXPECT_EQ(planted.hidden_width, run.job.cell->hidden_width);
      EXPECT_EQ(planted.seed, run.job.cell->seed);
      EXPECT_EQ(dataset->num_samples, 20);
    }
    EXPECT_THAT(store_->datasets().List({})->records, SizeIs(1)) << "only the user's is listed";
    const store::MutexLock lock(mutex);
    methods[id].insert(run.job.cell->method);
    return Outcome(TerminationReason::kConverged);
  });
  Create(SweepRequest(Planted()));
  WaitFor("sweep", JobState::kSucceeded);
  EXPECT_THAT(methods, SizeIs(12));
  for (const auto& [id, names] : methods) EXPECT_THAT(names, SizeIs(2));
  EXPECT_EQ(NumOwnDatasets(), 0);
}

TEST_F(SweepTest, WhatCannotBePlantedIsAFailedRow) {
  StartSweeps(Converge);
  SweepSpec spec = Planted();
  spec.nonzeros = {3, 1000};  // more than 5 inputs times 2 neurons
  Create(SweepRequest(spec));
  WaitFor("sweep", JobState::kSucceeded);
  const SweepReport report = ReportOf("sweep");
  ExpectEveryCellOnce(spec, report);
  EXPECT_EQ(report.cells_failed, 12);
  for (const SweepCell& row : report.rows) {
    if (row.nonzeros != 1000) continue;
    ASSERT_TRUE(row.error);
    EXPECT_THAT(row.error->message, HasSubstr("nonzeros"));
  }
}

TEST_F(SweepTest, SubsetsHaveTheirNumberOfSamples) {
  StartSweeps([&](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    const auto dataset = store_->datasets().Get(store::DatasetIdOf(run.job.spec));
    EXPECT_TRUE(dataset.ok() && dataset->num_samples == run.job.cell->num_samples);
    return Outcome(TerminationReason::kConverged);
  });
  SweepSpec spec = OnData();
  spec.num_samples = {1, 2};
  Create(SweepRequest(spec));
  WaitFor("sweep", JobState::kSucceeded);
  ExpectEveryCellOnce(spec, ReportOf("sweep"));
  EXPECT_EQ(NumOwnDatasets(), 0);
  spec.num_samples = {3};
  CreateJobRequest too_many = SweepRequest(spec);
  too_many.identity.id = "more-than-there-are";
  EXPECT_EQ(store::FieldOf(manager_->Create(too_many).status()), "sweep.num_samples");
}

TEST_F(SweepTest, TheModelStaysWhileTheSweepLives) {
  ASSERT_TRUE(store_->models().CreateUploaded({.id = "net"}, SmallModel(), {}, "1").ok());
  auto running = std::make_shared<Gate>();
  auto open = std::make_shared<Gate>();
  StartSweeps([=](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    EXPECT_EQ(store::ModelIdOf(run.job.spec), "net");
    running->Open();
    open->WaitOrStop(run.stop);
    JobOutcome outcome = Outcome(TerminationReason::kIterationLimit);
    const store::PruningFit fit = {.num_samples = 2, .fit = {.loss = 0.5, .accuracy = 0.75}};
    outcome.report = PruningReport{
        .training = fit,
        .held_out = store::PruningFit{.num_samples = 1, .fit = {.loss = 0.25, .accuracy = 0.5}},
        .model = store::ModelPruningReport{
            .given_training = fit, .given_held_out = fit, .given_nonzeros = 90}};
    return outcome;
  });
  Create(SweepRequest(OfModel()));
  EXPECT_EQ(store_->models().Delete("net").code(), absl::StatusCode::kFailedPrecondition);
  running->Wait();
  EXPECT_EQ(store_->models().Delete("net").code(), absl::StatusCode::kFailedPrecondition);
  open->Open();
  WaitFor("sweep", JobState::kSucceeded);
  const SweepReport report = ReportOf("sweep");
  ExpectEveryCellOnce(OfModel(), report);
  for (const SweepCell& row : report.rows) {
    EXPECT_EQ(row.training_accuracy, 0.75);
    EXPECT_EQ(row.held_out_accuracy, 0.5);
    EXPECT_EQ(row.training_loss, 0.5);
    EXPECT_EQ(row.held_out_loss, 0.25);
    EXPECT_EQ(row.given_nonzeros, 90);
    ASSERT_TRUE(row.given_training && row.given_held_out);
    EXPECT_EQ(row.given_held_out->fit.accuracy, 0.75);
  }
  EXPECT_TRUE(store_->models().Delete("net").ok());
  // Without the model there is no such sweep.
  CreateJobRequest late = SweepRequest(OfModel());
  late.identity.id = "late";
  late.validate_only = true;
  EXPECT_TRUE(absl::IsNotFound(manager_->Create(late).status()));
}

TEST_F(SweepTest, CancellingCancelsTheCells) {
  options_.num_workers = 2;
  auto running = std::make_shared<Gate>();
  StartSweeps([running](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    running->Open();
    Gate().WaitOrStop(run.stop);
    return Outcome(TerminationReason::kCancelled);
  });
  Create(SweepRequest(Planted()));
  running->Wait();
  EXPECT_LE(Children().size(), 4u);
  for (const JobRecord& child : Children()) EXPECT_EQ(child.parent_id, "sweep");
  ASSERT_TRUE(manager_->Cancel("sweep").ok());
  WaitFor("sweep", JobState::kCancelled);
  const SweepReport report = ReportOf("sweep");
  EXPECT_EQ(report.termination_reason, TerminationReason::kCancelled);
  EXPECT_LT(report.cells_done, 24);
  for (const SweepCell& row : report.rows) EXPECT_EQ(row.state, JobState::kCancelled);
  EXPECT_THAT(Children(), IsEmpty());
  EXPECT_EQ(NumOwnDatasets(), 0);
  // The workers are free.
  CreateJobRequest next = SweepRequest(OnData());
  next.identity.id = "next";
  Create(next);
  ASSERT_TRUE(manager_->Cancel("next").ok());
  WaitFor("next", JobState::kCancelled);
}

TEST_F(SweepTest, OneCancelledCellIsARowAndTheSweepGoesOn) {
  auto running = std::make_shared<Gate>();
  StartSweeps([running](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    if (run.job.cell->cell > 0) return Outcome(TerminationReason::kConverged);
    running->Open();
    Gate().WaitOrStop(run.stop);
    return Outcome(TerminationReason::kCancelled);
  });
  Create(SweepRequest(OnData()));
  running->Wait();
  for (const JobRecord& child : Children()) {
    if (child.cell->cell == 0) {
      ASSERT_TRUE(manager_->Cancel(child.id).ok());
    }
  }
  WaitFor("sweep", JobState::kSucceeded);
  const SweepReport report = ReportOf("sweep");
  ExpectEveryCellOnce(OnData(), report);
  for (const SweepCell& row : report.rows) {
    EXPECT_EQ(row.state, row.cell == 0 ? JobState::kCancelled : JobState::kSucceeded);
  }
}

TEST_F(SweepTest, AFullQueueIsWaitedFor) {
  options_.max_queued_jobs = 1;
  StartSweeps(Converge);
  Create(SweepRequest(OnData()));
  WaitFor("sweep", JobState::kSucceeded);
  ExpectEveryCellOnce(OnData(), ReportOf("sweep"));
}

TEST_F(SweepTest, TheTimeLimitEndsItWithTheRowsSoFar) {
  StartSweeps([](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    if (run.job.cell->cell == 0) return Outcome(TerminationReason::kConverged);
    Gate().WaitOrStop(run.stop);
    return Outcome(TerminationReason::kCancelled);
  });
  CreateJobRequest request = SweepRequest(OnData());
  request.time_limit_seconds = 0.2;
  Create(request);
  WaitFor("sweep", JobState::kSucceeded);
  EXPECT_EQ(ReportOf("sweep").termination_reason, TerminationReason::kTimeLimit);
  EXPECT_THAT(Children(), IsEmpty());
}

TEST_F(SweepTest, ProgressCountsTheCells) {
  StartSweeps(Converge);
  Create(SweepRequest(OnData()));
  Follower follower(*manager_, "sweep");
  int64_t last = -1;
  for (;;) {
    const auto next = follower.Next();
    if (next.outcome != EventSubscription::Outcome::kEvent) break;
    const auto* progress = std::get_if<JobProgress>(&next.event.event);
    if (progress == nullptr) continue;
    const auto& sweep = std::get<SweepProgress>(*progress);
    EXPECT_EQ(sweep.cells_total, 24);
    EXPECT_GT(sweep.cells_done, last);
    EXPECT_EQ(sweep.left_seconds.has_value(), sweep.cells_done > 0);
    last = sweep.cells_done;
  }
  EXPECT_EQ(last, 24);
}

TEST_F(SweepTest, ARestartGoesOnWhereItStopped) {
  auto enough = std::make_shared<Gate>();
  StartSweeps([enough](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    if (run.job.cell->cell < 10) return Outcome(TerminationReason::kConverged);
    enough->Open();
    Gate().WaitOrStop(run.stop);
    return Outcome(TerminationReason::kCancelled);
  });
  Create(SweepRequest(Planted()));
  enough->Wait();
  EXPECT_EQ(ReportOf("sweep").rows.size(), 10u);
  manager_.reset();
  OpenStore();
  StartSweeps(Converge);
  WaitFor("sweep", JobState::kSucceeded);
  ExpectEveryCellOnce(Planted(), ReportOf("sweep"));
  for (const auto& [cell, count] : runs()) EXPECT_LE(count, cell < 10 ? 1 : 2) << cell;
  EXPECT_EQ(NumOwnDatasets(), 0);
}

TEST_F(SweepTest, CancelledWhileTheServerIsDownNothingStays) {
  auto running = std::make_shared<Gate>();
  StartSweeps([running](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    running->Open();
    Gate().WaitOrStop(run.stop);
    return Outcome(TerminationReason::kCancelled);
  });
  Create(SweepRequest(Planted()));
  running->Wait();
  manager_.reset();
  OpenStore();
  // Queued again with its cells; nobody has time for it before it is cancelled.
  options_.max_running_sweeps = 0;
  StartSweeps(Converge);
  ASSERT_TRUE(manager_->Cancel("sweep").ok());
  manager_.reset();
  OpenStore();
  options_.max_running_sweeps = 1;
  StartSweeps(Converge);
  WaitFor("sweep", JobState::kCancelled);
  EXPECT_THAT(Children(), IsEmpty());
  EXPECT_EQ(NumOwnDatasets(), 0);
}

// A sweep that ended without its cells, as a death between the two leaves it.
TEST_F(SweepTest, CellsDoNotOutliveTheirSweep) {
  Leave(LeftSweep(JobState::kFailed), LeftCell(JobState::kQueued));
  StartSweeps(Converge);
  EXPECT_EQ(manager_->Get("sweep")->state, JobState::kFailed);
  EXPECT_TRUE(absl::IsNotFound(manager_->Get("cell").status()));
  EXPECT_THAT(runs(), IsEmpty());
}

TEST_F(SweepTest, TheCellIsBlamedForDeathsOfTheServerNotTheSweep) {
  Leave(LeftSweep(JobState::kRunning), LeftCell(JobState::kRunning));
  options_.max_crashes = 0;
  StartSweeps(Converge);
  WaitFor("sweep", JobState::kSucceeded);
  const SweepReport report = ReportOf("sweep");
  ExpectEveryCellOnce(OnData(), report);
  EXPECT_EQ(report.cells_failed, 1);
  ASSERT_TRUE(report.rows.at(0).error);
  EXPECT_THAT(report.rows[0].error->message, HasSubstr("died"));
  EXPECT_FALSE(runs().contains(0));
}

TEST_F(SweepTest, ASweepThatFailsTakesItsCellsWithIt) {
  auto running = std::make_shared<Gate>();
  manager_ = std::make_unique<JobManager>(
      options_, store_.get(), [](const JobSpec&) { return JobCost{}; },
      [running](const JobRun& run) -> absl::StatusOr<JobOutcome> {
        if (!std::holds_alternative<SweepSpec>(run.job.spec)) {
          running->Open();
          Gate().WaitOrStop(run.stop);
          return Outcome(TerminationReason::kCancelled);
        }
        EXPECT_TRUE(run.cells.begin().ok());
        for (const int64_t index : {0, 1}) {
          const SweepCell cell = CellAt(OnData(), index);
          EXPECT_TRUE(run.cells.start(cell, JobOf(OnData(), cell, "data")).ok());
        }
        running->Wait();
        return absl::InternalError("the sweep broke");
      });
  ASSERT_TRUE(manager_->Start().ok());
  Create(SweepRequest(OnData()));
  WaitFor("sweep", JobState::kFailed);
  EXPECT_THAT(Children(), IsEmpty());
  const SweepReport report = ReportOf("sweep");
  EXPECT_THAT(report.rows, SizeIs(2));
  for (const SweepCell& row : report.rows) EXPECT_EQ(row.state, JobState::kCancelled);
  EXPECT_TRUE(manager_->Delete("sweep").ok());
}

TEST_F(SweepTest, ACellWithoutItsSweepEnds) {
  options_.max_running_sweeps = 0;
  auto running = std::make_shared<Gate>();
  auto open = std::make_shared<Gate>();
  StartSweeps([=](const JobRun& run) -> absl::StatusOr<JobOutcome> {
    running->Open();
    open->WaitOrStop(run.stop);
    return Outcome(TerminationReason::kConverged);
  });
  Create(SweepRequest(OnData()));
  CreateJobRequest request;
  request.identity.parent = "sweep";
  request.cell = CellAt(OnData(), 0);
  request.spec = JobOf(OnData(), *request.cell, "data");
  const std::string cell = Create(request).id;
  running->Wait();
  const absl::Status status =
      store_->database().Write([](store::Connection& connection) -> absl::Status {
        auto sweep = store::FindJob(connection, "sweep");
        return sweep.ok() ? store::DeleteRecord(connection, sweep->key) : sweep.status();
      });
  ASSERT_TRUE(status.ok()) << status;
  Follower follower(*manager_, cell);
  open->Open();
  follower.WaitFor(JobState::kSucceeded);
  EXPECT_TRUE(absl::IsNotFound(manager_->Get(cell).status()));
}

TEST_F(SweepTest, CancelledBeforeItRanItHasNoReason) {
  options_.max_running_sweeps = 0;
  StartSweeps(Converge);
  Create(SweepRequest(OnData()));
  ASSERT_TRUE(manager_->Cancel("sweep").ok());
  WaitFor("sweep", JobState::kCancelled);
  const SweepReport report = ReportOf("sweep");
  EXPECT_FALSE(report.termination_reason.has_value());
  EXPECT_EQ(report.cells_total, 24);
  EXPECT_EQ(report.cells_done, 0);
}

TEST_F(SweepTest, AMethodOfWhichNoCellCanRunIsRefused) {
  plan_cell_ = [](const JobSpec& spec) -> absl::StatusOr<JobCost> {
    if (std::holds_alternative<RecoverySpec>(spec)) return JobCost{};
    return store::InvalidField("pruning.options.epochs", "must be at least 1");
  };
  StartSweeps(Converge);
  absl::Status status = manager_->Create(SweepRequest(OnData())).status();
  EXPECT_EQ(store::FieldOf(status), "sweep.methods[1].pruning.epochs");
  EXPECT_THAT(std::string(status.message()), HasSubstr("epochs: must be at least 1"));
  // Of some cells it is a row each.
  manager_.reset();
  plan_cell_ = [](const JobSpec& spec) -> absl::StatusOr<JobCost> {
    const auto* pruning = std::get_if<PruningSpec>(&spec);
    if (pruning == nullptr || pruning->options.nonzeros == 4) return JobCost{};
    return store::InvalidField("pruning.options.nonzeros", "must be 4");
  };
  StartSweeps(Converge);
  status = manager_->Create(SweepRequest(OnData())).status();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(SweepTest, SamplesWithoutTargetsAreRefused) {
  const Samples inputs = {.num_samples = 4,
                          .num_inputs = 2,
                          .num_outputs = 0,
                          .inputs = std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}};
  ASSERT_TRUE(store_->datasets().Create({.id = "inputs"}, ReadOptions{}, {}, inputs, nullptr).ok());
  StartSweeps(Converge);
  SweepSpec spec = OnData();
  spec.dataset_id = "inputs";
  const absl::Status status = manager_->Create(SweepRequest(spec)).status();
  EXPECT_EQ(store::FieldOf(status), "sweep.dataset");
  EXPECT_THAT(std::string(status.message()), HasSubstr("has no targets"));
}

TEST_F(SweepTest, WhatIsWrongForAModelIsSaidOfTheSweep) {
  ASSERT_TRUE(store_->models().CreateUploaded({.id = "net"}, SmallModel(), {}, "1").ok());
  std::string field;
  plan_cell_ = [&field](const JobSpec&) -> absl::StatusOr<JobCost> {
    return store::InvalidField(field, "is wrong");
  };
  StartSweeps(Converge);
  for (const auto& [of_cell, of_sweep] : std::map<std::string, std::string>{
           {"pruning.model", "sweep.model"},
           {"pruning.dataset", "sweep.dataset"},
           {"pruning.model_options.nonzeros", "sweep.nonzeros"},
           {"pruning.model_options.epochs", "sweep.methods[0].model_pruning.epochs"}}) {
    field = of_cell;
    const absl::Status status = manager_->Create(SweepRequest(OfModel())).status();
    EXPECT_EQ(store::FieldOf(status), of_sweep);
    EXPECT_THAT(std::string(status.message()), HasSubstr(of_sweep + ": is wrong"));
    // On subsets too, which do not exist yet.
    SweepSpec spec = OfModel();
    spec.num_samples = {1};
    EXPECT_EQ(store::FieldOf(manager_->Create(SweepRequest(spec)).status()), of_sweep);
  }
}

// Twenty seconds of work or more.
SweepSpec SlowToPlant() {
  SweepSpec spec = OnData();
  spec.dataset_id.clear();
  spec.planted = PlantedOptions{.num_samples = 100'000, .num_inputs = 10};
  spec.hidden_widths = {20'000};
  spec.nonzeros = {200'000};
  return spec;
}

TEST_F(SweepTest, PlantingStopsWithTheServer) {
  StartSweeps(Converge);
  Create(SweepRequest(SlowToPlant()));
  CreateJobRequest second = SweepRequest(SlowToPlant());
  second.identity.id = "waits-for-its-turn";
  Create(second);
  WaitFor("sweep", JobState::kRunning);
  WaitFor("waits-for-its-turn", JobState::kRunning);
  manager_.reset();
  EXPECT_EQ(NumOwnDatasets(), 0) << "it was planted to the end";
  OpenStore();
  options_.max_running_sweeps = 0;
  StartSweeps(Converge);
  for (const char* id : {"sweep", "waits-for-its-turn"}) {
    EXPECT_EQ(manager_->Get(id)->state, JobState::kQueued);
  }
}

// A process that runs the sweep and says each cell that it starts, until the parent kills it.
[[noreturn]] void SweepUntilKilled(const std::string& data_dir, int pipe) {
  auto store = store::Store::Open({.data_dir = data_dir});
  if (!store.ok()) _exit(3);
  SweepRunner sweeps(store->get(), [](const JobSpec&) { return JobCost{}; });
  JobManagerOptions options;
  options.num_workers = 2;
  const auto manager = MakeManager(options, store->get(), &sweeps, [pipe](const JobRun& run) {
    const int64_t cell = run.job.cell->cell;
    if (write(pipe, &cell, sizeof(cell)) != sizeof(cell)) _exit(6);
    return absl::StatusOr<JobOutcome>(Outcome(TerminationReason::kConverged));
  });
  if (!manager->Start().ok()) _exit(4);
  for (;;) pause();
}

TEST_F(SweepTest, KilledAtRandomMomentsEachCellHasOneRowAndIsNotRunAgain) {
  options_.max_running_sweeps = 0;
  StartSweeps(Converge);
  SweepSpec spec = Planted();
  spec.seeds = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  Create(SweepRequest(spec));
  manager_.reset();
  std::set<int64_t> done;
  for (const int wanted : {1, 5, 9, 2, 14, 7}) {
    store_.reset();
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      close(pipes[0]);
      SweepUntilKilled(directory_.path(), pipes[1]);
    }
    close(pipes[1]);
    int64_t cell = 0;
    const auto take = [&] { EXPECT_FALSE(done.contains(cell)) << cell << " was run again"; };
    for (int i = 0; i < wanted; ++i) {
      ASSERT_EQ(read(pipes[0], &cell, sizeof(cell)), static_cast<ssize_t>(sizeof(cell)));
      take();
    }
    ASSERT_EQ(kill(child, SIGKILL), 0);
    while (read(pipes[0], &cell, sizeof(cell)) == sizeof(cell)) take();
    close(pipes[0]);
    int how = 0;
    ASSERT_EQ(waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how)) << "the server ended by itself with " << WEXITSTATUS(how);
    OpenStore();
    const absl::Status status =
        store_->database().Read([&](store::Connection& connection) -> absl::Status {
          auto job = store::FindJob(connection, "sweep");
          if (!job.ok()) return job.status();
          auto rows = store::LoadCells(connection, job->key);
          if (!rows.ok()) return rows.status();
          for (const SweepCell& row : *rows) done.insert(row.cell);
          return absl::OkStatus();
        });
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_FALSE(done.empty());
  options_.max_running_sweeps = 1;
  StartSweeps(Converge);
  WaitFor("sweep", JobState::kSucceeded);
  ExpectEveryCellOnce(spec, ReportOf("sweep"));
  for (const auto& [cell, count] : runs()) EXPECT_FALSE(done.contains(cell)) << cell;
  EXPECT_EQ(NumOwnDatasets(), 0);
}

}  // namespace
}  // namespace thresher::jobs
