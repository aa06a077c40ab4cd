#include "admission.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>

#include "memif_guard.h"
#include "peer_socket.h"
#include "stall_guard.h"
#include "tap_host.h"
#include "vhost_guard.h"

namespace loom::dpdk {
namespace {

constexpr const char* kInsteadOfThem = "; there is `create interface memif`";

Error refused(const std::string& why) { return error(Status::kUnsupported, why); }

// net_pcap opens its files, and reads and writes them in bursts, with calls that wait. "": it can.
std::string pcap_that_waits(const DeviceConfig& d) {
  const bool is_inside = has_inside(d, "net_pcap") || has_inside(d, "eth_pcap");
  if (!is_inside && !d.address.starts_with("net_pcap") && !d.address.starts_with("eth_pcap"))
    return "";
  for (std::string one : arguments_of(d.devargs)) {
    if (!one.starts_with("rx_pcap=") && !one.starts_with("tx_pcap=")) continue;
    if (is_inside) one.resize(std::min(one.find(')'), one.size()));  // dev(net_pcap0,KEY=VALUE)
    const std::string path = one.substr(one.find('=') + 1);
    struct stat s {};
    if (path == "-" ||
        (::stat(path.c_str(), &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode)))
      return one;
  }
  return "";
}

// net_failsafe runs a command, or reads a file, for the device that it is to take. Its driver takes
// any character before the word for a separator, so what looks like another word's end is meant.
// net_bonding takes ports by their numbers, too, and net_vdev_netvsc what it finds.
std::string hider_in(const DeviceConfig& d) {
  if (d.address.starts_with("net_vdev_netvsc")) return d.address;
  if (d.address.starts_with("net_failsafe"))
    for (const char* hider : {"exec(", "fd("})
      if (d.devargs.find(hider) != std::string::npos) return hider;
  if (d.address.starts_with("net_bonding") || d.address.starts_with("eth_bond"))
    for (const std::string& one : arguments_of(d.devargs))
      if (const auto at = one.find('='); at != std::string::npos && at + 1 < one.size() &&
                                         one.starts_with("slave") &&
                                         one.find_first_not_of("0123456789", at + 1) == one.npos)
        return one;
  return "";
}

}  // namespace

Result<BurstGate*> admit(const DeviceConfig& d, uint32_t n_workers) {
  if (const std::string hider = hider_in(d); !hider.empty())
    return refused("'" + hider +
                   "' hides which device is inside, and whom that trusts: devices are named");
  if (has_inside(d, "net_memif"))
    return refused(std::string("net_memif is no part of another device here") + kInsteadOfThem);
  if (has_inside(d, "net_virtio_user") || has_inside(d, "virtio_user"))
    return refused(
        "net_virtio_user is no part of another device here, which would wait for its peer");
  if (const std::string one = pcap_that_waits(d); !one.empty())
    return refused(one + " is no regular file: a worker would wait for who is at its other end");
  // Without it one that is moved cannot be stopped and started again.
  if (d.address.starts_with("net_tap")) (void)guard_tap();
  if (const auto guarded = guard_stalls(d); !guarded)
    return refused("its driver cannot be kept from waiting in a burst: " + guarded.error().message);
  if (is_vhost(d))
    if (const auto guarded = guard_vhost(); !guarded)
      return refused("this net_vhost cannot be kept from waiting for its peers: " +
                     guarded.error().message + kInsteadOfThem);
  if (!is_memif(d.address)) return nullptr;
  const auto gate = guard_memif(n_workers);
  if (!gate)
    return refused("this net_memif cannot be kept from harm: " + gate.error().message +
                   kInsteadOfThem);
  return *gate;
}

// What drivers believe is in README.md, "Peers of ...".
std::string trust_of(const DeviceConfig& d) {
  if (is_memif(d.address))
    return d.address + ": net_memif trusts its peer, which can read and write this daemon's memory";
  if (is_vhost(d))
    return d.address +
           ": net_vhost trusts its peer, whose memory it reads and writes: this daemon ends when "
           "that is cut off";
  if (const PeerSocket peer = peer_socket_of(d); !peer.path.empty())
    return d.address + ": net_virtio_user trusts its peer: who is at " + peer.path +
           " can read and write the memory of all buffers of this daemon";
  return "";
}

Result<void> check_trust(const DeviceConfig& d) {
  const std::string trust = trust_of(d);
  if (trust.empty() || d.trusts_peer) return {};
  return error(Status::kPermission,
               trust + "; `trust-peer` makes the device, for a peer that is to be trusted" +
                   kInsteadOfThem + " for others");
}

}  // namespace loom::dpdk
