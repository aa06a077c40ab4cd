#include "client_settings.h"

#include <utility>
#include <vector>

#include "trust.h"

namespace loom::tls {

Result<ClientSettings> make_client_settings(const Settings& s, X509_STORE* host) {
  ClientSettings c;
  c.server_name = s.server_name;
  c.address = IpAddress::parse(s.server_name);
  c.alpn = s.alpn;
  c.verify = s.verify;
  c.profile = s.profile;
  c.digest = s.digest;
  if (!s.trust.empty()) {
    auto store = store_of(s.trust, host);
    if (!store) return store.error();
    c.trust = std::move(*store);
  }
  if (!s.pairs.empty()) {
    auto own = shared_credentials(s.pairs[0]);
    if (!own) return own.error();
    c.own = std::move(*own);
  }
  return c;
}

ClientSettingsTable::Entry ClientSettingsTable::make(Host& h, uint32_t number, X509_STORE* host) {
  const auto settings = settings_of(h, number);
  if (!settings) return {settings.error().code, nullptr};
  if (const auto kept = kept_.find(settings->digest); kept != kept_.end())
    return {Status::kOk, kept->second};
  auto made = make_client_settings(*settings, host);
  if (!made) return {made.error().code, nullptr};
  const bool may_keep = !made->own && !made->digest.empty();
  const auto wanted = std::make_shared<const ClientSettings>(std::move(*made));
  if (may_keep) {
    order_.push_back(wanted->digest);
    try {
      kept_[wanted->digest] = wanted;
    } catch (const std::bad_alloc&) {
      order_.pop_back();
      throw;
    }
    if (order_.size() > kMostKept) {
      retired().take(std::move(kept_.extract(order_.front()).mapped()));
      order_.pop_front();
    }
  }
  return {Status::kOk, wanted};
}

void ClientSettingsTable::given(Host& h, uint32_t number, X509_STORE* host) {
  Entry e = make(h, number, host);
  {
    const std::lock_guard lock(mutex_);
    std::swap(entries_[number], e);
  }
  retire(std::move(e.wanted));
}

void ClientSettingsTable::renew(Host& h, uint32_t number, X509_STORE* host,
                                const ClientSettingsTable& before) {
  given(h, number, host);
  Ptr was;
  const std::lock_guard lock(mutex_);
  if (Entry& e = entries_[number];
      e.status != Status::kOk && before.find(number, was) == Status::kOk)
    e = {Status::kOk, was};
}

std::vector<uint32_t> ClientSettingsTable::numbers() const {
  const std::lock_guard lock(mutex_);
  std::vector<uint32_t> all;
  all.reserve(entries_.size());
  for (const auto& [number, e] : entries_) all.push_back(number);
  return all;
}

bool ClientSettingsTable::has(uint32_t number) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(number);
}

void ClientSettingsTable::swap(ClientSettingsTable& o) noexcept {
  const std::scoped_lock lock(mutex_, o.mutex_);
  entries_.swap(o.entries_);
  kept_.swap(o.kept_);
  order_.swap(o.order_);
}

void ClientSettingsTable::gone(uint32_t number) noexcept {
  std::unique_lock lock(mutex_);
  auto node = entries_.extract(number);
  lock.unlock();
  if (node) retire(std::move(node.mapped().wanted));
}

// Others that want the same may still come for what is kept.
void ClientSettingsTable::retire(Ptr gone) noexcept {
  if (!gone) return;
  const auto kept = kept_.find(gone->digest);
  if (kept == kept_.end() || kept->second != gone) retired().take(std::move(gone));
}

bool ClientSettingsTable::retire_some() noexcept {
  if (const auto e = entries_.begin(); e != entries_.end()) {
    retired().take(std::move(e->second.wanted));
    entries_.erase(e);
    return true;
  }
  order_.clear();
  const auto kept = kept_.begin();
  if (kept == kept_.end()) return false;
  retired().take(std::move(kept->second));
  kept_.erase(kept);
  return true;
}

void ClientSettingsTable::retire() noexcept {
  while (retire_some()) {}
}

Status ClientSettingsTable::find(uint32_t number, Ptr& out) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(number);
  if (found == entries_.end()) return Status::kNotFound;
  out = found->second.wanted;
  return found->second.status;
}

std::size_t ClientSettingsTable::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace loom::tls
