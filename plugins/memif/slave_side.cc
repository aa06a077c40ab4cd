#include "handshake.h"

namespace loom::memif {
namespace {

constexpr uint64_t kPage = 4096;

uint32_t stride_of(uint16_t buffer_size) {
  return static_cast<uint32_t>((buffer_size + kCacheLine - 1) / kCacheLine * kCacheLine);
}

uint64_t buffers_at(uint32_t n_rings, uint8_t log2_size) {
  return (n_rings * ring_bytes(log2_size) + kPage - 1) / kPage * kPage;
}

}  // namespace

uint64_t region_bytes(uint32_t n_rings, uint8_t log2_size, uint16_t buffer_size) {
  return buffers_at(n_rings, log2_size) + (uint64_t{n_rings} * stride_of(buffer_size) << log2_size);
}

Result<void> SlaveSide::make_rings(const LinkConfig& c, uint16_t n_s2m, uint16_t n_m2s,
                                   uint8_t log2_size) {
  const uint32_t n = n_s2m + n_m2s;
  auto made = Region::make(region_bytes(n, log2_size, c.buffer_size));
  if (!made) return made.error();
  link_->regions.push_back(std::move(*made));
  const Region& region = link_->regions[0];
  const auto place = [&](Ring& r, uint32_t i) {
    const uint64_t at = i * ring_bytes(log2_size);
    r.shared = reinterpret_cast<RingMemory*>(region.at(at, ring_bytes(log2_size)));
    r.shared->cookie = kCookie;
    r.mask = static_cast<uint16_t>((1u << log2_size) - 1);
    r.own.size = c.buffer_size;
    r.own.stride = stride_of(c.buffer_size);
    r.own.offset =
        static_cast<uint32_t>(buffers_at(n, log2_size) + (uint64_t{i} * r.own.stride << log2_size));
    r.own.base = region.at(r.own.offset, uint64_t{r.own.stride} << log2_size);
    LOOM_CHECK(r.own.base);
  };
  for (uint16_t i = 0; i < n_s2m; ++i) {
    UniqueFd theirs;
    auto bell = Bell::make(theirs);
    if (!bell) return bell.error();
    auto ring = std::make_unique<TxRing>(std::move(*bell));
    place(*ring, i);
    const int fd = theirs.get();
    say_ring(*ring, true, i, log2_size, fd, std::move(theirs));
    link_->tx.push_back(std::move(ring));
  }
  for (uint16_t i = 0; i < n_m2s; ++i) {
    auto event = make_eventfd();
    if (!event) return event.error();
    auto ring = std::make_unique<RxRing>();
    place(*ring, uint32_t{n_s2m} + i);
    ring->event = std::move(*event);
    ring->set_masked(true);
    for (uint32_t slot = 0; slot < ring->size(); ++slot)
      ring->write(static_cast<uint16_t>(slot), 0, c.buffer_size);
    say_ring(*ring, false, i, log2_size, ring->event.get(), UniqueFd());
    link_->rx.push_back(std::move(ring));
  }
  link_->offer_buffers();
  return {};
}

void SlaveSide::say_ring(const Ring& r, bool is_s2m, uint16_t index, uint8_t log2_size, int fd,
                         UniqueFd owned) {
  Message m(MessageType::kAddRing);
  m.add_ring.flags = is_s2m ? kAddRingS2m : 0;
  m.add_ring.index = index;
  m.add_ring.offset = static_cast<uint32_t>(reinterpret_cast<const std::byte*>(r.shared) -
                                            link_->regions[0].base());
  m.add_ring.log2_ring_size = log2_size;
  messages_.push_back({m, fd, std::move(owned)});
}

Result<SlaveSide> SlaveSide::answer(const LinkConfig& c, const Hello& h, std::string_view our_name,
                                    std::string_view interface_name) {
  if (h.min_version > kVersion || h.max_version < kVersion)
    return error(Status::kUnsupported, "Incompatible version");
  SlaveSide s;
  s.link_ = std::make_unique<Link>();
  s.link_->is_ethernet = c.mode == Mode::kEthernet;
  Message init(MessageType::kInit);
  init.init.version = kVersion;
  init.init.id = c.id;
  init.init.mode = static_cast<uint8_t>(c.mode);
  std::memcpy(init.init.secret, c.secret.data(), std::min(c.secret.size(), kSecretSize));
  put_text(init.init.name, our_name);
  s.messages_.push_back({init, -1, UniqueFd()});

  const auto at_most = [](uint16_t ours, uint16_t largest_index) {
    return static_cast<uint16_t>(std::min<uint32_t>(ours, largest_index + 1u));
  };
  Message region(MessageType::kAddRegion);
  s.messages_.push_back({region, -1, UniqueFd()});
  if (auto r = s.make_rings(c, at_most(c.n_tx_queues, h.max_s2m_ring),
                            at_most(c.n_rx_queues, h.max_m2s_ring),
                            std::min(c.log2_ring_size, h.max_log2_ring_size));
      !r)
    return r.error();
  s.messages_[1].message.add_region.size = s.link_->regions[0].size();
  s.messages_[1].fd = s.link_->regions[0].fd();

  Message connect(MessageType::kConnect);
  put_text(connect.connect.interface_name, interface_name);
  s.messages_.push_back({connect, -1, UniqueFd()});
  return s;
}

Result<void> SlaveSide::send_next(const Channel& channel) {
  if (messages_.empty()) return error(Status::kMalformed, "Unexpected ACK");
  const Outgoing& next = messages_.front();
  if (!channel.send(next.message, next.fd)) return error(Status::kIo, "Peer does not read");
  messages_.pop_front();
  return {};
}

Result<std::unique_ptr<Link>> SlaveSide::connect() {
  if (!messages_.empty()) return error(Status::kMalformed, "Unexpected CONNECTED");
  link_->offer_buffers();
  return std::move(link_);
}

}  // namespace loom::memif
