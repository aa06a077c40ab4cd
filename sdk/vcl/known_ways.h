// What a datagram session believes of the ways to destinations that calls name: whether there is
// one, and why not. The daemon has said so (ToDaemon::kGetPath).
//
// That there is one holds for all addresses that begin alike, until the daemon drops a datagram for
// want of a route (DaemonLine::n_unreachable); that there is none holds for the one address, for a
// second. So nobody reads a clock, or asks, for each datagram. kPlaces are remembered, and
// kMostQuestions asked in a second: who sends everywhere without a default route is then told
// nothing, and what has no route is dropped. Under the session's mutex.
#pragma once
#include <array>
#include <cstring>

#include <hostloom/types.h>

#include "svm/protocol.h"

namespace loom::vcl {

// Where to, from which address (zero: any) and by which interface (Linux's number; 0: any).
struct WayKey {
  svm::Endpoint to{}, source{};
  uint32_t interface = 0;
};

class KnownWays {
 public:
  static constexpr uint32_t kPlaces = 8, kMostQuestions = 64;
  static constexpr int kUnknown = 1;

  // 0, why not (a negative errno), or kUnknown. `news`: n_unreachable now. now() is asked for the
  // time only where one is known not to be there.
  template <class F>
  int find(const WayKey& key, uint32_t news, F&& now) noexcept {
    if (news != news_) [[unlikely]] {
      news_ = news;
      for (Way& w : ways_)
        if (w.error == 0) w.is_known = false;
    }
    int found = kUnknown;
    for (uint32_t i = 0; i < kPlaces; ++i) {
      const Way& w = ways_[i];
      if (!w.is_known || !is_of(w, key)) continue;
      if (w.error == 0)
        found = 0;  // one that says of this very address that there is none counts for more
      else if (now() < w.until)
        return w.error;
    }
    return found;
  }
  // The answer: error 0 for all that begins with the first `bits` of the destination.
  void learn(const WayKey& key, uint32_t bits, int error, TimeNs now) noexcept {
    const uint32_t all = key.to.is_ip4 ? 32 : 128;
    Way* at = nullptr;
    for (Way& w : ways_)
      if (!at && (!w.is_known || (w.bits == all && is_of(w, key)))) at = &w;
    if (!at) at = &ways_[next_++ % kPlaces];
    *at = {key, error == 0 && bits < all ? bits : all, error, now + kSecond, true};
  }
  // False: enough has been asked within this second.
  bool may_ask(TimeNs now) noexcept {
    if (now - asked_from_ >= kSecond) {
      asked_from_ = now;
      n_asked_ = 0;
    }
    return n_asked_++ < kMostQuestions;
  }

 private:
  struct Way {
    WayKey key;
    uint32_t bits = 0;
    int error = 0;
    TimeNs until = 0;  // of one that is not there
    bool is_known = false;
  };
  static bool is_of(const Way& w, const WayKey& key) noexcept {
    if (w.key.to.is_ip4 != key.to.is_ip4 || w.key.interface != key.interface ||
        std::memcmp(w.key.source.ip, key.source.ip, sizeof key.source.ip) != 0)
      return false;
    const uint32_t bytes = w.bits / 8, rest = w.bits % 8;
    if (std::memcmp(w.key.to.ip, key.to.ip, bytes) != 0) return false;
    return rest == 0 || ((w.key.to.ip[bytes] ^ key.to.ip[bytes]) >> (8 - rest)) == 0;
  }

  std::array<Way, kPlaces> ways_{};
  uint32_t news_ = 0, next_ = 0, n_asked_ = 0;
  TimeNs asked_from_ = -kSecond;
};

}  // namespace loom::vcl
