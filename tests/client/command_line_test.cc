#include "client/command_line.h"

#include <cstdlib>
#include <limits>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace thresher::client {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

// Splits at spaces.
ParsedCommandLine Parse(const std::string& arguments) {
  return ParseCommandLine(absl::StrSplit(arguments, ' ', absl::SkipEmpty()));
}

template <typename CommandType>
CommandType ParseAs(const std::string& arguments) {
  const ParsedCommandLine parsed = Parse(arguments);
  EXPECT_TRUE(parsed.command_line.has_value()) << arguments << "\n" << parsed.text;
  if (!parsed.command_line) return {};
  const auto* command = std::get_if<CommandType>(&parsed.command_line->command);
  EXPECT_NE(command, nullptr) << arguments;
  return command == nullptr ? CommandType{} : *command;
}

// The error of a wrong command line.
std::string UsageError(const std::string& arguments) {
  const ParsedCommandLine parsed = Parse(arguments);
  EXPECT_FALSE(parsed.command_line.has_value()) << arguments;
  EXPECT_EQ(parsed.exit_code, kExitUsage) << arguments;
  return parsed.text;
}

template <typename Message>
void ExpectMessage(const Message& message, const std::string& text) {
  Message expected;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &expected)) << text;
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(expected, message)) << difference;
}

struct FlagCase {
  std::string flag;
  std::string field;  // of the message, in text format
};

constexpr char kPlant[] =
    "datasets plant --id toy --num_samples 50 --num_inputs 4 --hidden_width 3 --nonzeros 2 ";

TEST(Plant, EachFlagReachesItsField) {
  const std::string base =
      "dataset_id: 'toy' dataset { planted { num_samples: 50 num_inputs: 4 hidden_width: 3 "
      "nonzeros: 2 ";
  ExpectMessage(ParseAs<PlantDatasetCommand>(kPlant).request, base + "} }");
  const std::vector<FlagCase> cases = {
      {"--seed 18446744073709551615", "seed: 18446744073709551615"},
      {"--noise_db 0", "noise_db: 0"},
      {"--noise_db -3.5", "noise_db: -3.5"},
      {"--output_signs mixed", "output_signs: OUTPUT_SIGNS_MIXED"},
      {"--output_signs positive", "output_signs: OUTPUT_SIGNS_POSITIVE"},
      {"--weight_distribution heavy_tailed",
       "weight_distribution: WEIGHT_DISTRIBUTION_HEAVY_TAILED"},
      {"--weight_distribution sign", "weight_distribution: WEIGHT_DISTRIBUTION_SIGN"},
      {"--input_distribution binary", "input_distribution: INPUT_DISTRIBUTION_BINARY"},
      {"--input_correlation 0.5", "input_correlation: 0.5"},
      {"--linear_term", "linear_term: true"},
      {"--num_outputs 10", "num_outputs: 10"},
      {"--hidden_layers 2", "hidden_layers: 2"},
  };
  for (const FlagCase& each : cases) {
    ExpectMessage(ParseAs<PlantDatasetCommand>(kPlant + each.flag).request,
                  base + each.field + "} }");
  }
  ExpectMessage(
      ParseAs<PlantDatasetCommand>(std::string(kPlant) + "--label a=1 --label b=x=y --request_id r")
          .request,
      "request_id: 'r'" + base +
          "} labels { key: 'a' value: '1' } labels { key: 'b' value: 'x=y' } }");
}

constexpr char kRecover[] = "recover --dataset toy --hidden_width 3 --nonzeros 2 ";

TEST(Recover, EachFlagReachesItsField) {
  const std::vector<FlagCase> options = {
      {"--algorithm iht", "algorithm: ALGORITHM_IHT"},
      {"--algorithm niht", "algorithm: ALGORITHM_NIHT"},
      {"--algorithm aiht", "algorithm: ALGORITHM_AIHT"},
      {"--algorithm htp", "algorithm: ALGORITHM_HTP"},
      {"--algorithm cosamp", "algorithm: ALGORITHM_COSAMP"},
      {"--algorithm splicing", "algorithm: ALGORITHM_SPLICING"},
      {"--algorithm reciprocal", "algorithm: ALGORITHM_RECIPROCAL"},
      {"--algorithm svrg", "algorithm: ALGORITHM_SVRG"},
      {"--algorithm auto", ""},
      {"--gates random", "gate_mode: GATE_MODE_RANDOM"},
      {"--gates enumerated", "gate_mode: GATE_MODE_ENUMERATED"},
      {"--gates sequential", "gate_mode: GATE_MODE_SEQUENTIAL"},
      {"--max_iterations 7", "max_iterations: 7"},
      {"--seed 9", "seed: 9"},
      {"--working_nonzeros 5", "working_nonzeros: 5"},
      {"--output_signs mixed", "output_signs: OUTPUT_SIGNS_MIXED"},
      {"--bias", "bias: true"},
      {"--linear_term none", ""},
      {"--linear_term dense", "linear_term: LINEAR_TERM_DENSE"},
      {"--linear_term sparse", "linear_term: LINEAR_TERM_SPARSE"},
      {"--step_size 0.25", "step_size: 0.25"},
      {"--batch_size 64", "batch_size: 64"},
      {"--relative_residual_tolerance 0", "relative_residual_tolerance: 0"},
      {"--stagnation_iterations 0", "stagnation_iterations: 0"},
  };
  for (const FlagCase& each : options) {
    ExpectMessage(ParseAs<CreateJobCommand>(kRecover + each.flag).request,
                  "job { recovery { dataset: 'datasets/toy' options { hidden_width: 3 "
                  "nonzeros: 2 " +
                      each.field + "} } }");
  }
  const std::vector<FlagCase> spec = {
      {"--held_out_fraction 0", "held_out_fraction: 0"},
      {"--split_seed 4", "split_seed: 4"},
      {"--initial_model m", "initial_model: 'models/m'"},
      {"--initial_model models/m", "initial_model: 'models/m'"},
  };
  for (const FlagCase& each : spec) {
    ExpectMessage(ParseAs<CreateJobCommand>(kRecover + each.flag).request,
                  "job { recovery { dataset: 'datasets/toy' options { hidden_width: 3 "
                  "nonzeros: 2 } " +
                      each.field + "} }");
  }
  const std::string recovery =
      "recovery { dataset: 'datasets/toy' options { hidden_width: 3 nonzeros: 2 } } ";
  const std::vector<FlagCase> job = {
      {"--time_limit 10m", "time_limit { seconds: 600 }"},
      {"--time_limit 1500ms", "time_limit { seconds: 1 nanos: 500000000 }"},
      {"--priority -5", "priority: -5"},
      {"--label team=vision", "labels { key: 'team' value: 'vision' }"},
  };
  for (const FlagCase& each : job) {
    ExpectMessage(ParseAs<CreateJobCommand>(kRecover + each.flag).request,
                  "job { " + recovery + each.field + "}");
  }
  const std::vector<FlagCase> request = {
      {"--id my-job", "job_id: 'my-job'"},
      {"--request_id r", "request_id: 'r'"},
      {"--validate_only", "validate_only: true"},
  };
  for (const FlagCase& each : request) {
    ExpectMessage(ParseAs<CreateJobCommand>(kRecover + each.flag).request,
                  "job { " + recovery + "} " + each.field);
  }
  EXPECT_FALSE(ParseAs<CreateJobCommand>(kRecover).watch);
  EXPECT_TRUE(ParseAs<CreateJobCommand>(std::string(kRecover) + "--watch").watch);
}

constexpr char kPrune[] = "prune --dataset toy --hidden_widths 300,100 --nonzeros 50 ";

TEST(Prune, EachFlagReachesItsField) {
  const std::string network = "hidden_widths: [300, 100] nonzeros: 50 ";
  const std::vector<FlagCase> options = {
      {"", ""},
      {"--method imp", "method: PRUNING_METHOD_IMP"},
      {"--bias", "bias: true"},
      {"--loss squared", "loss: LOSS_SQUARED"},
      {"--loss cross_entropy", "loss: LOSS_CROSS_ENTROPY"},
      {"--loss logistic", "loss: LOSS_LOGISTIC"},
      {"--epochs 7", "epochs: 7"},
      {"--batch_size 0", "batch_size: 0"},
      {"--learning_rate 0.25", "learning_rate: 0.25"},
      {"--learning_rate_decay 0.5", "learning_rate_decay: 0.5"},
      {"--schedule rounds", "schedule: PRUNE_SCHEDULE_ROUNDS"},
      {"--schedule gradual", "schedule: PRUNE_SCHEDULE_GRADUAL"},
      {"--saliency magnitude", "saliency: SALIENCY_MAGNITUDE"},
      {"--saliency fisher", "saliency: SALIENCY_FISHER"},
      {"--prune_fraction 0.2", "prune_fraction: 0.2"},
      {"--rewind_epoch 3", "rewind_epoch: 3"},
      {"--retrain_after_last_prune", "retrain_after_last_prune: true"},
      {"--schedule_power 4", "schedule_power: 4"},
      {"--prune_end 0.5", "prune_end: 0.5"},
      {"--seed 9", "seed: 9"},
  };
  for (const FlagCase& each : options) {
    ExpectMessage(
        ParseAs<CreateJobCommand>(kPrune + each.flag).request,
        "job { pruning { dataset: 'datasets/toy' options { " + network + each.field + "} } }");
  }
  const std::string spec = "dataset: 'datasets/toy' options { " + network + "} ";
  ExpectMessage(
      ParseAs<CreateJobCommand>(std::string(kPrune) + "--held_out_fraction 0 --split_seed 4")
          .request,
      "job { pruning { " + spec + "held_out_fraction: 0 split_seed: 4 } }");
  ExpectMessage(ParseAs<CreateJobCommand>(std::string(kPrune) +
                                          "--time_limit 10m --priority -5 --label team=vision "
                                          "--id my-job --request_id r --validate_only")
                    .request,
                "job { pruning { " + spec +
                    "} time_limit { seconds: 600 } priority: -5 labels { key: 'team' value: "
                    "'vision' } } job_id: 'my-job' request_id: 'r' validate_only: true");
  EXPECT_TRUE(ParseAs<CreateJobCommand>(std::string(kPrune) + "--watch").watch);
}

TEST(Prune, RefusesWhatIsNoNetwork) {
  EXPECT_THAT(UsageError("prune --dataset a --hidden_widths 3"), HasSubstr("--nonzeros"));
  EXPECT_THAT(UsageError("prune --dataset a --nonzeros 3"), HasSubstr("--hidden_widths"));
  for (const std::string widths : {"x", "3,", "3,,4", "3.5"}) {
    EXPECT_THAT(UsageError("prune --dataset a --nonzeros 3 --hidden_widths " + widths),
                HasSubstr("300,100"));
  }
  EXPECT_THAT(UsageError(std::string(kPrune) + "--loss l1"), HasSubstr("cross_entropy"));
  EXPECT_THAT(UsageError(std::string(kPrune) + "--watch --validate_only"), HasSubstr("--watch"));
}

constexpr char kPruneModel[] = "prune --dataset toy --model net --nonzeros 50 ";

TEST(Prune, EachFlagOfAModelReachesItsField) {
  const std::vector<FlagCase> options = {
      {"", ""},
      {"--method magnitude", "method: PRUNING_METHOD_MAGNITUDE"},
      {"--method activation", "method: PRUNING_METHOD_ACTIVATION"},
      {"--method obs", "method: PRUNING_METHOD_OBS"},
      {"--method curvature", "method: PRUNING_METHOD_CURVATURE"},
      {"--method distill", "method: PRUNING_METHOD_DISTILL"},
      {"--scope global", "scope: PRUNE_SCOPE_GLOBAL"},
      {"--scope per_layer", "scope: PRUNE_SCOPE_PER_LAYER"},
      {"--pattern 2:4", "pattern_kept: 2 pattern_size: 4"},
      {"--whole_neurons", "whole_neurons: true"},
      {"--loss logistic", "loss: LOSS_LOGISTIC"},
      {"--targets network", "targets: PRUNE_TARGETS_NETWORK"},
      {"--targets labels", "targets: PRUNE_TARGETS_LABELS"},
      {"--damping 0.25", "damping: 0.25"},
      {"--max_samples 300", "max_samples: 300"},
      {"--stages 3", "stages: 3"},
      {"--start_factor 4", "start_factor: 4"},
      {"--epochs 7", "epochs: 7"},
      {"--batch_size 0", "batch_size: 0"},
      {"--learning_rate 0.25", "learning_rate: 0.25"},
      {"--learning_rate_decay 0.5", "learning_rate_decay: 0.5"},
      {"--schedule_power 4", "schedule_power: 4"},
      {"--prune_end 0.5", "prune_end: 0.5"},
      {"--seed 9", "seed: 9"},
  };
  for (const FlagCase& each : options) {
    const auto command = ParseAs<CreateJobCommand>(kPruneModel + each.flag);
    EXPECT_EQ(command.model.name, "net");
    ExpectMessage(command.request,
                  "job { pruning { dataset: 'datasets/toy' model_options { nonzeros: 50 " +
                      each.field + "} } }");
  }
  const std::string model = "prune --dataset toy --model a/net.onnx ";
  const std::vector<FlagCase> budgets = {
      {"--fraction 0.02", "fraction: 0.02"},
      {"--path", "path { }"},
      {"--min_nonzeros 3", "path { min_nonzeros: 3 }"},
      {"--path --max_nonzeros 30 --num_points 5", "path { max_nonzeros: 30 num_points: 5 }"},
  };
  for (const FlagCase& each : budgets) {
    ExpectMessage(
        ParseAs<CreateJobCommand>(model + each.flag).request,
        "job { pruning { dataset: 'datasets/toy' model_options { " + each.field + "} } }");
  }
  const auto command = ParseAs<CreateJobCommand>(
      model + "--nonzeros 1 --model_format onnx_sparse --held_out_fraction 0 --split_seed 4");
  EXPECT_EQ(command.model.format, v1::MODEL_FORMAT_ONNX_SPARSE);
  ExpectMessage(command.request,
                "job { pruning { dataset: 'datasets/toy' model_options { nonzeros: 1 } "
                "held_out_fraction: 0 split_seed: 4 } }");
}

TEST(Prune, RefusesFlagsOfTheOtherKind) {
  const std::string model = "prune --dataset a --model net ";
  EXPECT_THAT(UsageError(model), HasSubstr("--fraction"));
  EXPECT_THAT(UsageError(model + "--nonzeros 3 --fraction 0.5"), HasSubstr("one of"));
  EXPECT_THAT(UsageError(model + "--path --nonzeros 3"), HasSubstr("one of"));
  for (const char* flag :
       {"--hidden_widths 3", "--bias", "--schedule rounds", "--saliency fisher",
        "--prune_fraction 0.5", "--rewind_epoch 1", "--retrain_after_last_prune"}) {
    EXPECT_THAT(UsageError(model + "--nonzeros 3 " + flag), HasSubstr("leave it out"));
  }
  for (const char* flag :
       {"--fraction 0.5", "--path", "--min_nonzeros 1", "--max_nonzeros 1", "--num_points 2",
        "--targets labels", "--scope global", "--pattern 2:4", "--whole_neurons", "--damping 0.5",
        "--max_samples 1", "--stages 1", "--start_factor 2", "--model_format npz"}) {
    EXPECT_THAT(UsageError(std::string(kPrune) + flag), HasSubstr("give --model"));
  }
  for (const std::string pattern : {"2", "2:", "a:4", "1:2:3"}) {
    EXPECT_THAT(UsageError(model + "--nonzeros 3 --pattern " + pattern), HasSubstr("2:4"));
  }
}

TEST(Prune, CoversEveryOptionOfTheContract) {
  // A field that is added to the options must get a flag, or be left out here with a reason.
  EXPECT_EQ(v1::PruningOptions::descriptor()->field_count(), 17);
  EXPECT_EQ(v1::ModelPruningOptions::descriptor()->field_count(), 21);
  EXPECT_EQ(v1::PruningPath::descriptor()->field_count(), 3);
  EXPECT_EQ(v1::PruningSpec::descriptor()->field_count(), 8);
}

TEST(Recover, TakesARangeOfBudgets) {
  const std::string path =
      "recover --dataset toy --hidden_width 3 --min_nonzeros 2 --max_nonzeros 9 ";
  const std::vector<FlagCase> flags = {
      {"", ""},
      {"--criterion information", "criterion: SELECTION_CRITERION_INFORMATION"},
      {"--criterion held_out", "criterion: SELECTION_CRITERION_HELD_OUT"},
      {"--criterion k_fold", "criterion: SELECTION_CRITERION_K_FOLD"},
      {"--search grid", "search: PATH_SEARCH_GRID"},
      {"--search golden_section", "search: PATH_SEARCH_GOLDEN_SECTION"},
      {"--validation_fraction 0.5", "validation_fraction: 0.5"},
      {"--num_folds 4", "num_folds: 4"},
      {"--max_points 7", "max_points: 7"},
  };
  for (const FlagCase& each : flags) {
    ExpectMessage(ParseAs<CreateJobCommand>(path + each.flag).request,
                  "job { recovery { dataset: 'datasets/toy' options { hidden_width: 3 } "
                  "path { min_nonzeros: 2 max_nonzeros: 9 " +
                      each.field + " } } }");
  }
}

// Samples apart from those learned from: of recoveries and of trainings alike.
TEST(Split, EachFlagReachesItsField) {
  const std::vector<FlagCase> flags = {
      {"--held_out_dataset test", "held_out_dataset: 'datasets/test'"},
      {"--held_out_dataset datasets/test", "held_out_dataset: 'datasets/test'"},
      {"--validation_fraction 0.1", "validation { fraction: 0.1 }"},
      {"--validation_dataset more --patience 5",
       "validation { dataset: 'datasets/more' patience: 5 }"},
      {"--patience 5", "validation { patience: 5 }"},
      {"--patience 5 --validation_fraction 0.5", "validation { fraction: 0.5 patience: 5 }"},
  };
  for (const FlagCase& each : flags) {
    ExpectMessage(
        ParseAs<CreateJobCommand>("recover --dataset a --hidden_width 3 --nonzeros 4 " + each.flag)
            .request,
        "job { recovery { dataset: 'datasets/a' options { hidden_width: 3 nonzeros: 4 } " +
            each.field + " } }");
    ExpectMessage(
        ParseAs<CreateJobCommand>("prune --dataset a --hidden_widths 3 --nonzeros 4 " + each.flag)
            .request,
        "job { pruning { dataset: 'datasets/a' options { hidden_widths: 3 nonzeros: 4 } " +
            each.field + " } }");
  }
  EXPECT_EQ(ParseAs<CreateSweepCommand>("compare --dataset a --hidden_width 3 --nonzeros 4 "
                                        "--methods imp --held_out_dataset b")
                .request.job()
                .sweep()
                .held_out_dataset(),
            "datasets/b");
}

TEST(Split, RefusesTwoSourcesOfSamples) {
  for (const std::string command : {"recover --dataset a --hidden_width 3 --nonzeros 4 ",
                                    "prune --dataset a --hidden_widths 3 --nonzeros 4 "}) {
    EXPECT_THAT(UsageError(command + "--held_out_dataset b --held_out_fraction 0.1"),
                HasSubstr("--held_out_fraction excludes --held_out_dataset"));
    EXPECT_THAT(UsageError(command + "--validation_dataset b --validation_fraction 0.1"),
                HasSubstr("--validation_fraction excludes --validation_dataset"));
    EXPECT_THAT(UsageError(command + "--validation_dataset models/b"), HasSubstr("datasets"));
  }
  for (const char* flag : {"--validation_fraction 0.1", "--validation_dataset b", "--patience 1"}) {
    EXPECT_THAT(UsageError(std::string("prune --dataset a --model net --nonzeros 3 ") + flag),
                HasSubstr("leave it out"));
  }
}

TEST(Recover, TakesOneBudgetOrARange) {
  const std::string recover = "recover --dataset toy --hidden_width 3 ";
  EXPECT_THAT(UsageError(recover), HasSubstr("--nonzeros"));
  EXPECT_THAT(UsageError(recover + "--min_nonzeros 2"), HasSubstr("--max_nonzeros"));
  EXPECT_THAT(UsageError(recover + "--max_nonzeros 2"), HasSubstr("--min_nonzeros"));
  for (const char* flag :
       {"--patience 3", "--validation_dataset b", "--patience 3 --validation_fraction 0.1"}) {
    EXPECT_THAT(UsageError(recover + "--min_nonzeros 2 --max_nonzeros 9 " + flag),
                HasSubstr("is for one budget"));
  }
  EXPECT_THAT(UsageError(recover + "--nonzeros 4 --min_nonzeros 2 --max_nonzeros 9"),
              HasSubstr("one or the other"));
  for (const char* flag :
       {"--criterion k_fold", "--search grid", "--num_folds 3", "--max_points 5"}) {
    EXPECT_THAT(UsageError(recover + "--nonzeros 4 " + flag), HasSubstr("is for a path"));
  }
}

TEST(Recover, CoversEveryOptionOfTheContract) {
  // A field that is added to the options must get a flag, or be left out here with a reason.
  EXPECT_EQ(v1::RecoveryOptions::descriptor()->field_count(), 16);
  EXPECT_EQ(v1::RecoverySpec::descriptor()->field_count(), 8);
  EXPECT_EQ(v1::Validation::descriptor()->field_count(), 3);
  EXPECT_EQ(v1::PathOptions::descriptor()->field_count(), 7);
  EXPECT_EQ(v1::PlantedSource::descriptor()->field_count(), 13);
  EXPECT_EQ(v1::UploadSource::descriptor()->field_count(), 9);
  EXPECT_EQ(v1::ImageOptions::descriptor()->field_count(), 7);
}

TEST(Upload, TakesTwoFilesOfOneFormat) {
  const auto command = ParseAs<UploadDatasetCommand>(
      "datasets upload --id f --inputs d/train-images-idx3-ubyte.gz --targets "
      "d/train-labels-idx1-ubyte.gz --classes 0,1 --scaling unit_range");
  ExpectMessage(command.header,
                "dataset_id: 'f' dataset { upload { format: FILE_FORMAT_IDX classes: '0' "
                "classes: '1' scaling: SCALING_MODE_UNIT_RANGE } }");
  EXPECT_EQ(command.files.inputs_path, "d/train-images-idx3-ubyte.gz");
  EXPECT_EQ(command.files.targets_path, "d/train-labels-idx1-ubyte.gz");
}

TEST(Upload, TakesATableOrAnArchive) {
  const auto csv = ParseAs<UploadDatasetCommand>(
      "datasets upload --csv t.csv --target price --target size --ignore id --ignore date "
      "--targets_are_classes --scaling standardise --label a=b");
  ExpectMessage(csv.header,
                "dataset { upload { format: FILE_FORMAT_CSV target_columns: 'price' "
                "target_columns: 'size' ignored_columns: 'id' ignored_columns: 'date' "
                "targets_are_classes: true scaling: SCALING_MODE_STANDARDISE } "
                "labels { key: 'a' value: 'b' } }");
  EXPECT_EQ(csv.files.inputs_path, "t.csv");
  EXPECT_EQ(csv.files.targets_path, "");
  const auto npz = ParseAs<UploadDatasetCommand>(
      "datasets upload --npz a.npz --inputs_member A --targets_member b --scaling none "
      "--request_id r");
  ExpectMessage(npz.header,
                "request_id: 'r' dataset { upload { format: FILE_FORMAT_NPZ inputs_member: 'A' "
                "targets_member: 'b' scaling: SCALING_MODE_NONE } }");
}

TEST(Upload, TakesInputsAlone) {
  const auto npy = ParseAs<UploadDatasetCommand>("datasets upload --id u --inputs X.npy");
  ExpectMessage(npy.header, "dataset_id: 'u' dataset { upload { format: FILE_FORMAT_NPY } }");
  EXPECT_EQ(npy.files.inputs_path, "X.npy");
  EXPECT_EQ(npy.files.targets_path, "");
  const auto csv = ParseAs<UploadDatasetCommand>("datasets upload --csv t.csv --no_targets");
  ExpectMessage(csv.header, "dataset { upload { format: FILE_FORMAT_CSV } }");
}

TEST(Upload, SaysWhatDoesNotGoTogether) {
  EXPECT_THAT(UsageError("datasets upload --id x"), HasSubstr("--inputs F [--targets F]"));
  EXPECT_THAT(UsageError("datasets upload --targets a.npy"), HasSubstr("--inputs"));
  EXPECT_THAT(UsageError("datasets upload --csv a.csv"), HasSubstr("--no_targets"));
  EXPECT_THAT(UsageError("datasets upload --csv a.csv --target y --no_targets"),
              HasSubstr("disagrees"));
  EXPECT_THAT(UsageError("datasets upload --npz a.npz --no_targets"), HasSubstr("--csv"));
  EXPECT_THAT(UsageError("datasets upload --csv a.csv --target y --npz b.npz"),
              HasSubstr("one of"));
  EXPECT_THAT(UsageError("datasets upload --inputs a.npy --targets b-ubyte"),
              HasSubstr("same format"));
  EXPECT_THAT(UsageError("datasets upload --inputs a.bin --targets b.bin"), HasSubstr("--format"));
  EXPECT_THAT(UsageError("datasets upload --inputs a.csv --targets b.csv"), HasSubstr("--csv"));
  EXPECT_THAT(UsageError("datasets upload --npz a.npz --format csv"), HasSubstr("disagrees"));
  ExpectMessage(
      ParseAs<UploadDatasetCommand>("datasets upload --inputs a.bin --targets b.bin --format npy")
          .header,
      "dataset { upload { format: FILE_FORMAT_NPY } }");
}

TEST(Upload, TakesAnImage) {
  const auto png = ParseAs<UploadDatasetCommand>("datasets upload --id p --image photo.png");
  ExpectMessage(png.header,
                "dataset_id: 'p' dataset { upload { format: FILE_FORMAT_PNG image {} } }");
  EXPECT_EQ(png.files.inputs_path, "photo.png");
  EXPECT_EQ(png.files.targets_path, "");
  const auto idx = ParseAs<UploadDatasetCommand>(
      "datasets upload --image t10k-images-idx3-ubyte.gz --index 7 --features raw_integer "
      "--num_features 100 --sigma 2.5 --channel_sigma 0 --seed 3 --crop 20x10+1+2");
  ExpectMessage(idx.header,
                "dataset { upload { format: FILE_FORMAT_IDX image { "
                "features: IMAGE_FEATURES_RAW_INTEGER num_features: 100 sigma: 2.5 "
                "channel_sigma: 0 seed: 3 crop { width: 20 height: 10 left: 1 top: 2 } "
                "index: 7 } } }");
  ExpectMessage(ParseAs<UploadDatasetCommand>("datasets upload --image x --format png").header,
                "dataset { upload { format: FILE_FORMAT_PNG image {} } }");
}

TEST(Upload, SaysWhatAnImageNeeds) {
  EXPECT_THAT(UsageError("datasets upload --image a.png --csv b.csv --target y"),
              HasSubstr("one of"));
  EXPECT_THAT(UsageError("datasets upload --image a.npy"), HasSubstr("PNG"));
  EXPECT_THAT(UsageError("datasets upload --inputs a.png --targets b.png"), HasSubstr("--image"));
  EXPECT_THAT(UsageError("datasets upload --npz a.npz --sigma 3"), HasSubstr("--image"));
  EXPECT_THAT(UsageError("datasets upload --image a.png --features none"), HasSubstr("scaled"));
  EXPECT_THAT(UsageError("datasets upload --image a.png --crop 3"), HasSubstr("256x256"));
}

TEST(ParseCrop, IsWidthHeightLeftTop) {
  for (const auto& [text, fields] : std::vector<std::pair<std::string, std::string>>{
           {"3x4", "width: 3 height: 4 left: 0 top: 0"},
           {"30x4+0+7", "width: 30 height: 4 left: 0 top: 7"}}) {
    const auto crop = ParseCrop(text);
    ASSERT_TRUE(crop.ok()) << crop.status();
    ExpectMessage(*crop, fields);
  }
  for (const char* text :
       {"", "x", "3", "3x", "x4", "3x4+1", "3x4+1+", "3x4+1+2+3", "-3x4", "3x0", "0x3", "3x4-1-2",
        "3 x4", "3x4x5x6", "3+4x1+2", "99999999999999999999x1"}) {
    EXPECT_FALSE(ParseCrop(text).ok()) << text;
  }
}

TEST(FileFormatOf, KnowsTheEndings) {
  const std::vector<std::pair<const char*, v1::FileFormat>> cases = {
      {"x.npy", v1::FILE_FORMAT_NPY},           {"a/b.c/x.NPY.gz", v1::FILE_FORMAT_NPY},
      {"x.npz", v1::FILE_FORMAT_NPZ},           {"x.PNG", v1::FILE_FORMAT_PNG},
      {"x.csv.gz", v1::FILE_FORMAT_CSV},        {"x-idx3-ubyte", v1::FILE_FORMAT_IDX},
      {"x.idx1-ubyte.gz", v1::FILE_FORMAT_IDX}, {"x.idx", v1::FILE_FORMAT_IDX},
      {"x.idx3", v1::FILE_FORMAT_IDX},          {"x.npy/data", v1::FILE_FORMAT_UNSPECIFIED},
      {"", v1::FILE_FORMAT_UNSPECIFIED},        {".gz", v1::FILE_FORMAT_UNSPECIFIED},
      {"x.idxq", v1::FILE_FORMAT_UNSPECIFIED},
  };
  for (const auto& [path, format] : cases) EXPECT_EQ(FileFormatOf(path), format) << path;
}

TEST(Names, MayBeBareOrInFull) {
  EXPECT_EQ(ParseAs<WatchJobCommand>("jobs watch a").name, "jobs/a");
  EXPECT_EQ(ParseAs<WatchJobCommand>("jobs watch jobs/a").name, "jobs/a");
  EXPECT_EQ(ParseAs<CancelJobCommand>("jobs cancel a").name, "jobs/a");
  EXPECT_EQ(ParseAs<GetCommand>("datasets get a").name, "datasets/a");
  EXPECT_EQ(ParseAs<DeleteCommand>("models delete models/a").name, "models/a");
  EXPECT_THAT(UsageError("jobs get models/a"), HasSubstr("jobs/ID"));
  UsageError("jobs get jobs/");
  UsageError("jobs get jobs/a/b");
}

TEST(StandardCommands, ExistForEveryCollection) {
  const std::vector<std::pair<std::string, Collection>> collections = {
      {"datasets", Collection::kDatasets},
      {"jobs", Collection::kJobs},
      {"models", Collection::kModels}};
  for (const auto& [word, collection] : collections) {
    const auto list = ParseAs<ListCommand>(word + " list --filter state=RUNNING --limit 3");
    EXPECT_EQ(list.collection, collection);
    EXPECT_EQ(list.filter, "state=RUNNING");
    EXPECT_EQ(list.limit, 3);
    EXPECT_EQ(ParseAs<ListCommand>(word + " list").limit, 50);
    EXPECT_EQ(ParseAs<GetCommand>(word + " get a").collection, collection);
    EXPECT_EQ(ParseAs<DeleteCommand>(word + " delete a").collection, collection);
    UsageError(word + " get");
    UsageError(word + " list --limit -1");
    UsageError(word);
  }
  EXPECT_EQ(ParseAs<WatchJobCommand>("jobs watch a --after 12").after_event_number, 12);
  ParseAs<ServerInfoCommand>("server info");
  ParseAs<HealthCommand>("server health");
  ParseAs<HealthCommand>("health");
}

TEST(Download, NamesTheFileAfterTheModel) {
  EXPECT_EQ(ParseAs<DownloadModelCommand>("models download m").path, "m.npz");
  const auto json = ParseAs<DownloadModelCommand>("models download models/m --format json");
  EXPECT_EQ(json.path, "m.json");
  EXPECT_EQ(json.format, v1::MODEL_FORMAT_JSON);
  EXPECT_EQ(ParseAs<DownloadModelCommand>("models download m --output x/y.npz").path, "x/y.npz");
  // Was written as NPZ, whatever its name said.
  for (const char* path : {"x/y", "a.txt"}) {
    const std::string line = std::string("models download m --output ") + path;
    EXPECT_THAT(UsageError(line), HasSubstr("give --format"));
    EXPECT_EQ(ParseAs<DownloadModelCommand>(line + " --format npz").path, path);
  }
  EXPECT_THAT(UsageError("models download m --output -"), HasSubstr("name a file"));
}

TEST(Download, TakesTheFormatFromTheOutputsName) {
  const auto onnx = ParseAs<DownloadModelCommand>("models download m --output net.onnx");
  EXPECT_EQ(onnx.format, v1::MODEL_FORMAT_ONNX);
  const auto header = ParseAs<DownloadModelCommand>("models download m --format c_header");
  EXPECT_EQ(header.path, "m.h");
  const auto both =
      ParseAs<DownloadModelCommand>("models download m --output net.onnx --format onnx_sparse");
  EXPECT_EQ(both.format, v1::MODEL_FORMAT_ONNX_SPARSE);
  EXPECT_EQ(ParseAs<DownloadModelCommand>("models download m").format, v1::MODEL_FORMAT_NPZ);
  const auto png = ParseAs<DownloadModelCommand>("models download m --output image.png");
  EXPECT_EQ(png.format, v1::MODEL_FORMAT_PNG);
  EXPECT_EQ(ParseAs<DownloadModelCommand>("models download m --format png").path, "m.png");
}

TEST(UploadModel, TakesTheFormatFromTheName) {
  const auto upload =
      ParseAs<UploadModelCommand>("models upload a/net.safetensors --id net --label team=x");
  EXPECT_EQ(upload.path, "a/net.safetensors");
  EXPECT_EQ(upload.header.format(), v1::MODEL_FORMAT_SAFETENSORS);
  EXPECT_EQ(upload.header.model_id(), "net");
  EXPECT_EQ(upload.header.model().labels().at("team"), "x");
  EXPECT_EQ(ParseAs<UploadModelCommand>("models upload net --format onnx").header.format(),
            v1::MODEL_FORMAT_ONNX);
  EXPECT_THAT(UsageError("models upload net.pt"), HasSubstr("--format"));
}

TEST(ConvertModel, TakesFormatsFromNamesUnlessTold) {
  const auto convert = ParseAs<ConvertModelCommand>("models convert a.onnx --output b.h");
  EXPECT_EQ(convert.input, "a.onnx");
  EXPECT_EQ(convert.input_format, v1::MODEL_FORMAT_ONNX);
  EXPECT_EQ(convert.path, "b.h");
  EXPECT_EQ(convert.format, v1::MODEL_FORMAT_C_HEADER);
  const auto told = ParseAs<ConvertModelCommand>(
      "models convert a --input_format npz --output b --format onnx_sparse");
  EXPECT_EQ(told.input_format, v1::MODEL_FORMAT_NPZ);
  EXPECT_EQ(told.format, v1::MODEL_FORMAT_ONNX_SPARSE);
  EXPECT_THAT(UsageError("models convert a.onnx --output b"), HasSubstr("--format"));
  EXPECT_THAT(UsageError("models convert a.onnx"), HasSubstr("--output"));
  EXPECT_EQ(ParseAs<ReportModelCommand>("models report a.onnx").input_format,
            v1::MODEL_FORMAT_ONNX);
  EXPECT_EQ(ParseAs<ReportModelCommand>("models report a --given b.npz").given, "b.npz");
}

TEST(Predict, TakesAFileOrRows) {
  EXPECT_EQ(ParseAs<PredictCommand>("models predict m --inputs x.csv").path, "x.csv");
  EXPECT_THAT(ParseAs<PredictCommand>("models predict m --row 1,2 --row -3,4").rows,
              ElementsAre("1,2", "-3,4"));
  UsageError("models predict m");
  UsageError("models predict m --row 1 --inputs x.csv");
}

TEST(GlobalFlags, StandBeforeOrAfterTheCommand) {
  for (const char* arguments : {"--server h:1 --json --timeout 2s --wait_when_full jobs list",
                                "jobs list --server h:1 --json --timeout 2s --wait_when_full"}) {
    const ParsedCommandLine parsed = Parse(arguments);
    ASSERT_TRUE(parsed.command_line.has_value()) << parsed.text;
    EXPECT_EQ(parsed.command_line->server, "h:1");
    EXPECT_TRUE(parsed.command_line->json);
    EXPECT_EQ(parsed.command_line->timeout, milliseconds(2000));
    EXPECT_TRUE(parsed.command_line->wait_when_full);
  }
}

TEST(GlobalFlags, ServerComesFromFlagThenEnvironmentThenDefault) {
  const auto server = [](const std::string& arguments) {
    const ParsedCommandLine parsed = Parse(arguments);
    return parsed.command_line ? parsed.command_line->server : parsed.text;
  };
  unsetenv("THRESHER_SERVER");
  EXPECT_EQ(server("jobs list"), "127.0.0.1:7700");
  setenv("THRESHER_SERVER", "e:2", 1);
  EXPECT_EQ(server("jobs list"), "e:2");
  EXPECT_EQ(server("--server f:3 jobs list"), "f:3");
  unsetenv("THRESHER_SERVER");
}

TEST(Usage, WrongLinesAreRefusedWithTheReason) {
  EXPECT_THAT(UsageError(""), HasSubstr("--help"));
  EXPECT_THAT(UsageError("jbos list"), HasSubstr("Did you mean jobs?"));
  EXPECT_THAT(UsageError("jobs lits"), HasSubstr("Did you mean list?"));
  EXPECT_THAT(UsageError("recover --hiden_width 3"), HasSubstr("Did you mean --hidden_width?"));
  EXPECT_THAT(UsageError("jobs list --jason"), HasSubstr("Did you mean --json?"));
  EXPECT_THAT(UsageError("xyzzy"), HasSubstr("there is no command xyzzy"));
  EXPECT_THAT(UsageError("recover --dataset a --hidden_width 3"), HasSubstr("--nonzeros"));
  EXPECT_THAT(UsageError("recover --dataset a --hidden_width x --nonzeros 2"),
              HasSubstr("--hidden_width"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--algorithm adam"),
              HasSubstr("auto, iht, niht, aiht, htp, winnow, cosamp, splicing, reciprocal, svrg, "
                        "count_sketch, sequential"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--seed -1"), HasSubstr("--seed"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--seed 18446744073709551616"),
              HasSubstr("--seed"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--max_iterations 1.5"),
              HasSubstr("whole number"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--step_size fast"), HasSubstr("a number"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--label novalue"), HasSubstr("KEY=VALUE"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--label a=1 --label a=2"), HasSubstr("twice"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--time_limit soon"), HasSubstr("10m"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "--watch --validate_only"), HasSubstr("--watch"));
  EXPECT_THAT(UsageError(std::string(kRecover) + "stray"), HasSubstr("stray"));
}

TEST(Usage, CommandsThatNeedAnotherOneListThem) {
  EXPECT_EQ(
      UsageError(""),
      "thresher needs a command: server, health, datasets, recover, prune, sweep, compare, jobs, "
      "models\n"
      "Try thresher --help.\n");
  EXPECT_EQ(UsageError("jobs"),
            "thresher jobs needs a command: list, get, delete, watch, plot, cancel\n"
            "Try thresher jobs --help.\n");
  EXPECT_THAT(UsageError("--server"), HasSubstr("--server"));
}

TEST(Usage, CountsAreWholeAndNotNegative) {
  for (const std::string flag : {"jobs list --limit", "jobs watch a --after"}) {
    EXPECT_THAT(UsageError(flag + " -1"), HasSubstr("\"-1\" is not a whole number of 0 or more"));
  }
  EXPECT_EQ(ParseAs<ListCommand>("jobs list --limit 7").limit, 7);
  EXPECT_EQ(
      ParseAs<WatchJobCommand>("jobs watch a --after 18446744073709551615").after_event_number,
      std::numeric_limits<int64_t>::max());
}

TEST(Help, ExistsForEveryCommandAndTellsTheExitCodes) {
  const ParsedCommandLine root = Parse("--help");
  EXPECT_EQ(root.exit_code, kExitOk);
  EXPECT_THAT(root.text, HasSubstr("Exit codes"));
  for (const char* command :
       {"recover", "prune", "server info", "datasets plant", "datasets upload", "jobs watch",
        "models predict", "models download"}) {
    const ParsedCommandLine parsed = Parse(std::string(command) + " --help");
    EXPECT_EQ(parsed.exit_code, kExitOk);
    EXPECT_FALSE(parsed.command_line.has_value());
    EXPECT_THAT(parsed.text, HasSubstr("Usage: thresher " + std::string(command)));
  }
  EXPECT_THAT(Parse("--version").text, testing::MatchesRegex("thresher [0-9.]+\n"));
}

TEST(ParseDuration, AddsItsParts) {
  const std::vector<std::pair<std::string, int64_t>> cases = {
      {"90", 90000},     {"90s", 90000},   {"10m", 600000}, {"1h30m", 5400000}, {"250ms", 250},
      {"1.5h", 5400000}, {"1d", 86400000}, {"0.5", 500},    {"1m30s", 90000},   {"1ms", 1},
  };
  for (const auto& [text, expected] : cases) {
    const auto duration = ParseDuration(text);
    ASSERT_TRUE(duration.ok()) << text;
    EXPECT_EQ(duration->count(), expected) << text;
  }
  for (const char* text : {"", "s", "0", "0s", "-1s", "10x", "1m30", "1..5s", "1e3", "ten",
                           "99999999999h", "0.1ms", "1 s", "nan", "inf"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(NearestWord, NeedsAResemblance) {
  EXPECT_EQ(NearestWord("jbos", {"jobs", "models"}), "jobs");
  EXPECT_EQ(NearestWord("modles", {"jobs", "models"}), "models");
  EXPECT_EQ(NearestWord("zzzz", {"jobs", "models"}), "");
  EXPECT_EQ(NearestWord("", {"jobs"}), "");
  EXPECT_EQ(NearestWord(std::string(100000, 'x'), {"jobs"}), "");
}

TEST(Sweep, TheFileAndWhatIsWanted) {
  const auto command = ParseAs<CreateSweepCommand>(
      "sweep --file a.json --id s --priority 3 --time_limit 2m --table a.csv --table a.json "
      "--picture a.svg --kind line --x num_samples --value success");
  EXPECT_EQ(command.file, "a.json");
  EXPECT_EQ(command.request.job_id(), "s");
  EXPECT_EQ(command.request.job().priority(), 3);
  EXPECT_EQ(command.request.job().time_limit().seconds(), 120);
  EXPECT_TRUE(command.watch) << "the table is there at the end";
  EXPECT_THAT(command.outputs.tables, ElementsAre("a.csv", "a.json"));
  EXPECT_EQ(command.outputs.picture, "a.svg");
  EXPECT_EQ(command.outputs.picture_options.kind, PictureKind::kLine);
  EXPECT_EQ(command.outputs.picture_options.x, "num_samples");
  EXPECT_EQ(command.outputs.picture_options.value, "success");
  EXPECT_FALSE(ParseAs<CreateSweepCommand>("sweep --file a.json").watch);
}

TEST(Sweep, TablesAndPicturesOfAnEarlierOne) {
  const auto table = ParseAs<ShowSweepCommand>("sweep table s --output a.csv");
  EXPECT_EQ(table.name, "jobs/s");
  EXPECT_TRUE(table.print_table);
  EXPECT_THAT(table.outputs.tables, ElementsAre("a.csv"));
  const auto plot = ParseAs<ShowSweepCommand>("sweep plot jobs/s --output a.png --y seed");
  EXPECT_EQ(plot.name, "jobs/s");
  EXPECT_FALSE(plot.print_table);
  EXPECT_EQ(plot.outputs.picture, "a.png");
  EXPECT_EQ(plot.outputs.picture_options.kind, PictureKind::kHeatmap);
  EXPECT_EQ(plot.outputs.picture_options.y, "seed");
}

TEST(Jobs, AConvergencePicture) {
  const auto plot = ParseAs<PlotJobCommand>("jobs plot j --output a.svg");
  EXPECT_EQ(plot.name, "jobs/j");
  EXPECT_EQ(plot.picture, "a.svg");
  EXPECT_THAT(UsageError("jobs plot j --output a.pdf"), HasSubstr(".png or .svg"));
}

TEST(Sweep, WrongOnesAreRefused) {
  EXPECT_THAT(UsageError("sweep"), HasSubstr("--file"));
  EXPECT_THAT(UsageError("sweep --file a --table b.txt"), HasSubstr(".csv or .json"));
  EXPECT_THAT(UsageError("sweep --file a --picture b.gif"), HasSubstr(".png or .svg"));
  EXPECT_THAT(UsageError("sweep --file a --kind pie"), HasSubstr("heatmap"));
  EXPECT_THAT(UsageError("sweep --file a --value loss"), HasSubstr("psnr_db"));
  EXPECT_THAT(UsageError("sweep --file a --watch --validate_only"), HasSubstr("--validate_only"));
  EXPECT_THAT(UsageError("sweep plot s"), HasSubstr("--output"));
}

TEST(Compare, MethodsShareDataSplitSeedsAndBudgets) {
  const auto command = ParseAs<CreateSweepCommand>(
      "compare --dataset d --hidden_width 20 --nonzeros 20,50 --seeds 1,2 --methods auto,imp "
      "--bias --epochs 7 --held_out_fraction 0.5 --picture a.png");
  ExpectMessage(command.request.job().sweep(),
                "dataset: \"datasets/d\" hidden_widths: 20 nonzeros: [20, 50] seeds: [1, 2] "
                "held_out_fraction: 0.5 "
                "methods { name: \"auto\" recovery { bias: true } } "
                "methods { name: \"imp\" pruning { retrain_after_last_prune: false bias: true "
                "epochs: 7 } }");
  EXPECT_TRUE(command.watch);
  EXPECT_EQ(command.outputs.picture_options.kind, PictureKind::kCompare);
  EXPECT_EQ(ParseAs<CreateSweepCommand>("compare --dataset d --hidden_width 2 --nonzeros 3")
                .request.job()
                .sweep()
                .methods_size(),
            3);
  EXPECT_THAT(UsageError("compare --dataset d --hidden_width 2 --nonzeros 3 --methods best"),
              HasSubstr("imp"));
  EXPECT_THAT(UsageError("compare --dataset d --hidden_width 2 --nonzeros 3,x"),
              HasSubstr("20,50,100"));
}

TEST(Compare, MethodsOfAModelHaveItsOptionsAndNoWidth) {
  const auto command = ParseAs<CreateSweepCommand>(
      "compare --model net.onnx --dataset d --nonzeros 9,5 --loss cross_entropy --epochs 7");
  EXPECT_EQ(command.model.name, "net.onnx");
  ExpectMessage(command.request.job().sweep(),
                "dataset: 'datasets/d' nonzeros: [9, 5] "
                "methods { name: 'magnitude' model_pruning { method: PRUNING_METHOD_MAGNITUDE "
                "loss: LOSS_CROSS_ENTROPY } } "
                "methods { name: 'activation' model_pruning { method: PRUNING_METHOD_ACTIVATION "
                "loss: LOSS_CROSS_ENTROPY } } "
                "methods { name: 'obs' model_pruning { method: PRUNING_METHOD_OBS "
                "loss: LOSS_CROSS_ENTROPY } } "
                "methods { name: 'curvature' model_pruning { method: PRUNING_METHOD_CURVATURE "
                "loss: LOSS_CROSS_ENTROPY } } "
                "methods { name: 'distill' model_pruning { method: PRUNING_METHOD_DISTILL "
                "loss: LOSS_CROSS_ENTROPY epochs: 7 } }");
  const auto mixed = ParseAs<CreateSweepCommand>(
      "compare --model net --model_format npz --dataset d --hidden_width 8 --fractions 0.5,0.125 "
      "--methods imp,obs --bias");
  EXPECT_EQ(mixed.model.format, v1::MODEL_FORMAT_NPZ);
  EXPECT_THAT(mixed.fractions, ElementsAre(0.5, 0.125));
  ExpectMessage(mixed.request.job().sweep(),
                "dataset: 'datasets/d' hidden_widths: 8 "
                "methods { name: 'imp' pruning { retrain_after_last_prune: false bias: true } } "
                "methods { name: 'obs' model_pruning { method: PRUNING_METHOD_OBS } }");
}

TEST(Compare, RefusesWhatNoMethodUses) {
  const std::string data = "compare --dataset d --nonzeros 9 ";
  const std::string model = data + "--model net ";
  EXPECT_THAT(UsageError(data + "--methods obs"), HasSubstr("--model"));
  EXPECT_THAT(UsageError(data), HasSubstr("--hidden_width"));
  EXPECT_THAT(UsageError(model + "--methods auto --hidden_width 3"), HasSubstr("magnitude"));
  EXPECT_THAT(UsageError(model + "--methods obs,auto"), HasSubstr("--hidden_width"));
  EXPECT_THAT(UsageError(model + "--methods obs,auto --hidden_width 3,4"), HasSubstr("one width"));
  EXPECT_THAT(UsageError("compare --dataset d --model net"), HasSubstr("--nonzeros"));
  EXPECT_THAT(UsageError(model + "--fractions 0.5"), HasSubstr("--fractions"));
  EXPECT_THAT(UsageError("compare --dataset d --hidden_width 3 --fractions 0.5"),
              HasSubstr("--fractions"));
  EXPECT_THAT(UsageError("compare --dataset d --model net --fractions 0.5,2"),
              HasSubstr("0.5,0.1"));
  for (const char* flag :
       {"--hidden_width 3", "--bias", "--hidden_layers 2", "--output_signs mixed"}) {
    EXPECT_THAT(UsageError(model + flag), HasSubstr("which none of --methods")) << flag;
  }
  for (const char* flag : {"--epochs 3", "--batch_size 3"}) {
    EXPECT_THAT(UsageError(model + "--methods obs,magnitude " + flag),
                HasSubstr("methods that train"));
  }
  EXPECT_THAT(UsageError(data + "--hidden_width 3 --model_format npz"),
              HasSubstr("--model_format"));
}

TEST(Compare, KnowsEveryMethodThatPrunes) {
  const auto command = ParseAs<CreateSweepCommand>("compare --dataset d --nonzeros 9 --model net");
  // All but unspecified and imp, which prunes no model.
  EXPECT_EQ(command.request.job().sweep().methods_size(),
            v1::PruningMethod_descriptor()->value_count() - 2);
}

}  // namespace
}  // namespace thresher::client
