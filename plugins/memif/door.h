// Who of those that come to a control socket is let in, and who has to go for it: strangers, that
// have not said yet whom they want, must not keep out who comes next, however often they come and
// however long they stay. A uid stands for who that is. Control thread.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>

namespace loom::memif {

class Door {
 public:
  static constexpr std::size_t kMostStrangers = 16;  // at a time
  static constexpr uint32_t kMost = 256;             // let in in a tick
  static constexpr uint32_t kMostOfUid = 128;        // of these; more are sent away at once

  // Whether nobody is let in any more until the next tick.
  bool is_shut() const noexcept { return n_ == kMost; }
  uint32_t n_let_in() const noexcept { return n_; }  // since the last tick
  // It was not shut. False: that uid has had its share.
  bool lets_in(uid_t uid) {
    uint32_t& of_uid = by_uid_[uid];
    if (of_uid == kMostOfUid) return false;
    ++of_uid;
    ++n_;
    return true;
  }
  void tick() noexcept {
    by_uid_.clear();
    n_ = 0;
  }

  // Which of too many strangers, oldest first, goes: the oldest of the uid that has most of them.
  static std::size_t who_goes(std::span<const uid_t> strangers) noexcept;

 private:
  std::map<uid_t, uint32_t> by_uid_;  // at most kMost
  uint32_t n_ = 0;
};

}  // namespace loom::memif
