// Segments as a script writes them: flags, relative sequence numbers, options. In packets that the
// stack sends, seq counts from its ISS and ack from the peer's; in injected ones the other way
// round. 0 is the SYN, data begins at 1.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace loom::script {

struct Packet {
  std::string flags{};            // of "SFRPA."; "." is ACK; PSH is compared only when asked for
  std::optional<uint32_t> seq{};  // injected: default is the peer's next
  uint32_t length = 0;            // payload
  std::optional<uint32_t> ack_number{};
  std::optional<uint32_t> window{};  // as on the wire
  std::optional<uint32_t> mss_option{}, wscale_option{}, tsval{}, tsecr{};
  bool sack_permitted = false;
  std::vector<std::pair<uint32_t, uint32_t>> sack_blocks{};
  std::string raw_options{};        // instead of the above, for malformed ones
  uint8_t hops = 0, tos = 0;        // of the IP header, sent: for tests that look themselves
  bool without_timestamps = false;  // injected: do not add the option that was agreed

  Packet& ack(uint32_t n) { return ack_number = n, add('.'); }
  Packet& at(uint32_t s) { return seq = s, *this; }
  Packet& win(uint32_t w) { return window = w, *this; }
  Packet& mss(uint32_t m) { return mss_option = m, *this; }
  Packet& wscale(uint32_t s) { return wscale_option = s, *this; }
  Packet& ts(uint32_t val, uint32_t ecr) { return tsval = val, tsecr = ecr, *this; }
  Packet& sackok() { return sack_permitted = true, *this; }
  Packet& sack(uint32_t from, uint32_t to) { return sack_blocks.emplace_back(from, to), *this; }
  Packet& fin() { return add('F'); }
  Packet& psh() { return add('P'); }
  Packet& urg() { return add('U'); }
  Packet& options(std::string bytes) { return raw_options = std::move(bytes), *this; }
  Packet& no_ts() { return without_timestamps = true, *this; }

  bool has(char flag) const { return flags.find(flag) != flags.npos; }
  std::string str() const;

 private:
  Packet& add(char flag) { return has(flag) ? *this : (flags += flag, *this); }
};

// The constructors of scripts. Data segments and FINs carry ACK, as all but the first of a
// connection do; use .ack() to say which.
inline Packet seg(uint32_t from, uint32_t to) {
  return Packet{.flags = ".", .seq = from, .length = to - from};
}
std::vector<Packet> segs(uint32_t from, uint32_t to, uint32_t mss = 1000);
inline Packet ack(uint32_t n) { return Packet{.flags = ".", .ack_number = n}; }
inline Packet syn() { return Packet{.flags = "S", .seq = 0}; }
inline Packet syn_ack() { return Packet{.flags = "S.", .seq = 0, .ack_number = 1}; }
inline Packet fin(uint32_t at) { return Packet{.flags = "F.", .seq = at}; }
inline Packet rst(uint32_t at) { return Packet{.flags = "R", .seq = at}; }
inline Packet rst_ack(uint32_t at) { return Packet{.flags = "R.", .seq = at}; }

}  // namespace loom::script
