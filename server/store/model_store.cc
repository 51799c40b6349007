#include "server/store/model_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/store/error_details.h"
#include "server/store/record_json.h"
#include "server/store/stored_records.h"

namespace thresher::store {
namespace {

constexpr size_t kMaxIdBytes = 63;

std::string RecordToJson(const ModelRecord& record) {
  Json json = {{"version", 1},
               {"id", record.id},
               {"create_time", ToJson(record.create_time)},
               {"job", record.job_id},
               {"dataset", record.dataset_id},
               {"dataset_sha256", record.dataset_sha256},
               {"network_kind", static_cast<int>(record.network_kind)},
               {"num_inputs", record.num_inputs},
               {"bias", record.bias},
               {"nonzeros", record.nonzeros},
               {"active_neurons", record.active_neurons},
               {"num_outputs", record.num_outputs},
               {"hidden_widths", record.hidden_widths},
               {"class_names", record.class_names},
               {"program_version", record.program_version},
               {"labels", record.labels},
               {"size_bytes", record.size_bytes},
               {"sha256", record.sha256}};
  if (record.linear_term) json["linear_term"] = true;
  if (record.linear_nonzeros > 0) json["linear_nonzeros"] = record.linear_nonzeros;
  if (record.output_weights) json["output_weights"] = true;
  if (record.loss) json["loss"] = std::string(LossName(*record.loss));
  if (record.spec) AddSpec(*record.spec, json);
  AddReport(record.report, json);
  return Dump(json);
}

absl::StatusOr<ModelRecord> RecordFromJson(std::string_view text) {
  return ParseRecord<ModelRecord>(text, [](const Json& json) {
    ModelRecord record;
    record.id = json.at("id").get<std::string>();
    record.create_time = ReadTimestamp(json.at("create_time"));
    record.job_id = json.at("job").get<std::string>();
    record.dataset_id = json.at("dataset").get<std::string>();
    record.dataset_sha256 = json.at("dataset_sha256").get<std::string>();
    record.network_kind =
        json.at("network_kind").get<int>() == 2 ? NetworkKind::kGated : NetworkKind::kRelu;
    record.num_inputs = json.at("num_inputs").get<int64_t>();
    record.bias = json.at("bias").get<bool>();
    record.linear_term = json.value("linear_term", false);
    record.linear_nonzeros = json.value("linear_nonzeros", int64_t{0});
    record.num_outputs = json.value("num_outputs", int64_t{1});
    record.hidden_widths = json.value("hidden_widths", std::vector<int64_t>());
    record.nonzeros = json.at("nonzeros").get<int64_t>();
    record.active_neurons = json.at("active_neurons").get<int64_t>();
    record.class_names = json.at("class_names").get<std::vector<std::string>>();
    record.loss = LossOfName(json.value("loss", std::string()));
    if (json.contains("recovery") || json.contains("pruning")) record.spec = ReadSpec(json);
    // In records of before it all prunings had some.
    record.output_weights = json.value(
        "output_weights", record.spec && std::holds_alternative<PruningSpec>(*record.spec));
    record.report = ReadReport(json);
    record.program_version = json.at("program_version").get<std::string>();
    record.labels = json.at("labels").get<Labels>();
    record.size_bytes = json.at("size_bytes").get<int64_t>();
    record.sha256 = json.at("sha256").get<std::string>();
    return record;
  });
}

}  // namespace

ModelStore::ModelStore(Database* database, BlobFolder* blobs)
    : database_(database), blobs_(blobs) {}

absl::StatusOr<PreparedModel> ModelStore::Prepare(const Model& model) {
  absl::StatusOr<std::string> npz = WriteModelNpz(model);
  if (!npz.ok()) return npz.status();
  absl::StatusOr<BlobPin> blob = blobs_->Put(*npz);
  if (!blob.ok()) return blob.status();
  PreparedModel prepared;
  prepared.blob = std::move(*blob);
  ModelRecord& record = prepared.record;
  record.network_kind = std::holds_alternative<SparseNetwork>(model.network) ? NetworkKind::kRelu
                                                                             : NetworkKind::kGated;
  record.num_inputs = NumInputs(model.network);
  record.bias = std::visit([](const auto& network) { return network.has_bias; }, model.network);
  const auto* relu = std::get_if<SparseNetwork>(&model.network);
  record.linear_term = relu != nullptr && !relu->linear.empty();
  record.linear_nonzeros = LinearNonzeros(model.network);
  record.output_weights = relu != nullptr && !IsFused(*relu);
  record.num_outputs = NumOutputs(model.network);
  record.hidden_widths = HiddenWidths(model.network);
  record.nonzeros = Nonzeros(model.network);
  record.active_neurons = ActiveNeurons(model.network);
  record.class_names = model.class_names;
  if (const auto loss = model.metadata.find("loss"); loss != model.metadata.end()) {
    record.loss = LossOfName(loss->second);
  }
  record.size_bytes = prepared.blob.size();
  record.sha256 = prepared.blob.sha256();
  return prepared;
}

absl::StatusOr<std::string> ModelStore::Insert(Connection& connection, ModelRecord record,
                                               std::string_view wanted_id) {
  record.id = std::string(wanted_id);
  record.create_time = Now();
  if (record.id.size() > kMaxIdBytes ||
      FindRecord(connection, Collection::kModels, record.id).ok()) {
    const std::string ending = "-" + MakeId('m');
    record.id = record.id.substr(0, kMaxIdBytes - ending.size()) + ending;
  }
  NewRecord row;
  row.collection = Collection::kModels;
  row.identity.id = record.id;
  row.labels = record.labels;
  row.blobs = {record.sha256};
  row.body = RecordToJson(record);
  absl::StatusOr<int64_t> key = InsertRecord(connection, row);
  if (!key.ok()) return key.status();
  return record.id;
}

absl::StatusOr<std::optional<ModelRecord>> ModelStore::FindEarlier(const CreateIdentity& identity) {
  absl::Status status = ValidateRequestId(identity.request_id);
  if (status.ok() && !identity.id.empty()) status = ValidateId(identity.id, "model_id");
  if (!status.ok()) return status;
  std::optional<RecordRow> row;
  status = database_->Read([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::optional<RecordRow>> found =
        store::FindEarlier(connection, Collection::kModels, identity);
    if (found.ok()) row = std::move(*found);
    return found.status();
  });
  if (!status.ok()) return status;
  if (!row.has_value()) return std::optional<ModelRecord>();
  absl::StatusOr<ModelRecord> record = RecordFromJson(row->body);
  if (!record.ok()) return record.status();
  return std::optional<ModelRecord>(std::move(*record));
}

absl::StatusOr<ModelRecord> ModelStore::CreateUploaded(const CreateIdentity& identity,
                                                       const Model& model, const Labels& labels,
                                                       std::string_view program_version) {
  absl::Status status = ValidateLabels(labels);
  if (!status.ok()) return status;
  absl::StatusOr<std::optional<ModelRecord>> earlier = FindEarlier(identity);
  if (!earlier.ok()) return earlier.status();
  if (earlier->has_value()) return **earlier;
  absl::StatusOr<PreparedModel> prepared = Prepare(model);
  if (!prepared.ok()) return prepared.status();
  ModelRecord& record = prepared->record;
  record.id = identity.id.empty() ? MakeId('m') : identity.id;
  record.create_time = Now();
  record.labels = labels;
  record.program_version = std::string(program_version);
  NewRecord row;
  row.collection = Collection::kModels;
  row.identity = identity;
  row.identity.id = record.id;
  row.labels = labels;
  row.blobs = {record.sha256};
  row.body = RecordToJson(record);
  std::optional<RecordRow> raced;
  status = database_->Write([&](Connection& connection) -> absl::Status {
    absl::StatusOr<std::optional<RecordRow>> found =
        store::FindEarlier(connection, Collection::kModels, identity);
    if (!found.ok()) return found.status();
    raced = std::move(*found);
    if (raced.has_value()) return absl::OkStatus();
    return InsertRecord(connection, row).status();
  });
  if (!status.ok()) return status;
  if (raced.has_value()) return RecordFromJson(raced->body);
  return record;
}

absl::StatusOr<ModelRecord> ModelStore::Get(std::string_view id) {
  absl::StatusOr<RecordRow> row = ReadRow(*database_, Collection::kModels, id);
  if (!row.ok()) return row.status();
  return RecordFromJson(row->body);
}

absl::StatusOr<Page<ModelRecord>> ModelStore::List(const ListRequest& request) {
  return ParsePage<ModelRecord>(ReadRows(*database_, Collection::kModels, request), RecordFromJson);
}

absl::Status ModelStore::Delete(std::string_view id) {
  return DeleteUnused(
      *database_, *blobs_, Collection::kModels, id,
      "is the start of a queued or running job; cancel the job or wait for its end");
}

absl::StatusOr<TemporaryFile> ModelStore::WriteFile(const ModelRecord& record,
                                                    ModelFileFormat format, int64_t max_bytes) {
  absl::StatusOr<TemporaryFile> file = blobs_->NewTemporaryFile();
  if (!file.ok()) return file.status();
  absl::Status status;
  if (format == ModelFileFormat::kNpz) {
    status = blobs_->Stream(record.sha256,
                            [&file](std::string_view piece) { return file->Append(piece); });
  } else {
    absl::StatusOr<std::shared_ptr<const Model>> model = Load(record);
    if (!model.ok()) return model.status();
    absl::StatusOr<std::string> bytes =
        WriteModelFile(**model, format, CName(record.id), max_bytes);
    if (absl::IsResourceExhausted(bytes.status())) {
      return WithReason(bytes.status(), kReasonTooLarge);
    }
    if (absl::IsInvalidArgument(bytes.status())) {
      return InvalidField("format", std::string(bytes.status().message()));
    }
    status = bytes.ok() ? file->Append(*bytes) : bytes.status();
  }
  if (!status.ok()) return status;
  return file;
}

absl::StatusOr<std::shared_ptr<const Model>> ModelStore::Load(const ModelRecord& record) {
  absl::StatusOr<std::string> npz = blobs_->Get(record.sha256);
  if (!npz.ok()) return npz.status();
  absl::StatusOr<Model> model = ReadModelNpz(*npz, INT64_MAX);
  if (!model.ok()) return model.status();
  return std::make_shared<const Model>(std::move(*model));
}

}  // namespace thresher::store
