#include "server/rpc/dataset_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "core/formats/npy.h"
#include "core/formats/png.h"
#include "tests/server/rpc/error_details.h"
#include "tests/server/rpc/running_server.h"

namespace thresher::rpc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kCsv[] =
    "a,b,y\n"
    "1,2,3\n"
    "4,5,9\n"
    "7,8,15\n";

v1::UploadDatasetRequest Header(const std::string& id, v1::FileFormat format) {
  v1::UploadDatasetRequest request;
  request.mutable_header()->set_dataset_id(id);
  v1::UploadSource& upload = *request.mutable_header()->mutable_dataset()->mutable_upload();
  upload.set_format(format);
  if (format == v1::FILE_FORMAT_CSV) upload.add_target_columns("y");
  return request;
}
v1::UploadDatasetRequest Inputs(const std::string& bytes) {
  v1::UploadDatasetRequest request;
  request.set_inputs_chunk(bytes);
  return request;
}
v1::UploadDatasetRequest Targets(const std::string& bytes) {
  v1::UploadDatasetRequest request;
  request.set_targets_chunk(bytes);
  return request;
}

grpc::Status Upload(RunningServer& server, const std::vector<v1::UploadDatasetRequest>& parts,
                    v1::Dataset* dataset) {
  grpc::ClientContext context;
  const auto writer = server.dataset_stub().UploadDataset(&context, dataset);
  for (const auto& part : parts) {
    if (!writer->Write(part)) break;
  }
  writer->WritesDone();
  return writer->Finish();
}

grpc::Status GetDataset(RunningServer& server, const std::string& name, v1::Dataset* dataset) {
  grpc::ClientContext context;
  v1::GetDatasetRequest request;
  request.set_name(name);
  return server.dataset_stub().GetDataset(&context, request, dataset);
}

TEST(UploadDatasetTest, ADamagedMessageIsNoEndOfTheFile) {
  RunningServer server;
  using Bytes = grpc::ByteBuffer;
  const auto serialized = [](const v1::UploadDatasetRequest& request) {
    const grpc::Slice slice(request.SerializeAsString());
    return Bytes(&slice, 1);
  };
  const grpc::Slice damage(std::string("\xff\xff\xff"));
  const std::vector<Bytes> parts = {serialized(Header("csv", v1::FILE_FORMAT_CSV)),
                                    serialized(Inputs(kCsv)), Bytes(&damage, 1),
                                    serialized(Inputs("1,1,1\n"))};
  grpc::ClientContext context;
  v1::Dataset dataset;
  const std::unique_ptr<grpc::ClientWriter<Bytes>> writer(
      grpc::internal::ClientWriterFactory<Bytes>::Create(
          server.channel().get(),
          grpc::internal::RpcMethod("/thresher.v1.DatasetService/UploadDataset",
                                    grpc::internal::RpcMethod::CLIENT_STREAMING, server.channel()),
          &context, &dataset));
  for (const Bytes& part : parts) {
    if (!writer->Write(part)) break;
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("damaged"));
  EXPECT_EQ(GetDataset(server, "datasets/csv", &dataset).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(UploadDatasetTest, TakesACsvInAnyChunks) {
  RunningServer server;
  std::string sha256;
  for (const size_t chunk : {size_t{1}, size_t{5}, std::string(kCsv).size()}) {
    std::vector<v1::UploadDatasetRequest> parts = {
        Header("csv" + std::to_string(chunk), v1::FILE_FORMAT_CSV)};
    const std::string bytes = kCsv;
    for (size_t i = 0; i < bytes.size(); i += chunk)
      parts.push_back(Inputs(bytes.substr(i, chunk)));
    v1::Dataset dataset;
    const grpc::Status status = Upload(server, parts, &dataset);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(dataset.name(), "datasets/csv" + std::to_string(chunk));
    EXPECT_EQ(dataset.num_samples(), 3);
    EXPECT_EQ(dataset.num_inputs(), 2);
    EXPECT_EQ(dataset.num_outputs(), 1);
    EXPECT_EQ(dataset.upload().format(), v1::FILE_FORMAT_CSV);
    EXPECT_EQ(dataset.sha256().size(), 64u);
    EXPECT_TRUE(sha256.empty() || sha256 == dataset.sha256());
    sha256 = dataset.sha256();
    v1::Dataset got;
    ASSERT_TRUE(GetDataset(server, dataset.name(), &got).ok());
    EXPECT_EQ(got.sha256(), sha256);
  }
}

TEST(UploadDatasetTest, LabelsThatAreNotUtf8AreRefusedAndNothingIsKept) {
  RunningServer server;
  auto header = Header("latin1", v1::FILE_FORMAT_CSV);
  header.mutable_header()->mutable_dataset()->mutable_upload()->set_targets_are_classes(true);
  v1::Dataset dataset;
  const grpc::Status status = Upload(server, {header, Inputs("a,y\n1,\xE9\n2,\xE8\n")}, &dataset);
  EXPECT_TRUE(IsInvalidField(status, "inputs_chunk")) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("line 2"));
  EXPECT_EQ(GetDataset(server, "datasets/latin1", &dataset).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST(UploadDatasetTest, TakesTwoNpyFiles) {
  RunningServer server;
  const std::string inputs =
      SerializeNpy({.shape = {2, 3}, .values = std::vector<float>{1, 2, 3, 4, 5, 6}});
  const std::string targets = SerializeNpy({.shape = {2}, .values = std::vector<double>{1, -1}});
  v1::Dataset dataset;
  const grpc::Status status = Upload(
      server, {Header("npy", v1::FILE_FORMAT_NPY), Inputs(inputs), Targets(targets)}, &dataset);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dataset.num_samples(), 2);
  EXPECT_EQ(dataset.num_inputs(), 3);
}

TEST(UploadDatasetTest, TakesAnImageWithItsFeatures) {
  RunningServer server;
  const auto png = WritePng({.height = 2, .width = 3, .values = {0, .2F, .4F, .6F, .8F, 1}});
  ASSERT_TRUE(png.ok());
  v1::UploadDatasetRequest header = Header("image", v1::FILE_FORMAT_PNG);
  v1::ImageOptions& options =
      *header.mutable_header()->mutable_dataset()->mutable_upload()->mutable_image();
  options.set_features(v1::IMAGE_FEATURES_RAW_INTEGER);
  options.set_num_features(8);
  options.set_sigma(3);
  options.set_channel_sigma(0.5);
  options.set_seed(7);
  options.mutable_crop()->set_width(2);
  options.mutable_crop()->set_height(1);
  options.mutable_crop()->set_left(1);
  options.mutable_crop()->set_top(1);
  v1::Dataset dataset;
  const grpc::Status status = Upload(server, {header, Inputs(*png)}, &dataset);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dataset.num_samples(), 2);
  EXPECT_EQ(dataset.num_inputs(), 8);
  v1::Dataset got;
  ASSERT_TRUE(GetDataset(server, dataset.name(), &got).ok());
  for (const v1::Dataset& each : {dataset, got}) {
    EXPECT_EQ(each.image_shape().height(), 1);
    EXPECT_EQ(each.image_shape().width(), 2);
    EXPECT_EQ(each.image_shape().channels(), 1);
    EXPECT_EQ(each.upload().image().SerializeAsString(), options.SerializeAsString());
  }

  header.mutable_header()->clear_dataset_id();
  options.set_num_features(7);
  EXPECT_EQ(FieldIn(Upload(server, {header, Inputs(*png)}, &dataset)),
            "header.dataset.upload.image.num_features");
  header = Header("", v1::FILE_FORMAT_PNG);
  EXPECT_EQ(FieldIn(Upload(server, {header, Inputs("no PNG")}, &dataset)), "inputs_chunk");
  EXPECT_EQ(FieldIn(Upload(server, {header, Inputs(*png), Targets("x")}, &dataset)),
            "targets_chunk");
}

TEST(UploadDatasetTest, InputsMayComeAlone) {
  RunningServer server({.solve = true});
  auto header = Header("alone", v1::FILE_FORMAT_CSV);
  header.mutable_header()->mutable_dataset()->mutable_upload()->clear_target_columns();
  v1::Dataset dataset;
  const grpc::Status status = Upload(server, {header, Inputs(kCsv)}, &dataset);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dataset.num_samples(), 3);
  EXPECT_EQ(dataset.num_inputs(), 3);
  EXPECT_EQ(dataset.num_outputs(), 0);
  // Nothing is learned from them.
  for (const bool is_pruning : {false, true}) {
    v1::CreateJobRequest request;
    if (is_pruning) {
      request.mutable_job()->mutable_pruning()->set_dataset(dataset.name());
      request.mutable_job()->mutable_pruning()->mutable_options()->set_nonzeros(2);
      request.mutable_job()->mutable_pruning()->mutable_options()->add_hidden_widths(2);
    } else {
      request.mutable_job()->mutable_recovery()->set_dataset(dataset.name());
      request.mutable_job()->mutable_recovery()->mutable_options()->set_nonzeros(2);
    }
    grpc::ClientContext context;
    v1::Job job;
    const grpc::Status refused = server.job_stub().CreateJob(&context, request, &job);
    EXPECT_EQ(FieldIn(refused), is_pruning ? "job.pruning.dataset" : "job.recovery.dataset");
    EXPECT_THAT(refused.error_message(), HasSubstr("has no targets"));
  }
}

TEST(UploadDatasetTest, PartsMustComeInOrder) {
  RunningServer server;
  const auto header = Header("", v1::FILE_FORMAT_NPY);
  const auto csv_header = Header("", v1::FILE_FORMAT_CSV);
  struct Case {
    std::string field;
    std::vector<v1::UploadDatasetRequest> parts;
  };
  const std::vector<Case> cases = {
      {"header", {}},
      {"header", {Inputs("x")}},
      {"header", {v1::UploadDatasetRequest()}},
      {"header", {header, header}},
      {"header", {header, Inputs("x"), header}},
      {"part", {header, v1::UploadDatasetRequest()}},
      {"targets_chunk", {header, Targets("x")}},
      {"inputs_chunk", {header, Inputs("x"), Targets("y"), Inputs("z")}},
      {"targets_chunk", {csv_header, Inputs("x"), Targets("y")}},
      {"inputs_chunk", {header}},
      {"inputs_chunk", {csv_header, Inputs("")}},
      {"targets_chunk", {header, Inputs("x"), Targets("")}},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    v1::Dataset dataset;
    EXPECT_TRUE(IsInvalidField(Upload(server, cases[i].parts, &dataset), cases[i].field)) << i;
  }
}

TEST(UploadDatasetTest, HeadersAreCheckedBeforeTheFiles) {
  RunningServer server;
  server.Plant("taken");
  struct Case {
    std::string field;
    std::function<void(v1::UploadDatasetHeader&)> damage;
  };
  const std::vector<Case> cases = {
      {"header.dataset.upload", [](auto& h) { h.mutable_dataset()->clear_source(); }},
      {"header.dataset.upload",
       [](auto& h) { h.mutable_dataset()->mutable_planted()->set_seed(1); }},
      {"header.dataset.upload.format",
       [](auto& h) { h.mutable_dataset()->mutable_upload()->clear_format(); }},
      {"header.dataset.upload.inputs_member",
       [](auto& h) { h.mutable_dataset()->mutable_upload()->set_inputs_member("X"); }},
      {"header.dataset_id", [](auto& h) { h.set_dataset_id("Bad Id"); }},
      {"header.request_id", [](auto& h) { h.set_request_id(std::string(129, 'x')); }},
      {"header.dataset.labels",
       [](auto& h) { (*h.mutable_dataset()->mutable_labels())["BAD"] = "x"; }},
  };
  for (const Case& each : cases) {
    v1::UploadDatasetRequest header = Header("", v1::FILE_FORMAT_CSV);
    each.damage(*header.mutable_header());
    v1::Dataset dataset;
    EXPECT_TRUE(IsInvalidField(Upload(server, {header}, &dataset), each.field)) << each.field;
  }
  v1::Dataset dataset;
  EXPECT_EQ(Upload(server, {Header("taken", v1::FILE_FORMAT_CSV)}, &dataset).error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
}

TEST(UploadDatasetTest, DamagedFilesSayWhere) {
  RunningServer server;
  v1::Dataset dataset;
  const grpc::Status csv =
      Upload(server, {Header("bad", v1::FILE_FORMAT_CSV), Inputs("a,y\n1,2\n3,x\n")}, &dataset);
  EXPECT_TRUE(IsInvalidField(csv, "inputs_chunk"));
  EXPECT_THAT(csv.error_message(), HasSubstr("line 3"));
  const grpc::Status npy = Upload(
      server, {Header("bad", v1::FILE_FORMAT_NPY), Inputs("no npy"), Targets("no npy")}, &dataset);
  EXPECT_TRUE(IsInvalidField(npy, "inputs_chunk"));
  const grpc::Status no_rows =
      Upload(server, {Header("bad", v1::FILE_FORMAT_CSV), Inputs("a,y\n")}, &dataset);
  EXPECT_TRUE(IsInvalidField(no_rows, "inputs_chunk"));
  EXPECT_EQ(GetDataset(server, "datasets/bad", &dataset).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(UploadDatasetTest, SizesAreBoundedAsTheBytesArrive) {
  RunningServer server({.rpc = {.max_upload_bytes = 1000}});
  v1::Dataset dataset;
  const auto header = Header("big", v1::FILE_FORMAT_CSV);
  std::string exact = "a,y\n";
  while (exact.size() + 4 <= 1000) exact += "1,2\n";
  ASSERT_EQ(exact.size(), 1000u);
  EXPECT_TRUE(Upload(server, {header, Inputs(exact)}, &dataset).ok());
  // More chunks than fit anywhere: refused at the one too many, not at the end.
  const grpc::Status status =
      Upload(server,
             std::vector<v1::UploadDatasetRequest>{Header("b", v1::FILE_FORMAT_CSV),
                                                   Inputs(std::string(600, '1')),
                                                   Inputs(std::string(401, '1'))},
             &dataset);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "TOO_LARGE");
  ASSERT_TRUE(DetailOf<google::rpc::QuotaFailure>(status));
  EXPECT_EQ(DetailOf<google::rpc::QuotaFailure>(status)->violations(0).subject(),
            "max_upload_bytes");
}

TEST(UploadDatasetTest, ADeclaredSizeThatIsTooLargeIsAQuota) {
  RunningServer server;
  std::string inputs = SerializeNpy({.shape = {2, 1}, .values = std::vector<float>{1, 2}});
  const size_t place = inputs.find("(2, 1)");
  ASSERT_NE(place, std::string::npos);
  // The padding behind the header takes up the longer shape.
  inputs.replace(place, 6, "(200000000, 1)");
  inputs.erase(inputs.find("        ", place), 8);
  v1::Dataset dataset;
  const grpc::Status status = Upload(
      server, {Header("big", v1::FILE_FORMAT_NPY), Inputs(inputs), Targets(inputs)}, &dataset);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_EQ(ReasonIn(status), "TOO_LARGE");
  ASSERT_TRUE(DetailOf<google::rpc::QuotaFailure>(status));
  EXPECT_EQ(DetailOf<google::rpc::QuotaFailure>(status)->violations(0).subject(), "dataset_bytes");
}

TEST(UploadDatasetTest, RetriesOfTheSameBytesAreSafe) {
  RunningServer server;
  v1::UploadDatasetRequest header = Header("", v1::FILE_FORMAT_CSV);
  header.mutable_header()->set_request_id("once");
  v1::Dataset first, second, third;
  ASSERT_TRUE(Upload(server, {header, Inputs(kCsv)}, &first).ok());
  ASSERT_TRUE(Upload(server, {header, Inputs(kCsv)}, &second).ok());
  EXPECT_EQ(first.name(), second.name());
  const grpc::Status other = Upload(server, {header, Inputs("a,y\n1,2\n5,7\n")}, &third);
  EXPECT_EQ(other.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(ReasonIn(other), "REQUEST_ID_REUSED");
}

TEST(UploadDatasetTest, AClientThatGoesAwayLeavesNothing) {
  RunningServer server;
  v1::Dataset dataset;
  {
    grpc::ClientContext context;
    const auto writer = server.dataset_stub().UploadDataset(&context, &dataset);
    ASSERT_TRUE(writer->Write(Header("gone", v1::FILE_FORMAT_CSV)));
    ASSERT_TRUE(writer->Write(Inputs(kCsv)));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  // The whole file was there, but its end was not said.
  EXPECT_EQ(GetDataset(server, "datasets/gone", &dataset).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(Upload(server, {Header("gone", v1::FILE_FORMAT_CSV), Inputs(kCsv)}, &dataset).ok());
}

TEST(UploadDatasetTest, AnIdleClientIsLetGo) {
  RunningServer server({.rpc = {.stream_idle_limit = std::chrono::milliseconds(50)}});
  grpc::ClientContext context;
  v1::Dataset dataset;
  const auto writer = server.dataset_stub().UploadDataset(&context, &dataset);
  ASSERT_TRUE(writer->Write(Header("idle", v1::FILE_FORMAT_CSV)));
  // Finish waits for the server, which waits for the next message in vain.
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(ReasonIn(status), "STREAM_IDLE");
}

TEST(UploadDatasetTest, UploadsAreBounded) {
  RunningServer server({.rpc = {.max_uploads = 1}});
  v1::Dataset first, second;
  grpc::ClientContext context;
  const auto writer = server.dataset_stub().UploadDataset(&context, &first);
  ASSERT_TRUE(writer->Write(Header("one", v1::FILE_FORMAT_CSV)));
  writer->WaitForInitialMetadata();  // comes when the upload was let in
  const grpc::Status refused =
      Upload(server, {Header("two", v1::FILE_FORMAT_CSV), Inputs(kCsv)}, &second);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(refused), "TOO_MANY_UPLOADS");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(refused));
  ASSERT_TRUE(writer->Write(Inputs(kCsv)));
  writer->WritesDone();
  EXPECT_TRUE(writer->Finish().ok());
}

TEST(CreateDatasetTest, PlantsAndNamesBadFields) {
  RunningServer server;
  v1::Dataset dataset;
  v1::CreateDatasetRequest request = RunningServer::PlantedRequest("p");
  (*request.mutable_dataset()->mutable_labels())["team"] = "x";
  ASSERT_TRUE(server.CreateDataset(request, &dataset).ok());
  EXPECT_EQ(dataset.num_samples(), 60);
  EXPECT_EQ(dataset.planted().nonzeros(), 3);
  EXPECT_EQ(dataset.labels().at("team"), "x");
  EXPECT_GT(dataset.create_time().seconds(), 0);

  struct Case {
    std::string field;
    std::function<void(v1::CreateDatasetRequest&)> damage;
  };
  auto planted = [](v1::CreateDatasetRequest& r) { return r.mutable_dataset()->mutable_planted(); };
  const std::vector<Case> cases = {
      {"dataset.planted", [](auto& r) { r.clear_dataset(); }},
      {"dataset.planted",
       [](auto& r) { r.mutable_dataset()->mutable_upload()->set_format(v1::FILE_FORMAT_CSV); }},
      {"dataset.planted.num_samples", [&](auto& r) { planted(r)->set_num_samples(0); }},
      {"dataset.planted.num_inputs", [&](auto& r) { planted(r)->set_num_inputs(-3); }},
      {"dataset.planted.nonzeros", [&](auto& r) { planted(r)->set_nonzeros(100); }},
      {"dataset.planted.input_correlation", [&](auto& r) { planted(r)->set_input_correlation(1); }},
      {"dataset.planted.weight_distribution",
       [&](auto& r) {
         planted(r)->set_weight_distribution(static_cast<v1::WeightDistribution>(9));
       }},
      {"dataset_id", [](auto& r) { r.set_dataset_id("-"); }},
  };
  for (const Case& each : cases) {
    v1::CreateDatasetRequest bad = RunningServer::PlantedRequest("");
    each.damage(bad);
    EXPECT_TRUE(IsInvalidField(server.CreateDataset(bad, &dataset), each.field)) << each.field;
  }
}

TEST(CreateDatasetTest, WhatIsTooLargeIsRefusedWithoutTheMemory) {
  RunningServer server;
  v1::CreateDatasetRequest request = RunningServer::PlantedRequest("huge");
  request.mutable_dataset()->mutable_planted()->set_num_samples(int64_t{1} << 30);
  v1::Dataset dataset;
  const grpc::Status status = server.CreateDataset(request, &dataset);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "TOO_LARGE");
  EXPECT_TRUE(DetailOf<google::rpc::QuotaFailure>(status));
}

TEST(ListDatasetsTest, PagesAndFilters) {
  RunningServer server;
  v1::Dataset dataset;
  for (const std::string id : {"a", "b", "c"}) {
    v1::CreateDatasetRequest request = RunningServer::PlantedRequest(id);
    if (id != "b") (*request.mutable_dataset()->mutable_labels())["keep"] = "yes";
    ASSERT_TRUE(server.CreateDataset(request, &dataset).ok());
  }
  auto list = [&server](v1::ListDatasetsRequest request, v1::ListDatasetsResponse* response) {
    grpc::ClientContext context;
    return server.dataset_stub().ListDatasets(&context, request, response);
  };
  v1::ListDatasetsRequest request;
  request.set_page_size(2);
  v1::ListDatasetsResponse first, second;
  ASSERT_TRUE(list(request, &first).ok());
  ASSERT_EQ(first.datasets_size(), 2);
  EXPECT_EQ(first.datasets(0).name(), "datasets/c");
  request.set_page_token(first.next_page_token());
  ASSERT_TRUE(list(request, &second).ok());
  ASSERT_EQ(second.datasets_size(), 1);
  EXPECT_EQ(second.datasets(0).name(), "datasets/a");
  EXPECT_TRUE(second.next_page_token().empty());
  // A token belongs to its filter.
  request.set_filter("labels.keep = yes");
  EXPECT_TRUE(IsInvalidField(list(request, &second), "page_token"));
  request.clear_page_token();
  v1::ListDatasetsResponse filtered;
  ASSERT_TRUE(list(request, &filtered).ok());
  EXPECT_EQ(filtered.datasets_size(), 2);
  request.set_filter("state = RUNNING");
  EXPECT_TRUE(IsInvalidField(list(request, &filtered), "filter"));
}

TEST(DeleteDatasetTest, WaitsForTheJobsThatNeedIt) {
  RunningServer server;
  server.Plant("a");
  server.Submit(RunningServer::JobRequest("a", "needs-it"));
  auto remove = [&server](const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteDatasetRequest request;
    request.set_name(name);
    google::protobuf::Empty empty;
    return server.dataset_stub().DeleteDataset(&context, request, &empty);
  };
  const grpc::Status in_use = remove("datasets/a");
  EXPECT_EQ(in_use.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(in_use), "IN_USE");
  server.gate().Open();
  server.WaitForState("jobs/needs-it", v1::JOB_STATE_SUCCEEDED);
  EXPECT_TRUE(remove("datasets/a").ok());
  EXPECT_EQ(remove("datasets/a").error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(IsInvalidField(remove("jobs/a"), "name"));
}

}  // namespace
}  // namespace thresher::rpc
