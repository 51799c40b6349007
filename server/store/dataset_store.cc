#include "server/store/dataset_store.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/network/merge.h"
#include "core/network/model.h"
#include "core/samples/unlabelled.h"
#include "server/store/error_details.h"
#include "server/store/record_json.h"
#include "server/store/stored_records.h"

namespace thresher::store {
namespace {

static_assert(std::endian::native == std::endian::little, "blobs are little endian");

// Bounds the time that one planted problem may take, n (d + s + k) multiply-adds.
constexpr double kMaxPlantedWork = 5e10;

// Header of a float32 .npy file in C order, version 1.0, as numpy.save pads it.
std::string NpyHeader(int64_t rows, int64_t columns) {
  std::string text = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ",
                                  columns, "), }");
  constexpr size_t kPrefixBytes = 10;
  while ((kPrefixBytes + text.size() + 1) % 64 != 0) text.push_back(' ');
  text.push_back('\n');
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(text.size() & 0xff));
  header.push_back(static_cast<char>(text.size() >> 8));
  return header + text;
}

std::string_view BytesOf(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

absl::Status CheckIdentity(const CreateIdentity& identity, const Labels& labels) {
  absl::Status status = ValidateRequestId(identity.request_id);
  if (status.ok() && !identity.id.empty()) status = ValidateId(identity.id, "dataset_id");
  if (status.ok()) status = ValidateLabels(labels);
  return status;
}

absl::Status TooLarge(const std::string& what, int64_t limit) {
  return WithQuota(WithReason(absl::ResourceExhaustedError(
                                  absl::StrCat(what, ", the server takes data sets of at most ",
                                               limit, " bytes; use fewer samples or inputs")),
                              kReasonTooLarge),
                   "dataset_bytes");
}

absl::Status CheckPlantedSize(const PlantedOptions& options, int64_t max_bytes) {
  const absl::StatusOr<int64_t> bytes = PlantedBytes(options);
  if (!bytes.ok()) return NameField(bytes.status(), "planted.");
  if (*bytes > max_bytes) {
    return TooLarge(absl::StrCat("planted: needs about ", *bytes, " bytes"), max_bytes);
  }
  // In doubles, because the product may overflow.
  const double work =
      static_cast<double>(options.num_samples) *
      (static_cast<double>(options.num_inputs) + static_cast<double>(options.nonzeros) +
       static_cast<double>(options.num_outputs));
  if (work > kMaxPlantedWork) {
    return WithQuota(WithReason(absl::ResourceExhaustedError(absl::StrCat(
                                    "planted: num_samples * (num_inputs + nonzeros + "
                                    "num_outputs) must be at most ",
                                    kMaxPlantedWork, "; use fewer samples or non-zeros")),
                                kReasonTooLarge),
                     "planted_work");
  }
  return absl::OkStatus();
}

std::string RecordToJson(const DatasetRecord& record) {
  Json json = {{"version", 1},
               {"id", record.id},
               {"source", ToJson(record.source)},
               {"labels", record.labels},
               {"create_time", ToJson(record.create_time)},
               {"num_samples", record.num_samples},
               {"num_inputs", record.num_inputs},
               {"num_outputs", record.num_outputs},
               {"class_names", record.class_names},
               {"size_bytes", record.size_bytes},
               {"sha256", record.sha256},
               {"scaling", ToJson(record.scaling)},
               {"constant_targets", record.constant_targets},
               {"planted_network", record.planted_network_sha256}};
  if (record.image_shape != ImageShape{}) {
    json["image_shape"] = {{"height", record.image_shape.height},
                           {"width", record.image_shape.width},
                           {"channels", record.image_shape.channels}};
  }
  return Dump(json);
}

absl::StatusOr<DatasetRecord> RecordFromJson(std::string_view text) {
  return ParseRecord<DatasetRecord>(text, [](const Json& json) {
    DatasetRecord record;
    record.id = json.at("id").get<std::string>();
    record.source = ReadDatasetSource(json.at("source"));
    record.labels = json.at("labels").get<Labels>();
    record.create_time = ReadTimestamp(json.at("create_time"));
    record.num_samples = json.at("num_samples").get<int64_t>();
    record.num_inputs = json.at("num_inputs").get<int64_t>();
    record.num_outputs = json.at("num_outputs").get<int64_t>();
    record.class_names = json.at("class_names").get<std::vector<std::string>>();
    if (json.contains("image_shape")) {
      const Json& shape = json.at("image_shape");
      record.image_shape = {.height = shape.at("height").get<int64_t>(),
                            .width = shape.at("width").get<int64_t>(),
                            .channels = shape.at("channels").get<int64_t>()};
    }
    record.size_bytes = json.at("size_bytes").get<int64_t>();
    record.sha256 = json.at("sha256").get<std::string>();
    record.scaling = ReadScaling(json.at("scaling"));
    record.constant_targets = json.at("constant_targets").get<bool>();
    record.planted_network_sha256 = json.at("planted_network").get<std::string>();
    return record;
  });
}

bool AllEqual(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [&](float v) { return v == values[0]; });
}

absl::StatusOr<std::shared_ptr<const Samples>> MapBlob(BlobFolder& blobs,
                                                       const DatasetRecord& record) {
  auto samples = std::make_shared<Samples>();
  samples->num_samples = record.num_samples;
  samples->num_inputs = record.num_inputs;
  samples->num_outputs = record.num_outputs;
  samples->class_names = record.class_names;
  samples->image_shape = record.image_shape;
  samples->scaling = record.scaling;
  const absl::StatusOr<MappedBlob> blob = blobs.Map(record.sha256);
  if (!blob.ok()) return blob.status();
  std::string_view rest = blob->bytes;
  bool fits = true;
  // A matrix behind its header, whose size keeps the numbers aligned.
  const auto take = [&](int64_t columns) {
    const std::string header = NpyHeader(record.num_samples, columns);
    const size_t size = static_cast<size_t>(record.num_samples * columns) * sizeof(float);
    fits = fits && rest.substr(0, header.size()) == header && rest.size() >= header.size() + size;
    if (!fits) return FloatArray();
    const auto* values = reinterpret_cast<const float*>(rest.data() + header.size());
    rest.remove_prefix(header.size() + size);
    return FloatArray(std::span(values, size / sizeof(float)), blob->owner);
  };
  samples->inputs = take(record.num_inputs);
  samples->targets = take(record.num_outputs);
  if (!fits || !rest.empty()) {
    return absl::DataLossError(
        absl::StrCat("the blob of datasets/", record.id, " does not fit its record"));
  }
  return std::shared_ptr<const Samples>(std::move(samples));
}

}  // namespace

DatasetStore::DatasetStore(Database* database, BlobFolder* blobs, int64_t max_dataset_bytes)
    : database_(database), blobs_(blobs), max_dataset_bytes_(max_dataset_bytes) {}

absl::StatusOr<std::optional<DatasetRecord>> DatasetStore::FindEarlier(
    const CreateIdentity& identity) {
  absl::Status status = CheckIdentity(identity, {});
  if (!status.ok()) return status;
  std::optional<RecordRow> row;
  status = database_->Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::optional<RecordRow>> found =
        store::FindEarlier(connection, Collection::kDatasets, identity);
    if (!found.ok()) return found.status();
    row = std::move(*found);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  if (!row.has_value()) return std::optional<DatasetRecord>();
  absl::StatusOr<DatasetRecord> record = RecordFromJson(row->body);
  if (!record.ok()) return record.status();
  return std::optional<DatasetRecord>(std::move(*record));
}

absl::StatusOr<DatasetRecord> DatasetStore::CreatePlanted(const CreateIdentity& identity,
                                                          const PlantedOptions& options,
                                                          const Labels& labels,
                                                          const std::stop_token& stop) {
  absl::Status status = CheckIdentity(identity, labels);
  if (!status.ok()) return status;
  absl::StatusOr<std::optional<DatasetRecord>> earlier = FindEarlier(identity);
  if (!earlier.ok()) return earlier.status();
  if (earlier->has_value()) return **earlier;
  status = CheckPlantedSize(options, max_dataset_bytes_);
  if (!status.ok()) return status;
  PlantedOptions bounded = options;
  bounded.max_bytes = max_dataset_bytes_;
  absl::StatusOr<PlantedProblem> problem = GeneratePlanted(bounded, stop);
  if (!problem.ok()) return NameField(problem.status(), "planted.");
  return Create(identity, options, labels, problem->samples, &problem->network);
}

absl::StatusOr<DatasetRecord> DatasetStore::CreateUploaded(const CreateIdentity& identity,
                                                           const ReadOptions& options,
                                                           const Labels& labels,
                                                           std::string_view inputs,
                                                           std::string_view targets) {
  absl::Status status = CheckIdentity(identity, labels);
  if (!status.ok()) return status;
  absl::StatusOr<std::optional<DatasetRecord>> earlier = FindEarlier(identity);
  if (!earlier.ok()) return earlier.status();
  if (earlier->has_value()) return **earlier;
  thresher::ReadOptions bounded = options;
  bounded.max_bytes = max_dataset_bytes_;
  absl::StatusOr<Samples> samples = ReadSamples(bounded, inputs, targets);
  if (absl::IsResourceExhausted(samples.status())) {
    return TooLarge(std::string(samples.status().message()), max_dataset_bytes_);
  }
  if (!samples.ok()) return NameField(samples.status(), "upload.");
  return Create(identity, options, labels, *samples, nullptr);
}

absl::StatusOr<DatasetRecord> DatasetStore::Create(const CreateIdentity& identity,
                                                   const DatasetSource& source,
                                                   const Labels& labels, const Samples& samples,
                                                   const SparseNetwork* planted_network) {
  absl::Status status = CheckIdentity(identity, labels);
  if (status.ok()) status = NameField(ValidateLabelledOrNot(samples), "");
  if (!status.ok()) return status;

  DatasetRecord record;
  record.id = identity.id.empty() ? MakeId('d') : identity.id;
  record.source = source;
  record.labels = labels;
  record.create_time = Now();
  record.num_samples = samples.num_samples;
  record.num_inputs = samples.num_inputs;
  record.num_outputs = samples.num_outputs;
  record.class_names = samples.class_names;
  record.image_shape = samples.image_shape;
  record.scaling = samples.scaling;
  record.constant_targets = samples.num_outputs == 1 && AllEqual(samples.targets);

  absl::StatusOr<TemporaryFile> file = blobs_->NewTemporaryFile();
  if (!file.ok()) return file.status();
  status = file->Append(NpyHeader(samples.num_samples, samples.num_inputs));
  if (status.ok()) status = file->Append(BytesOf(samples.inputs));
  if (status.ok()) status = file->Append(NpyHeader(samples.num_samples, samples.num_outputs));
  if (status.ok()) status = file->Append(BytesOf(samples.targets));
  if (!status.ok()) return status;
  absl::StatusOr<BlobPin> blob = blobs_->Keep(std::move(*file));
  if (!blob.ok()) return blob.status();
  record.sha256 = blob->sha256();
  record.size_bytes = blob->size();

  NewRecord row;
  row.collection = Collection::kDatasets;
  row.identity = identity;
  row.identity.id = record.id;
  row.labels = labels;
  row.blobs = {record.sha256};
  BlobPin network_pin;
  if (planted_network != nullptr) {
    Model model;
    // A million neurons may share a thousand weights: the others are nothing but memory.
    model.network = DropDeadNeurons(*planted_network);
    absl::StatusOr<std::string> npz = WriteModelNpz(model);
    if (!npz.ok()) return npz.status();
    absl::StatusOr<BlobPin> pin = blobs_->Put(*npz);
    if (!pin.ok()) return pin.status();
    network_pin = std::move(*pin);
    record.planted_network_sha256 = network_pin.sha256();
    row.blobs.push_back(record.planted_network_sha256);
  }
  row.body = RecordToJson(record);

  std::optional<RecordRow> earlier;
  status = database_->Write([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::optional<RecordRow>> found =
        store::FindEarlier(connection, Collection::kDatasets, identity);
    if (!found.ok()) return found.status();
    earlier = std::move(*found);
    if (earlier.has_value()) return absl::OkStatus();
    return InsertRecord(connection, row).status();
  });
  if (!status.ok()) return status;
  if (earlier.has_value()) return RecordFromJson(earlier->body);
  return record;
}

absl::StatusOr<DatasetRecord> DatasetStore::Get(std::string_view id) {
  absl::StatusOr<RecordRow> row = ReadRow(*database_, Collection::kDatasets, id);
  if (!row.ok()) return row.status();
  return RecordFromJson(row->body);
}

absl::StatusOr<Page<DatasetRecord>> DatasetStore::List(const ListRequest& request) {
  return ParsePage<DatasetRecord>(ReadRows(*database_, Collection::kDatasets, request),
                                  RecordFromJson);
}

absl::Status DatasetStore::Delete(std::string_view id) {
  return DeleteUnused(*database_, *blobs_, Collection::kDatasets, id,
                      "is needed by a queued or running job; cancel the job or wait for its end");
}

absl::StatusOr<std::shared_ptr<const Samples>> DatasetStore::Load(const DatasetRecord& record) {
  std::shared_ptr<Loading> loading;
  {
    MutexLock lock(mutex_);
    // An entry that only the map holds is in nobody's hands, so its samples may be gone.
    std::erase_if(loaded_, [](const auto& entry) {
      if (entry.second.use_count() > 1) return false;
      MutexLock entry_lock(entry.second->mutex);
      return entry.second->samples.expired();
    });
    // Records of equal samples may differ in class names or scaling, so by id, not hash.
    std::shared_ptr<Loading>& entry = loaded_[absl::StrCat(record.id, "/", record.sha256)];
    if (entry == nullptr) entry = std::make_shared<Loading>();
    loading = entry;
  }
  MutexLock lock(loading->mutex);
  if (std::shared_ptr<const Samples> samples = loading->samples.lock()) return samples;
  absl::StatusOr<std::shared_ptr<const Samples>> samples = MapBlob(*blobs_, record);
  if (samples.ok()) loading->samples = *samples;
  return samples;
}

absl::StatusOr<std::optional<SparseNetwork>> DatasetStore::LoadPlantedNetwork(
    const DatasetRecord& record) {
  if (record.planted_network_sha256.empty()) return std::optional<SparseNetwork>();
  absl::StatusOr<std::string> bytes = blobs_->Get(record.planted_network_sha256);
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<Model> model = ReadModelNpz(*bytes, INT64_MAX);
  if (!model.ok()) return model.status();
  if (auto* network = std::get_if<SparseNetwork>(&model->network)) {
    return std::optional<SparseNetwork>(std::move(*network));
  }
  return absl::DataLossError("the planted network is no ReLU network");
}

}  // namespace thresher::store
