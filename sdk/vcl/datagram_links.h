// What a datagram session has for each link with a session of another application of this daemon
// (svm/datagram_links.h): a fifo each way, and a bell.
//
// The peer may write all of the memory behind it. Of a datagram's header its length counts, within
// what there is, and TOS and TTL; addresses are those that the daemon has said. A contradiction
// breaks the link, and nothing else.
//
// Threads: under the session's mutex and its process lock; made and left under the worker's mutex
// as well.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "svm/datagram.h"
#include "svm/datagram_links.h"
#include "svm/fifo.h"
#include "vcl/cut_through.h"

namespace loom::vcl {

class AppWorker;

class DatagramLink {
 public:
  // With who does not do its part. Tests of those who do have more.
  static inline TimeNs patience = 100 * kMillisecond;

  // The link of that slot. nullptr: it leads nowhere, or there are no descriptors.
  static std::unique_ptr<DatagramLink> open(AppWorker& worker, Attachment& attachment,
                                            Session& session, uint32_t slot,
                                            const svm::DatagramLinkSlot& shared, uint32_t word);
  // After that its memory is not touched any more.
  void leave(Session& session) noexcept { pair_->leave(bell_ref_, end_, bit_, session); }

  uint32_t slot() const noexcept { return slot_; }
  uint32_t serial() const noexcept { return serial_; }
  // The daemon has ended it: nothing is sent by it any more, which the other end is told. What that
  // one still writes is received until it has said the same, or has had patience to.
  void end() noexcept;
  bool is_ended() const noexcept { return is_ended_; }
  // Of no more use: broken, or ended and read to the end.
  bool is_done() const noexcept { return is_broken_ || (has_end_ && left() == 0); }
  void set_owner(uint32_t worker) noexcept { own_->owner.store(worker, std::memory_order_seq_cst); }

  // Whether it is the way to that address, from that source if one is named.
  bool leads_to(const svm::Endpoint& to, const svm::Endpoint* source) const noexcept;
  // Goes over to it from the session's own fifo, once: when that is empty, so that all that was
  // sent before has arrived, or after patience.
  bool may_be_written(svm::AppFifoProducer& own) noexcept;
  enum class Sent { kYes, kDropped, kBroken };
  // One datagram of the bytes [from, from + h.length) of `v`. kDropped: the peer does not keep up,
  // or there is no memory. should_ring() afterwards.
  Sent send(const svm::DatagramHeader& h, std::span<const iovec> v, size_t from) noexcept;
  void count_dropped(uint32_t n) noexcept { own_->dropped.fetch_add(n, std::memory_order_relaxed); }
  // The peer waits for what has been sent.
  bool should_ring() noexcept { return tx_.should_notify(); }
  // False: it sleeps and could not be woken; the daemon can.
  bool ring() noexcept {
    return pair_->ring(*bell_, 1 - end_, peer_->owner.load(std::memory_order_relaxed), bit_);
  }

  // What the session's own fifo had when the first datagram was found here is read before that.
  bool may_be_read(svm::AppFifoConsumer& own) noexcept;
  // The header of the next datagram, with the daemon's addresses. False: there is none.
  bool next(svm::DatagramHeader& h) noexcept;
  // Its bytes, as many as there is room for. False: the link is broken.
  bool peek(const svm::DatagramHeader& h, std::span<const iovec> to, uint32_t& n) noexcept;
  void drop(const svm::DatagramHeader& h) noexcept;
  // Before sleeping. True: there is nothing beyond what has been seen.
  bool arm() noexcept;

 private:
  DatagramLink() = default;
  bool broken() noexcept {
    is_broken_ = true;
    return false;
  }
  uint32_t readable() noexcept;
  void find_end() noexcept;
  // Of what there was at the end; other processes read it, too.
  uint32_t left() const noexcept {
    const auto n = static_cast<int32_t>(end_at_ - rx_.head());
    return n > 0 ? static_cast<uint32_t>(n) : 0;
  }

  std::shared_ptr<CutThroughPair> pair_;
  svm::BellShared* bell_ = nullptr;
  svm::CutThroughEnd *own_ = nullptr, *peer_ = nullptr;
  svm::AppFifoConsumer rx_;
  svm::AppFifoProducer tx_;
  svm::Endpoint local_{}, remote_{};
  svm::Ref bell_ref_ = 0;
  uint32_t bit_ = 0, end_ = 0;
  uint32_t slot_ = 0, serial_ = 0;
  TimeNs since_ = 0;     // when it was opened, or ended
  uint32_t end_at_ = 0;  // with has_end_: cursor of rx_ behind the last byte
  uint32_t older_ = 0;   // with has_older_: cursor of the session's own fifo
  bool is_ended_ = false, has_end_ = false, is_broken_ = false;
  bool has_older_ = false, is_read_ = false, is_written_ = false;
};

}  // namespace loom::vcl
