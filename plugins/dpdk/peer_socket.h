// The Unix socket over which net_virtio_user speaks with its vhost peer, seen from outside of the
// driver, which tells nobody of it. Any thread.
#pragma once
#include <cstdint>
#include <string>

#include "config.h"

namespace loom::dpdk {

// What such a device says of its peer; path "": it has none, it is no net_virtio_user, or the
// kernel is at the other end.
struct PeerSocket {
  std::string path;
  bool is_ours = false;  // we listen, and the peer connects
};
PeerSocket peer_socket_of(const DeviceConfig&);
// Devargs of such a device with which its driver connects, although a peer is to connect to us.
std::string as_client(const std::string& devargs);

// Ends this process's connections by the socket at `path`, at either end of them, and whatever
// waits for one there: a driver that reads from its peer hears that it has left, and goes on.
// Returns how many sockets there were. One that still waits to be accepted is not among them.
uint32_t hang_up(const std::string& path);

// Whether somebody has a stream socket at `path`. Nobody notices that they were looked for.
bool is_bound(const std::string& path);

}  // namespace loom::dpdk
