// The life of a stream's reactor: it lives until gRPC is done with it and everyone who
// holds it has let go, and it finishes once.
#ifndef THRESHER_SERVER_RPC_SELF_OWNED_STREAM_H_
#define THRESHER_SERVER_RPC_SELF_OWNED_STREAM_H_

#include <memory>
#include <utility>

namespace thresher::rpc {

// `Reactor` is grpc::ServerReadReactor<...> or grpc::ServerWriteReactor<...>; `Derived`
// is made by std::make_shared and calls Adopt before the handler returns it.
template <typename Reactor, typename Derived>
class SelfOwnedStream : public Reactor, public std::enable_shared_from_this<Derived> {
 public:
  void OnDone() final {
    static_cast<Derived*>(this)->OnFinished();
    const std::shared_ptr<Derived> last = std::move(self_);
  }

 protected:
  void Adopt() { self_ = this->shared_from_this(); }

 private:
  std::shared_ptr<Derived> self_;
};

}  // namespace thresher::rpc

#endif  // THRESHER_SERVER_RPC_SELF_OWNED_STREAM_H_
