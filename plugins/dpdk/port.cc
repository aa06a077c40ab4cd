// A port of DPDK's: what it is told before it starts, started, stopped.
#include <fcntl.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>

#include <hostloom/waker.h>

#include "device.h"
#include "eal.h"
#include "interrupt_thread.h"

namespace loom::dpdk {
namespace {

constexpr uint16_t kDescriptors = 512;  // where the driver proposes nothing
constexpr uint32_t kFrameBeyondMtu = RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN;

constexpr DriverTraits kTraits[] = {
    {.driver = "net_tap",
     .copies_at_once = true,
     .shares_mac = true,
     .wants_signals = true,
     .is_tap = true,
     .wants_equal_queues = true},
    {.driver = "net_af_packet", .copies_at_once = true, .shares_mac = true},
    {.driver = "net_af_xdp", .shares_mac = true},
    {.driver = "net_pcap", .copies_at_once = true, .takes_chains = true, .has_fixed_link = true},
    {.driver = "net_null", .copies_at_once = true, .has_fixed_link = true},
    {.driver = "net_ring", .has_fixed_link = true},
    {.driver = "net_virtio_user", .is_stopped_by_interrupts = true},
    {.driver = "net_memif",
     .copies_at_once = true,
     .is_restarted = true,
     .is_run_by_interrupts = true},
};

Error failed(const Device& d, const char* what, int code) {
  return error(Status::kIo, d.name + ": " + what + ": " + rte_strerror(code < 0 ? -code : code));
}

// net_tap has the kernel send a real-time signal for each packet, to learn without a system call
// that a queue is not empty. They go to the control thread, which is slower than packets come; when
// as many wait as may, the kernel sends SIGIO instead, and that ends the process. As long as no
// signal has come net_tap reads at each burst, and so it shall: the descriptors, which no packet
// has reached yet, send none. Our own tap has never asked for them.
void end_signals() {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", none)) {
    if (std::filesystem::read_symlink(entry.path(), none) != "/dev/net/tun") continue;
    const int fd = std::atoi(entry.path().filename().c_str());
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags >= 0 && flags & O_ASYNC) (void)::fcntl(fd, F_SETFL, flags & ~O_ASYNC);
  }
}

uint16_t descriptors(uint16_t wanted, uint16_t proposed) {
  return wanted ? wanted : proposed ? proposed : kDescriptors;
}

void choose_offloads(Device& d) {
  const uint64_t rx = d.info.rx_offload_capa;
  d.rx_offloads = 0;
  if (!d.traits.copies_at_once)
    d.rx_offloads |= rx & (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM |
                           RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
  if (d.config.strips_vlan) d.rx_offloads |= rx & RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
  if (d.has_lro) d.rx_offloads |= rx & RTE_ETH_RX_OFFLOAD_TCP_LRO;
  const uint32_t data_size = d.mempools->pools().front()->info.data_size;
  if (d.mtu + kFrameBeyondMtu > data_size || d.rx_offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO)
    d.rx_offloads |= rx & RTE_ETH_RX_OFFLOAD_SCATTER;
}

rte_eth_conf conf_of(const Device& d) {
  rte_eth_conf c{};
  c.rxmode.mtu = d.mtu;
  c.rxmode.offloads = d.rx_offloads;
  c.txmode.offloads = d.tx_offloads;
  if (d.rx_offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO)
    c.rxmode.max_lro_pkt_size = d.info.max_lro_pkt_size;
  if (d.rss != 0) {
    c.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    c.rx_adv_conf.rss_conf.rss_hf = d.rss;
  }
  c.intr_conf.lsc = d.has_link_interrupt;
  c.intr_conf.rmv = (*d.info.dev_flags & RTE_ETH_DEV_INTR_RMV) != 0;
  c.intr_conf.rxq = d.config.has_rx_interrupts;
  return c;
}

Result<void> set_up_queues(Device& d) {
  const int socket = rte_eth_dev_socket_id(d.port);
  rte_eth_rxconf rx = d.info.default_rxconf;
  rx.offloads = d.rx_offloads;
  for (uint16_t q = 0; q < d.queues.size(); ++q)
    if (const int code = rte_eth_rx_queue_setup(d.port, q, d.n_rx_descriptors,
                                                static_cast<unsigned>(socket), &rx, d.pool);
        code != 0)
      return failed(d, ("rx queue " + std::to_string(q)).c_str(), code);
  rte_eth_txconf tx = d.info.default_txconf;
  tx.offloads = d.tx_offloads;
  for (uint16_t q = 0; q < d.n_tx_queues; ++q)
    if (const int code = rte_eth_tx_queue_setup(d.port, q, d.n_tx_descriptors,
                                                static_cast<unsigned>(socket), &tx);
        code != 0)
      return failed(d, ("tx queue " + std::to_string(q)).c_str(), code);
  return {};
}

// That a driver has none is an error in DPDK's log, and none of ours. The level is the process's,
// and several threads may be here.
int rx_interrupt(const Device& d, uint16_t q) {
  static std::mutex lock;
  const std::lock_guard hold(lock);
  const uint32_t before = rte_log_get_global_level();
  rte_log_set_global_level(RTE_LOG_CRIT);
  const int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(d.port, q);
  rte_log_set_global_level(before);
  return fd;
}

// The driver's descriptor of a queue, into what the worker sleeps on. Whether there is one is
// settled when the interface is made: a queue that was polled then is polled for ever, and one that
// had a descriptor and has none now is always ready.
void watch(Device& d, uint16_t q) {
  RxQueue& queue = *d.queues[q];
  const bool is_settled = d.index != kNoIndex;
  int fd = d.config.has_rx_interrupts ? rx_interrupt(d, q) : -1;
  if (!queue.ready) {
    if (fd < 0 || is_settled) return;
    queue.ready = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  }
  const bool is_missing = fd < 0;
  if (is_missing) {
    if (!queue.always) queue.always = open_eventfd(1);
    fd = queue.always.get();
  }
  queue.is_edge = !is_missing && is_eventfd(fd);
  epoll_event e{};
  e.events = EPOLLIN | (queue.is_edge ? static_cast<uint32_t>(EPOLLET) : 0u);
  e.data.fd = fd;
  (void)::epoll_ctl(queue.ready.get(), EPOLL_CTL_ADD, fd, &e);
  queue.needs_arming = !is_missing && rte_eth_dev_rx_intr_enable(d.port, q) == 0;
  queue.is_armed = queue.needs_arming;
  queue.n_empty = 0;
}

void unwatch(Device& d, uint16_t q) {
  RxQueue& queue = *d.queues[q];
  if (!queue.ready) return;
  if (queue.needs_arming) (void)rte_eth_dev_rx_intr_disable(d.port, q);
  if (queue.always)
    (void)::epoll_ctl(queue.ready.get(), EPOLL_CTL_DEL, queue.always.get(), nullptr);
  const int fd = rx_interrupt(d, q);
  if (fd >= 0) (void)::epoll_ctl(queue.ready.get(), EPOLL_CTL_DEL, fd, nullptr);
}

}  // namespace

const DriverTraits& traits_of(std::string_view driver) noexcept {
  static constexpr DriverTraits kOther{.driver = ""};
  for (const DriverTraits& t : kTraits)
    if (driver == t.driver) return t;
  return kOther;
}

int call_port(const Device& d, int (*call)(uint16_t port)) {
  const WithoutHost scope(d.is_elsewhere);
  const auto run = [&] { return call(d.port); };
  const bool is_there = d.traits.is_run_by_interrupts ||
                        (d.traits.is_stopped_by_interrupts && call == rte_eth_dev_stop);
  return is_there ? on_interrupt_thread(run) : run();
}

Result<void> configure_port(Device& d) {
  const SignalsBlocked blocked;
  d.is_configured = false;
  choose_offloads(d);
  const auto n_rx = static_cast<uint16_t>(d.queues.size());
  rte_eth_conf conf = conf_of(d);
  int code = rte_eth_dev_configure(d.port, n_rx, d.n_tx_queues, &conf);
  if (code != 0 && d.config.has_rx_interrupts) {  // it has none
    conf.intr_conf.rxq = 0;
    code = rte_eth_dev_configure(d.port, n_rx, d.n_tx_queues, &conf);
    if (code == 0) d.config.has_rx_interrupts = false;
  }
  if (code != 0) return failed(d, "rte_eth_dev_configure", code);
  d.n_rx_descriptors = descriptors(d.config.n_rx_descriptors, d.info.default_rxportconf.ring_size);
  d.n_tx_descriptors = descriptors(d.config.n_tx_descriptors, d.info.default_txportconf.ring_size);
  code = rte_eth_dev_adjust_nb_rx_tx_desc(d.port, &d.n_rx_descriptors, &d.n_tx_descriptors);
  if (code != 0) return failed(d, "descriptors", code);
  const auto have_queues = set_up_queues(d);
  if (d.traits.is_tap) d.host_end.find(d.info.if_index);
  if (!have_queues) return have_queues;
  if (d.traits.wants_signals) end_signals();
  // Software devices that know no MTU take any packet.
  code = rte_eth_dev_set_mtu(d.port, static_cast<uint16_t>(std::min<uint32_t>(d.mtu, 0xffff)));
  if (code != 0 && code != -ENOTSUP)
    return failed(d, ("mtu " + std::to_string(d.mtu)).c_str(), code);
  d.is_configured = true;
  return {};
}

Result<void> start_port(Device& d) {
  if (d.is_removed.load(std::memory_order_relaxed))
    return error(Status::kNotFound, d.name + ": the device is gone");
  const SignalsBlocked blocked;
  const int code = call_port(d, rte_eth_dev_start);
  if (code != 0) return failed(d, "rte_eth_dev_start", code);
  const WithoutHost scope(d.is_elsewhere);
  if (d.traits.shares_mac) (void)rte_eth_promiscuous_enable(d.port);
  (void)rte_eth_allmulticast_enable(d.port);
  for (uint16_t q = 0; q < d.queues.size(); ++q) watch(d, q);
  d.is_started.store(true, std::memory_order_release);
  return {};
}

bool quiesce_port(Device& d) {
  if (!d.is_started.load(std::memory_order_relaxed)) return false;
  d.is_started.store(false, std::memory_order_relaxed);
  d.host->with_barrier([] {});  // whoever has seen it started has left
  for (uint16_t q = 0; q < d.queues.size(); ++q) unwatch(d, q);
  return true;
}

void halt_port(Device& d) { (void)call_port(d, rte_eth_dev_stop); }

void stop_unknown_port(Device& d) {
  if (!d.is_started.exchange(false, std::memory_order_relaxed)) return;
  for (uint16_t q = 0; q < d.queues.size(); ++q) unwatch(d, q);
  halt_port(d);
}

}  // namespace loom::dpdk
