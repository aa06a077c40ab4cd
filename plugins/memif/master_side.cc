#include "handshake.h"

namespace loom::memif {
namespace {

Error refused(const char* reason) { return error(Status::kRefused, reason); }

// In a time that does not depend on where they differ.
bool is_secret(const std::string& ours, const char (&theirs)[kSecretSize]) {
  char expected[kSecretSize] = {}, given[kSecretSize] = {};
  std::memcpy(expected, ours.data(), std::min(ours.size(), kSecretSize));
  std::memcpy(given, theirs, strnlen(theirs, kSecretSize));
  unsigned difference = 0;
  for (std::size_t i = 0; i < kSecretSize; ++i)
    difference |= static_cast<unsigned char>(expected[i]) ^ static_cast<unsigned char>(given[i]);
  return difference == 0;
}

}  // namespace

Message hello_message(std::string_view our_name, const RingLimits& limits) {
  Message m(MessageType::kHello);
  put_text(m.hello.name, our_name);
  m.hello.min_version = m.hello.max_version = kVersion;
  m.hello.max_region = kMaxRegions - 1;
  m.hello.max_s2m_ring = static_cast<uint16_t>(limits.n_s2m - 1);
  m.hello.max_m2s_ring = static_cast<uint16_t>(limits.n_m2s - 1);
  m.hello.max_log2_ring_size = limits.log2_ring_size;
  return m;
}

Result<void> check_init(const LinkConfig& c, const Init& i) {
  if (i.version != kVersion) return refused("Incompatible version");
  if (!c.secret.empty() && !is_secret(c.secret, i.secret)) return refused("Incorrect secret");
  if (i.mode != static_cast<uint8_t>(c.mode)) return refused("Mode mismatch");
  return {};
}

MasterSide::MasterSide(const LinkConfig& c, const RingLimits& limits) : limits_(limits) {
  link_->is_ethernet = c.mode == Mode::kEthernet;
}

Result<void> MasterSide::add_region(const AddRegion& a, UniqueFd fd) {
  if (!link_) return refused("Already connected");
  if (!fd) return refused("Missing region descriptor");
  if (a.index != link_->regions.size() || a.index >= kMaxRegions)
    return refused("Invalid region index");
  if (a.size > kMaxRegionBytes - bytes_) return refused("Regions are too large");
  auto region = Region::map(std::move(fd), a.size);
  if (!region) return region.error();
  bytes_ += a.size;
  link_->regions.push_back(std::move(*region));
  return {};
}

Result<RingMemory*> MasterSide::ring_at(const AddRing& a) const {
  if (a.log2_ring_size > limits_.log2_ring_size) return refused("Ring is too large");
  if (a.region >= link_->regions.size()) return refused("Ring in an unknown region");
  // Descriptors are read as two words.
  if (a.offset % sizeof(uint64_t) != 0) return refused("Ring is not aligned");
  std::byte* at = link_->regions[a.region].at(a.offset, ring_bytes(a.log2_ring_size));
  if (!at) return refused("Ring leads out of its region");
  return reinterpret_cast<RingMemory*>(at);
}

Result<void> MasterSide::add_ring(const AddRing& a, UniqueFd fd) {
  if (!link_) return refused("Already connected");
  if (!fd) return refused("Missing interrupt descriptor");
  const bool is_s2m = a.flags & kAddRingS2m;
  if (a.index != (is_s2m ? link_->rx.size() : link_->tx.size()) ||
      a.index >= (is_s2m ? limits_.n_s2m : limits_.n_m2s))
    return refused("Invalid ring index");
  const auto shared = ring_at(a);
  if (!shared) return shared.error();
  const auto mask = static_cast<uint16_t>((1u << a.log2_ring_size) - 1);
  if (is_s2m) {
    auto ring = std::make_unique<RxRing>();
    ring->shared = *shared;
    ring->mask = mask;
    ring->event = std::move(fd);
    link_->rx.push_back(std::move(ring));
    return {};
  }
  if (!Bell::can_be_over(fd.get())) return refused("Interrupt descriptor is no eventfd");
  to_ring_.push_back(std::move(fd));
  auto ring = std::make_unique<TxRing>(Bell());
  ring->shared = *shared;
  ring->mask = mask;
  link_->tx.push_back(std::move(ring));
  return {};
}

Result<std::unique_ptr<Link>> MasterSide::connect() {
  if (!link_) return refused("Already connected");
  if (link_->rx.empty() || link_->tx.empty()) return refused("No rings both ways");
  const auto begin = [](Ring& r) {
    if (__atomic_load_n(&r.shared->cookie, __ATOMIC_RELAXED) != kCookie) return false;
    r.publish(0);
    return true;
  };
  for (const auto& r : link_->rx)
    if (!begin(*r)) return refused("Wrong ring cookie");
  for (const auto& r : link_->tx)
    if (!begin(*r)) return refused("Wrong ring cookie");
  for (std::size_t i = 0; i < to_ring_.size(); ++i) {
    auto bell = Bell::over(std::move(to_ring_[i]));
    if (!bell) return bell.error();
    link_->tx[i]->bell = std::move(*bell);
  }
  for (const auto& r : link_->rx) r->set_masked(true);
  return std::move(link_);
}

}  // namespace loom::memif
