#include "vcl/datagram_links.h"

#include <algorithm>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/datagram_put.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);

bool is_size(uint32_t n) noexcept { return n - 1 < 1u << 30; }

size_t address_bytes(const svm::Endpoint& e) noexcept { return e.is_ip4 ? 4 : 16; }

}  // namespace

void copy_out(std::span<const iovec> v, size_t from, std::span<const svm::MutableByteView> to,
              size_t skip, size_t n) noexcept {
  size_t view = 0;
  for (const iovec& e : v) {
    if (n == 0) return;
    if (from >= e.iov_len) {
      from -= e.iov_len;
      continue;
    }
    const auto* p = static_cast<const std::byte*>(e.iov_base) + from;
    size_t left = std::min(e.iov_len - from, n);
    from = 0;
    n -= left;
    while (left != 0) {
      while (skip >= to[view].size()) skip -= to[view++].size();
      const size_t piece = std::min(left, to[view].size() - skip);
      std::memcpy(to[view].data() + skip, p, piece);
      p += piece;
      left -= piece;
      skip += piece;
    }
  }
}

std::unique_ptr<DatagramLink> DatagramLink::open(AppWorker& worker, Attachment& attachment,
                                                 Session& session, uint32_t slot,
                                                 const svm::DatagramLinkSlot& shared,
                                                 uint32_t word) {
  const svm::Ref block = shared.block, bell_ref = shared.bell;
  const uint32_t end = shared.end, bit = shared.bell_bit;
  const uint32_t rx_size = shared.rx_size, tx_size = shared.tx_size;
  if (end > 1 || !is_size(rx_size) || !is_size(tx_size)) return nullptr;
  auto pair = worker.cut_through_pair(attachment, svm::ref_segment(block));
  auto* s = pair ? pair->table().resolve_as<svm::CutThroughShared>(block) : nullptr;
  auto* bell = s ? pair->table().resolve_as<svm::BellShared>(bell_ref) : nullptr;
  if (!bell || !pair->enter(bell_ref, end, bit, session, worker.bells_fd())) return nullptr;
  std::unique_ptr<DatagramLink> l(new DatagramLink);
  l->rx_ = svm::AppFifoConsumer(s->fifos[1 - end], pair->table(), rx_size);
  l->tx_ = svm::AppFifoProducer(s->fifos[end], pair->arena(), tx_size);
  l->bell_ = bell;
  l->own_ = &s->ends[end];
  l->peer_ = &s->ends[1 - end];
  l->local_ = shared.local;
  l->remote_ = shared.remote;
  l->bell_ref_ = bell_ref;
  l->bit_ = bit;
  l->end_ = end;
  l->slot_ = slot;
  l->serial_ = svm::link_serial(word);
  l->since_ = sys::now();
  l->pair_ = std::move(pair);
  return l;
}

void DatagramLink::end() noexcept {
  if (!std::exchange(is_ended_, true)) {
    since_ = sys::now();
    own_->stopped.store(1, std::memory_order_release);
    if (tx_.should_notify()) (void)ring();  // it looks for that
  }
  find_end();
}

void DatagramLink::find_end() noexcept {
  if (!is_ended_ || has_end_) return;
  // Looked at before the tail: what it had written when it stopped is below.
  const bool has_stopped = peer_->stopped.load(std::memory_order_acquire) != 0;
  if (!has_stopped && sys::now() - since_ < patience) return;
  has_end_ = true;
  end_at_ = rx_.head() + rx_.refresh();
  if (rx_.violation()) (void)broken();
}

// --- Sending

bool DatagramLink::leads_to(const svm::Endpoint& to, const svm::Endpoint* source) const noexcept {
  if (is_ended_ || is_broken_ || to.port != remote_.port || to.is_ip4 != remote_.is_ip4 ||
      std::memcmp(to.ip, remote_.ip, address_bytes(to)) != 0)
    return false;
  return !source || std::memcmp(source->ip, local_.ip, address_bytes(local_)) == 0;
}

bool DatagramLink::may_be_written(svm::AppFifoProducer& own) noexcept {
  if (is_written_) [[likely]]
    return true;
  (void)own.refresh();
  return is_written_ = own.used() == 0 || sys::now() - since_ >= patience;
}

DatagramLink::Sent DatagramLink::send(const svm::DatagramHeader& h, std::span<const iovec> v,
                                      size_t from) noexcept {
  switch (put_datagram(tx_, h, v, from, [this] { return pair_->more_memory(); })) {
    case Put::kDone:
      return Sent::kYes;
    case Put::kFull:
    case Put::kNoMemory:
      return Sent::kDropped;
    case Put::kViolation:
      break;
  }
  (void)broken();
  return Sent::kBroken;
}

// --- Receiving

uint32_t DatagramLink::readable() noexcept {
  if (is_broken_) return 0;
  find_end();
  const uint32_t n = rx_.available();
  if (rx_.violation()) [[unlikely]]
    (void)broken();
  return has_end_ ? std::min(n, left()) : n;
}

bool DatagramLink::may_be_read(svm::AppFifoConsumer& own) noexcept {
  if (is_read_) [[likely]]
    return true;
  if (!std::exchange(has_older_, true)) older_ = own.head() + own.refresh();
  return is_read_ = static_cast<int32_t>(own.head() - older_) >= 0;
}

bool DatagramLink::next(svm::DatagramHeader& h) noexcept {
  const uint32_t ready = readable();
  if (ready == 0) return false;
  svm::DatagramHeader said;
  // Read once: the peer may write there meanwhile.
  if (ready < kHeader || rx_.peek(0, std::as_writable_bytes(std::span(&said, 1))) != kHeader ||
      said.length > kMaxDatagramBytes || said.length > ready - kHeader)
    return broken();
  h = {};
  h.length = said.length;
  h.flags = svm::kDatagramKnownFlags;
  h.is_ip4 = remote_.is_ip4;
  h.interface = kNoIndex;  // as what the transport brings from this host
  h.tos = said.tos;
  h.ttl = std::max<uint8_t>(said.ttl, 1);
  h.local_port = local_.port;
  h.remote_port = remote_.port;
  std::memcpy(h.local_ip, local_.ip, sizeof h.local_ip);
  std::memcpy(h.remote_ip, remote_.ip, sizeof h.remote_ip);
  return true;
}

bool DatagramLink::peek(const svm::DatagramHeader& h, std::span<const iovec> to,
                        uint32_t& n) noexcept {
  n = 0;
  for (const iovec& v : to) {
    const size_t len = std::min<size_t>(v.iov_len, h.length - n);
    if (rx_.peek(kHeader + n, {static_cast<std::byte*>(v.iov_base), len}) != len) return broken();
    n += static_cast<uint32_t>(len);
    if (n == h.length) break;
  }
  return true;
}

void DatagramLink::drop(const svm::DatagramHeader& h) noexcept { rx_.drop(kHeader + h.length); }

bool DatagramLink::arm() noexcept {
  find_end();
  if (has_end_ || is_broken_) return true;  // nothing will come
  const uint32_t seen = rx_.cached_available();
  if (rx_.arm(seen)) return true;
  // No link has an end of file or a reset, which would keep us awake.
  if (!rx_.violation() && rx_.cached_available() > seen) return false;
  (void)broken();
  return true;
}

}  // namespace loom::vcl
