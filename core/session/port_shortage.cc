#include "session/port_shortage.h"

#include <algorithm>
#include <mutex>

namespace loom::session {

uint32_t PortShortage::find(uint64_t destination, TimeNs now) const noexcept {
  for (uint32_t i = 0; i < kMostDestinations; ++i)
    if (destinations_[i] == destination && now < entries_[i].until) return i;
  return kMostDestinations;
}

void PortShortage::remember(Entry& e, TimeNs now) noexcept {
  e.until = now + kTrusted;
  until_.store(std::max(e.until, until_.load(std::memory_order_relaxed)),
               std::memory_order_relaxed);
}

void PortShortage::Entry::add(uint16_t port) noexcept {
  if (n_ports == kMostPorts)
    until = 0;
  else
    ports[(oldest + uint32_t{n_ports++}) % kMostPorts] = port;
}

uint64_t PortShortage::begin(uint64_t destination, uint8_t protocol, TimeNs now) noexcept {
  const std::scoped_lock hold(lock_);
  // Another worker looks, too: what it has noted counts for both.
  if (const uint32_t i = find(destination, now); i != kMostDestinations) return entries_[i].ticket;
  Entry& e = *std::ranges::min_element(entries_, {}, &Entry::until);
  destinations_[static_cast<std::size_t>(&e - entries_.data())] = destination;
  e.ticket = ++tickets_;
  e.is_sure = false;
  e.protocol = protocol;
  e.n_ports = 0;
  remember(e, now);
  return e.ticket;
}

void PortShortage::confirm(uint64_t destination, uint64_t ticket, TimeNs now) noexcept {
  const std::scoped_lock hold(lock_);
  const uint32_t i = find(destination, now);
  if (i == kMostDestinations || entries_[i].ticket != ticket) return;
  entries_[i].is_sure = true;
  remember(entries_[i], now);
}

PortShortage::Known PortShortage::take(uint64_t destination, uint16_t& port, TimeNs now) noexcept {
  const std::scoped_lock hold(lock_);
  const uint32_t i = find(destination, now);
  if (i == kMostDestinations) return Known::kNothing;
  Entry& e = entries_[i];
  if (e.n_ports == 0) return e.is_sure ? Known::kNoPort : Known::kNothing;
  port = e.ports[e.oldest];
  e.oldest = static_cast<uint8_t>((e.oldest + 1u) % kMostPorts);
  --e.n_ports;
  return Known::kPort;
}

void PortShortage::freed(uint64_t destination, uint16_t port, TimeNs now) noexcept {
  const std::scoped_lock hold(lock_);
  const uint32_t i = find(destination, now);
  if (i != kMostDestinations) entries_[i].add(port);
}

void PortShortage::freed_for_all(uint8_t protocol, uint16_t port, TimeNs now) noexcept {
  const std::scoped_lock hold(lock_);
  for (Entry& e : entries_)
    if (e.protocol == protocol && now < e.until) e.add(port);
}

}  // namespace loom::session
