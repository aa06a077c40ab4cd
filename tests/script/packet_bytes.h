// Segments of a script as packets, and packets of the stack as segments of a script. Building may
// lie (wrong lengths, broken options); reading checks whatever holds for every packet: lengths,
// checksums, addresses, options, payload bytes.
#pragma once
#include <map>
#include <string>
#include <vector>

#include <hostloom/address.h>

#include "fake_host.h"
#include "packet.h"

namespace loom::script {

constexpr uint16_t kStackPort = 80;

// Bytes of a stream; the two directions differ.
std::string stream_bytes(uint32_t offset, uint32_t n, bool from_peer);
IpAddress stack_address(bool ip6, bool link_local = false);
IpAddress peer_address(bool ip6, bool link_local = false);

// What one peer, by its port, knows of its connection.
struct Peer {
  uint32_t iss = 0;  // the stack's
  bool knows_iss = false;
  uint32_t next = 0;    // relative, of the peer's stream
  uint32_t wanted = 0;  // relative: ack of injected packets by default
  uint32_t tsecr = 0;   // latest tsval of the stack
  bool timestamps = false;
  uint16_t stack_port = kStackPort;
  uint32_t written = 0;  // bytes of the application's stream
};

class PacketBytes {
 public:
  // window: of packets that do not say theirs, as on the wire.
  PacketBytes(FakeHost& host, bool ip6, uint32_t window, bool link_local)
      : host_(host),
        ip6_(ip6),
        window_(window),
        stack_(stack_address(ip6, link_local)),
        peer_(peer_address(ip6, link_local)) {}

  // A segment of the peer at `port`; tsval: its timestamp clock.
  Buffer* build(const Packet&, uint16_t port, uint32_t tsval);
  // Bytes behind an IP header. `length`: what that header says; the packet may be longer (padding)
  // or shorter (malformed).
  Buffer* build_ip(const std::string& tcp, uint32_t length);

  struct Sent {
    TimeNs when;
    uint16_t port;
    Packet packet;
    IfIndex tx_if;
    uint32_t adjacency;
  };
  // Appends what was sent as the wire sees it: one packet a segment.
  void read(const FakeHost::Captured&, std::deque<Sent>& out);

  std::map<uint16_t, Peer> peers;  // by port
  IfIndex link = kNoIndex;         // by which packets of peers come

 private:
  std::string options_bytes(const Packet&, const Peer&) const;

  FakeHost& host_;
  bool ip6_;
  uint32_t window_;
  const IpAddress stack_, peer_;
};

}  // namespace loom::script
