#include "client/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace thresher::client {

Interrupt::Interrupt() {
  sigset_t interrupts;
  sigemptyset(&interrupts);
  sigaddset(&interrupts, SIGINT);
  sigaddset(&interrupts, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &interrupts, nullptr);
  signals_ = signalfd(-1, &interrupts, SFD_CLOEXEC);
  finished_ = eventfd(0, EFD_CLOEXEC);
  waiter_ = std::thread([this] {
    pollfd waiting[2] = {{signals_, POLLIN, 0}, {finished_, POLLIN, 0}};
    while (poll(waiting, 2, -1) < 0 && errno == EINTR) {
    }
    if (waiting[0].revents != 0) source_.request_stop();
  });
}

Interrupt::~Interrupt() {
  eventfd_write(finished_, 1);
  waiter_.join();
  close(signals_);
  close(finished_);
}

}  // namespace thresher::client
