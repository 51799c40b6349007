#ifndef THRESHER_CLIENT_INTERRUPT_H_
#define THRESHER_CLIENT_INTERRUPT_H_

#include <stop_token>
#include <thread>

namespace thresher::client {

// Turns SIGINT and SIGTERM into a stop request, so that calls end in good order and temporary
// files are removed. Make it before any other thread: it blocks the signals in all of them.
// One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  int signals_;   // signalfd
  int finished_;  // eventfd that ends the thread
  std::thread waiter_;
};

}  // namespace thresher::client

#endif  // THRESHER_CLIENT_INTERRUPT_H_
