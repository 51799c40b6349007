// Any text: either conditions within the limits or an error that says where; and what
// was read, written out again, is read the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/rpc/filter.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using thresher::rpc::ParseFilter;
  const auto conditions = ParseFilter({reinterpret_cast<const char*>(data), size});
  if (!conditions.ok()) {
    const std::string message(conditions.status().message());
    if (!message.starts_with("filter: ")) std::abort();
    return 0;
  }
  if (conditions->size() > thresher::rpc::kMaxFilterConditions) std::abort();
  std::string text;
  for (const auto& condition : *conditions) {
    if (!text.empty()) text += " AND ";
    text += condition.field + " = \"";
    for (char c : condition.value) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  // Quoting may take the text over the limit.
  if (text.size() > thresher::rpc::kMaxFilterBytes) return 0;
  const auto again = ParseFilter(text);
  if (!again.ok() || *again != *conditions) std::abort();
  return 0;
}
