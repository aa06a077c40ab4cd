// Datagrams of a listener that cost a handshake's time, in a round that has none left (slice.h):
// they wait here, in order, and those of open peers behind them do not. Bounded: what finds no room
// is lost, as it could be on its way, and its sender's timer brings it again. One worker.
//   cost  a copy in, and one out; the memory is there from the beginning
#pragma once
#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>

#include <hostloom/datagram.h>

namespace loom::tls::dtls {

class PutOff {
 public:
  static constexpr std::size_t kBytes = 256 << 10;  // several hundred flights of clients

  bool empty() const noexcept { return begin_ == end_; }
  // False: there is no room for it.
  bool push(const Datagram& from, std::span<const std::byte> datagram) noexcept {
    const Head head{from, datagram.size()};
    if (sizeof head + datagram.size() > kBytes - (end_ - begin_)) return false;
    put(std::as_bytes(std::span(&head, 1)));
    put(datagram);
    return true;
  }
  // The oldest one, of which there is one; `to` has room for the largest. Its bytes.
  std::size_t pop(Datagram& from, std::span<std::byte> to) noexcept {
    Head head;
    get(std::as_writable_bytes(std::span(&head, 1)));
    get(to.first(head.size));
    from = head.from;
    return head.size;
  }
  void clear() noexcept { begin_ = end_; }

 private:
  struct Head {
    Datagram from;
    std::size_t size;
  };
  static_assert(std::is_trivially_copyable_v<Head>);
  void put(std::span<const std::byte> d) noexcept {
    const std::size_t at = end_ % kBytes, first = std::min(d.size(), kBytes - at);
    if (first != 0) std::memcpy(bytes_.get() + at, d.data(), first);
    if (first != d.size()) std::memcpy(bytes_.get(), d.data() + first, d.size() - first);
    end_ += d.size();
  }
  void get(std::span<std::byte> d) noexcept {
    const std::size_t at = begin_ % kBytes, first = std::min(d.size(), kBytes - at);
    if (first != 0) std::memcpy(d.data(), bytes_.get() + at, first);
    if (first != d.size()) std::memcpy(d.data() + first, bytes_.get(), d.size() - first);
    begin_ += d.size();
  }

  const std::unique_ptr<std::byte[]> bytes_ = std::make_unique_for_overwrite<std::byte[]>(kBytes);
  std::size_t begin_ = 0, end_ = 0;  // of all that ever came
};

}  // namespace loom::tls::dtls
