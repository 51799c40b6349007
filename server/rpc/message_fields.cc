#include "server/rpc/message_fields.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"

namespace thresher::rpc {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string Join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : absl::StrCat(prefix, ".", name);
}

bool IsOfThresher(const Message& message) {
  return message.GetDescriptor()->file()->package() == "thresher.v1";
}

// The messages that are set in fields of `message`, with their paths; those in lists on request.
struct Part {
  std::string path;
  const Message* message;
};
std::vector<Part> SetParts(const Message& message, const std::string& path, bool with_lists) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  std::vector<Part> parts;
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (field->is_repeated()) {
      const int size = with_lists ? message.GetReflection()->FieldSize(message, field) : 0;
      for (int i = 0; i < size; ++i) {
        const Message& part = message.GetReflection()->GetRepeatedMessage(message, field, i);
        if (!IsOfThresher(part)) break;
        parts.push_back({Join(path, absl::StrCat(field->name(), "[", i, "]")), &part});
      }
      continue;
    }
    const Message& part = message.GetReflection()->GetMessage(message, field);
    if (IsOfThresher(part)) parts.push_back({Join(path, field->name()), &part});
  }
  return parts;
}

absl::Status RefuseUnknownFields(const Message& message, const std::string& path) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (!unknown.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.empty() ? "request" : path, ": field number ", unknown.field(0).number(),
                     " is not known to this server, which may be older than the client; "
                     "leave it out or update the server"));
  }
  for (const Part& part : SetParts(message, path, /*with_lists=*/true)) {
    if (absl::Status status = RefuseUnknownFields(*part.message, part.path); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

std::optional<std::string> Find(const Message& message, const std::string& path,
                                const std::string& name) {
  for (const Part& part : SetParts(message, path, /*with_lists=*/false)) {
    if (auto found = Find(*part.message, part.path, name)) return found;
  }
  const std::string first_word = name.substr(0, name.find('.'));
  if (message.GetDescriptor()->FindFieldByName(first_word) == nullptr) return std::nullopt;
  return Join(path, name);
}

}  // namespace

absl::Status RefuseUnknownFields(const Message& request) {
  return RefuseUnknownFields(request, "");
}

std::string FieldPath(const Message& request, std::string_view name) {
  const std::string wanted(name);
  return Find(request, "", wanted).value_or(wanted);
}

}  // namespace thresher::rpc
