// What a datagram session believes of the ways to destinations that calls name: whether there is
// one, and why not. The daemon has said so (ToDaemon::kGetPath). A session whose daemon has said of
// all destinations that there is a way (ConnectedEvent::everywhere) has none of this.
//
// That there is one holds for all addresses that begin alike, until the daemon drops a datagram for
// want of a route (DaemonLine::n_unreachable), which counts once in a second; that there is none
// holds for the one address, for kNoneFor. So nobody asks for each datagram. A clock is read where
// nothing is known, where there is no way, and where news of a drop wait for their second to pass.
//
// kPlaces are remembered. kMostQuestions are asked in a second, and fewer in the next where that
// was in vain: who sends everywhere without a default route is then told nothing, and what has no
// route is dropped. Under the session's mutex.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>

#include <hostloom/types.h>

#include "svm/protocol.h"

namespace loom::vcl {

// Where to, from which address (zero: any) and by which interface (Linux's number; 0: any) that a
// call names, or the socket is bound to.
struct WayKey {
  svm::Endpoint to{}, source{};
  uint32_t interface = 0, bound = 0;
};

class KnownWays {
 public:
  static constexpr uint32_t kPlaces = 8, kMostQuestions = 64;
  static constexpr TimeNs kNoneFor = kSecond / 10;
  static constexpr int kUnknown = 1;

  // `news`: n_unreachable now, as below.
  explicit KnownWays(uint32_t news = 0) noexcept : news_(news) {}

  // 0, why not (a negative errno), or kUnknown. now() is called when the time matters.
  template <class F>
  int find(const WayKey& key, uint32_t news, F&& now) noexcept {
    if (news != news_) [[unlikely]]
      hear(news, now());
    int found = kUnknown;
    for (uint32_t i = 0; i < n_used_; ++i) {
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
    if (error != 0) {
      was_refused_ = true;
      most_ = std::min(2 * most_, kMostQuestions);
    }
    const uint32_t all = key.to.is_ip4 ? 32 : 128;
    Way* at = nullptr;
    for (uint32_t i = 0; i < n_used_ && !at; ++i)
      if (Way& w = ways_[i]; !w.is_known || (w.bits == all && is_of(w, key))) at = &w;
    if (!at) at = n_used_ < kPlaces ? &ways_[n_used_++] : &ways_[next_++ % kPlaces];
    *at = {key, error == 0 && bits < all ? bits : all, error, now + kNoneFor, true};
  }
  // False: enough has been asked within this second.
  bool may_ask(TimeNs now) noexcept {
    if (now - asked_from_ >= kSecond) {
      if (n_asked_ >= most_ && !was_refused_) most_ = std::max(most_ / 2, 1u);
      asked_from_ = now;
      n_asked_ = 0;
      was_refused_ = false;
    }
    return n_asked_ < most_;
  }
  // A question is asked.
  void count() noexcept { ++n_asked_; }
  // It had no answer: none is asked within this second.
  void count_vain() noexcept { n_asked_ = std::max(n_asked_, most_); }

 private:
  struct Way {
    WayKey key;
    uint32_t bits = 0;
    int error = 0;
    TimeNs until = 0;  // of one that is not there
    bool is_known = false;
  };
  void hear(uint32_t news, TimeNs now) noexcept {
    if (now - heard_at_ < kSecond) return;
    heard_at_ = now;
    news_ = news;
    for (uint32_t i = 0; i < n_used_; ++i)
      if (ways_[i].error == 0) ways_[i].is_known = false;
  }
  static bool is_of(const Way& w, const WayKey& key) noexcept {
    if (w.key.to.is_ip4 != key.to.is_ip4 || w.key.interface != key.interface ||
        w.key.bound != key.bound ||
        std::memcmp(w.key.source.ip, key.source.ip, sizeof key.source.ip) != 0)
      return false;
    const uint32_t bytes = w.bits / 8, rest = w.bits % 8;
    if (std::memcmp(w.key.to.ip, key.to.ip, bytes) != 0) return false;
    return rest == 0 || ((w.key.to.ip[bytes] ^ key.to.ip[bytes]) >> (8 - rest)) == 0;
  }

  std::array<Way, kPlaces> ways_{};
  uint32_t n_used_ = 0, next_ = 0;
  uint32_t news_;
  TimeNs heard_at_ = -kSecond;
  uint32_t most_ = kMostQuestions, n_asked_ = 0;  // in this second
  bool was_refused_ = false;                      // one of them: they are of use
  TimeNs asked_from_ = -kSecond;
};

}  // namespace loom::vcl
