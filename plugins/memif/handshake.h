// How a link comes about, message by message, without the sockets: the master's side checks what a
// slave says and builds the link from it, the slave's side builds the link and says so. An error's
// message is the reason that the peer is told.
#pragma once
#include <deque>

#include "channel.h"
#include "memif_link.h"

namespace loom::memif {

constexpr uint16_t kMaxRings = 64;     // each way
constexpr uint16_t kMaxRegions = 256;  // as others allow
// Of one link, in all: what a peer can have charged to us by having us touch it.
constexpr uint64_t kMaxRegionBytes = uint64_t{1} << 30;

// What an interface was made with, as far as its peers see it.
struct LinkConfig {
  uint32_t id = 0;
  Mode mode = Mode::kEthernet;
  bool is_master = false;
  uint16_t n_rx_queues = 1, n_tx_queues = 1;
  uint8_t log2_ring_size = 10;
  uint16_t buffer_size = 2048;
  std::string secret{};  // "" = none, as master: anybody
};

// Bytes of the region that a slave makes.
uint64_t region_bytes(uint32_t n_rings, uint8_t log2_ring_size, uint16_t buffer_size);

// What a master allows a slave of its socket: rings, and their size.
struct RingLimits {
  uint16_t n_s2m = kMaxRings, n_m2s = kMaxRings;
  uint8_t log2_ring_size = kMaxLog2RingSize;
};

Message hello_message(std::string_view our_name, const RingLimits& = {});

// Whether what a slave says of itself is right for the interface that it names.
Result<void> check_init(const LinkConfig&, const Init&);

class MasterSide {
 public:
  // The limits are those that the slave was greeted with.
  explicit MasterSide(const LinkConfig& c, const RingLimits& = {});
  Result<void> add_region(const AddRegion&, UniqueFd);
  Result<void> add_ring(const AddRing&, UniqueFd);
  // All has been said: the link, which must not be without rings. What follows is refused.
  Result<std::unique_ptr<Link>> connect();

 private:
  Result<RingMemory*> ring_at(const AddRing&) const;
  RingLimits limits_;
  std::unique_ptr<Link> link_ = std::make_unique<Link>();
  std::vector<UniqueFd> to_ring_;  // by link_->tx; a bell costs more, and is made when all is said
  uint64_t bytes_ = 0;
};

class SlaveSide {
 public:
  // What to answer a HELLO with.
  static Result<SlaveSide> answer(const LinkConfig&, const Hello&, std::string_view our_name,
                                  std::string_view interface_name);
  // Sends the next message: the first at once, then one for each ACK.
  Result<void> send_next(const Channel&);
  bool is_all_sent() const { return messages_.empty(); }
  // CONNECTED has come.
  Result<std::unique_ptr<Link>> connect();

 private:
  struct Outgoing {
    Message message;
    int fd = -1;
    UniqueFd owned;  // what only the peer keeps
  };
  Result<void> make_rings(const LinkConfig&, uint16_t n_s2m, uint16_t n_m2s, uint8_t log2_size);
  void say_ring(const Ring&, bool is_s2m, uint16_t index, uint8_t log2_size, int fd,
                UniqueFd owned);
  std::unique_ptr<Link> link_;
  std::deque<Outgoing> messages_;
};

}  // namespace loom::memif
