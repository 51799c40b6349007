// The shared body of the List calls.
#ifndef THRESHER_SERVER_RPC_LIST_PAGES_H_
#define THRESHER_SERVER_RPC_LIST_PAGES_H_

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "server/rpc/convert.h"

namespace thresher::rpc {

// Stays under the 4 MiB that gRPC clients take unless told otherwise.
inline constexpr size_t kMaxListBytes = size_t{3} << 20;

// Fills a List response from `list(store::ListRequest)`, which gives a Page of records;
// `items` is the response's repeated field. A page whose records would make too large a
// message is asked for again at half its size: clients go on from its token.
template <typename List, typename Request, typename Response, typename Items>
absl::Status FillPage(List list, const Request& request, bool has_state, Response& response,
                      Items& items) {
  auto list_request =
      ListRequestFrom(request.page_size(), request.page_token(), request.filter(), has_state);
  if (!list_request.ok()) return list_request.status();
  while (true) {
    auto page = list(*list_request);
    if (!page.ok()) return page.status();
    size_t bytes = 0;
    for (const auto& record : page->records) {
      *items.Add() = ToProto(record);
      bytes += items.Get(items.size() - 1).ByteSizeLong();
    }
    if (bytes <= kMaxListBytes || page->records.size() <= 1) {
      response.set_next_page_token(std::move(page->next_page_token));
      return absl::OkStatus();
    }
    list_request->page_size = static_cast<int64_t>(page->records.size() / 2);
    items.Clear();
  }
}

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_LIST_PAGES_H_
