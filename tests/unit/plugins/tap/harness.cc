#include "harness.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "net_namespace.h"

namespace loom::tap {

Harness::Harness(uint32_t n_buffers, uint32_t data_size)
    : DriverHarness(kInputNode, n_buffers, data_size), taps(std::make_unique<Taps>(host)) {
  if (auto r = register_commands(host, *taps); !r) throw std::runtime_error(r.error().message);
}

Harness::~Harness() {
  clear();
  taps->remove_all();
}

uint32_t Harness::rx(Device& d, uint16_t queue) {
  const uint32_t n = tap::rx(worker(), input(), &d, queue);
  engine->step();
  return n;
}

bool Harness::rx_wait(Device& d) {
  pollfd p{.fd = d.queues[0]->fd, .events = POLLIN, .revents = 0};
  if (poll(&p, 1, 20'000) != 1) return false;
  while (rx(d) != 0) {}
  return true;
}

std::unique_ptr<Device> Harness::device_on(int fd) {
  auto d = std::make_unique<Device>();
  d->host = &host;
  d->name = "tap0";
  d->index = 7;
  d->queues.push_back(std::make_unique<RxQueue>());
  d->queues[0]->fd = fd;
  d->rx_totals = RxTotals({&counters});
  d->has_totals = true;
  return d;
}

PrivateNamespace::PrivateNamespace() {
  // A namespace lives while a file of it is open: the descriptor is what the path leads to.
  int fd = -1;
  std::thread([&] {
    if (unshare(CLONE_NEWNET) == 0) fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  }).join();
  if (fd < 0) throw std::runtime_error(std::string("no network namespace: ") + strerror(errno));
  path_ = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd);
}

PrivateNamespace::~PrivateNamespace() { close(std::stoi(path_.substr(path_.rfind('/') + 1))); }

void PrivateNamespace::run(const std::function<void()>& fn) {
  const auto r = run_in_net_namespace(path_, [&]() -> Result<void> {
    fn();
    return {};
  });
  ASSERT_TRUE(r) << r.error().message;
}

std::string enter_private_network() {
  if (access("/dev/net/tun", F_OK) != 0) return "/dev/net/tun is absent";
  if (access("/dev/net/tun", R_OK | W_OK) != 0)
    return "/dev/net/tun may not be opened by this user";
  loom::enter_private_network();
  return "";
}

}  // namespace loom::tap
