// Session: the links of a datagram session with other applications of this daemon, as the daemon
// and the processes that share it by fork() say what there is.
#include <algorithm>
#include <bit>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {

// A process that shares the session has let go of one, which nobody may touch any more. As nobody
// lets go without the process lock, it is to be looked at under that. There is a table. Under
// mutex_.
bool Session::is_link_let_go() const noexcept {
  return link_table_->let_go_version.load(std::memory_order_acquire) != links_let_go_;
}

// That, or the daemon has said something of links. Those that we have stay as long as we do not let
// go of them. Under mutex_.
bool Session::is_link_table_new() const noexcept {
  if (!link_table_) return std::atomic_ref(shared_->block).load(std::memory_order_acquire) != 0;
  return link_table_->version.load(std::memory_order_acquire) != links_seen_ || is_link_let_go();
}

// Under mutex_.
bool Session::links_changed() const noexcept {
  return is_connectionless() && state() == State::kOpen && (links_over_ || is_link_table_new());
}

void Session::tell_link(svm::ToDaemon type, uint32_t slot, uint32_t word) noexcept {
  worker_.send(*attachment_, daemon_worker(), type, svm::LinkEvent{handle_, slot, word});
}

// The table that the daemon has made.
void Session::enter_link_table() {
  static svm::DatagramLinks none{};  // where the reference leads nowhere
  const svm::Ref ref = std::atomic_ref(shared_->block).load(std::memory_order_acquire);
  auto* t = attachment_->table().resolve_as<svm::DatagramLinks>(ref);
  const uint32_t n = t ? t->capacity : 0;
  const bool is_good =
      n != 0 && n <= svm::kMaxDatagramLinks &&
      attachment_->table().resolve_as<svm::DatagramLinks>(ref, n * sizeof(svm::DatagramLinkSlot));
  link_table_ = is_good ? t : &none;
  links_done_.assign(is_good ? n : 0, 0);
}

// Leaves what is not there any more: before others are taken up, which may have its bell.
void Session::leave_links() {
  std::erase_if(links_, [this](const auto& l) {
    const svm::DatagramLinkSlot& slot = svm::link_slots(*link_table_)[l->slot()];
    const uint32_t word = slot.word.load(std::memory_order_acquire);
    const bool is_there = svm::link_state(word) != svm::kLinkFree &&
                          svm::link_serial(word) == l->serial() &&
                          slot.let_go.load(std::memory_order_relaxed) != l->serial();
    if (!is_there) l->leave(*this);
    return !is_there;
  });
}

// For all who share the session, before the daemon hears of it.
void Session::mark_let_go(svm::DatagramLinkSlot& slot, uint32_t serial) noexcept {
  slot.let_go.store(serial, std::memory_order_relaxed);
  link_table_->let_go_version.store(++links_let_go_, std::memory_order_release);
}

// Takes up what there is in slot `i`, and lets go of it when it is of no more use.
void Session::sync_link(uint32_t i) {
  svm::DatagramLinkSlot& slot = svm::link_slots(*link_table_)[i];
  const uint32_t word = slot.word.load(std::memory_order_acquire);
  const uint32_t serial = svm::link_serial(word);
  const bool is_ended = svm::link_state(word) != svm::kLinkOpen;
  if (svm::link_state(word) == svm::kLinkFree) return;
  if (slot.let_go.load(std::memory_order_relaxed) != serial) {
    auto at =
        std::find_if(links_.begin(), links_.end(), [i](const auto& l) { return l->slot() == i; });
    if (at == links_.end()) {
      if (links_done_[i] == word) return;
      auto l = DatagramLink::open(worker_, *attachment_, *this, i, slot, word);
      if (!l) {  // no descriptors, say: the two go on by the transport
        // Who shares the session may still read what came before the end: another look comes.
        const bool is_shared = std::popcount(shared_->holders.load(std::memory_order_relaxed)) > 1;
        if (is_ended && is_shared) return;
        // Who is forked before the daemon frees it might be able to open it.
        if (!is_shared) mark_let_go(slot, serial);
        links_done_[i] = word;
        tell_link(svm::ToDaemon::kLinkDone, i, word);
        return;
      }
      links_.push_back(std::move(l));
      at = links_.end() - 1;
    }
    // The daemon may hand the session on meanwhile, when a process has died: it names the new owner
    // first, then tells the links.
    uint32_t owner;
    do {
      owner = shared_->owner.load();
      (*at)->set_owner(owner);
    } while (owner != shared_->owner.load());
    if (is_ended) (*at)->end();
    if (!(*at)->is_done()) return;
    (*at)->leave(*this);
    links_.erase(at);
    mark_let_go(slot, serial);
  }
  if (std::exchange(links_done_[i], word) != word) tell_link(svm::ToDaemon::kLinkDone, i, word);
}

// Under the worker's mutex, mutex_ and the process lock.
void Session::sync_links() {
  links_over_ = false;
  if (!link_table_) enter_link_table();
  links_seen_ = link_table_->version.load(std::memory_order_acquire);
  links_let_go_ = link_table_->let_go_version.load(std::memory_order_acquire);
  const uint32_t read = link_read_ < links_.size() ? links_[link_read_]->slot() : ~0u;
  leave_links();
  for (uint32_t i = 0; i < links_done_.size(); ++i) sync_link(i);
  const auto at =
      std::find_if(links_.begin(), links_.end(), [&](const auto& l) { return l->slot() == read; });
  link_read_ = at != links_.end() ? static_cast<uint32_t>(at - links_.begin()) : 0;
  turn_ %= static_cast<uint32_t>(links_.size() + 1);
  worker_.drop_unused_pairs();
}

// Under the worker's mutex and mutex_.
void Session::take_up_links() {
  if (!links_changed()) return;
  const ProcessLock process_lock(*shared_);
  sync_links();
}

void Session::look_at_links() {
  const std::lock_guard lock(mutex_);
  take_up_links();
}

void Session::settle_links() {
  if (!is_connectionless()) return;
  {
    const std::lock_guard lock(mutex_);
    if (!links_changed()) return;
  }
  const std::lock_guard worker_lock(worker_.mutex());
  look_at_links();
}

}  // namespace loom::vcl
