#ifndef THRESHER_CLIENT_JOB_TEXT_H_
#define THRESHER_CLIENT_JOB_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/formatting.h"
#include "google/protobuf/message.h"
#include "thresher/v1/dataset.pb.h"
#include "thresher/v1/job.pb.h"
#include "thresher/v1/model.pb.h"

namespace thresher::client {

// The message in protobuf's JSON mapping on one line, without '\n'; fields of value zero are
// printed too.
std::string ToJson(const google::protobuf::Message& message);

// "jobs/abc" -> "abc".
std::string IdOf(const std::string& resource_name);

// "RUNNING", "CONVERGED": an enum's value without the prefix of its type.
std::string StateWord(v1::JobState state);

// One event on one line, without '\n'.
std::string EventLine(const v1::JobEvent& event);

// " (start 2, prune)", " (budget 40 of the path, prune)", or nothing for algorithms without
// phases.
std::string PhaseText(const v1::IterationReport& report);

// Plain sentences about an ended job, one a line: why it ended, how well the network fits, and
// how close it is to the planted one. `planted` is what the data set was planted with, if it
// is known.
std::string SummariseJob(const v1::Job& job, const std::optional<v1::PlantedSource>& planted);

// What speaks for the recovered network, as a page of its own: the verdict, its sentences, the
// numbers with their meaning. Sentences are wrapped at `width` columns. Empty without evidence.
std::string EvidencePage(const v1::RecoveryReport& report, int width);

// "28 x 28 pixels, grey".
std::string ImageShapeText(const v1::ImageShape& shape);

// The resource as "name  value" lines, and as a row of a list.
std::vector<Field> DescribeDataset(const v1::Dataset& dataset);
std::vector<Field> DescribeJob(const v1::Job& job);
std::vector<Field> DescribeModel(const v1::Model& model);
std::string DatasetTable(const std::vector<v1::Dataset>& datasets);
std::string JobTable(const std::vector<v1::Job>& jobs);
std::string ModelTable(const std::vector<v1::Model>& models);

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_JOB_TEXT_H_
