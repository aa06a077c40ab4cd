#include "reload.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <new>
#include <utility>

#include "dtls.h"
#include "tls.h"

namespace loom::tls {

namespace {

// Short enough to need none itself.
Error no_memory() noexcept { return error(Status::kNoMemory, "no memory"); }

// One that has no memory to listen keeps the answer from nobody else.
void tell(const std::vector<Reload::Done>& all, const Result<void>& outcome) noexcept {
  for (const auto& done : all) try {
      done(outcome);
    } catch (const std::bad_alloc&) {}
}

}  // namespace

void Reload::ask(Done done) noexcept {
  try {
    auto attempt = attempt_ ? nullptr : std::make_unique<Attempt>(shared().config);
    (attempt_ ? later_ : waiting_).push_back(std::move(done));  // moved only when there is room
    if (attempt) begin(std::move(attempt));
    return;
  } catch (const std::bad_alloc&) {}
  try {
    done(no_memory());
  } catch (const std::bad_alloc&) {}
}

void Reload::begin(std::unique_ptr<Attempt> attempt) noexcept {
  attempt_ = std::move(attempt);
  if (watch_ != 0) return;
  if (turns_ < 0) turns_ = ::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
  if (turns_ >= 0) try {
      watch_ = shared().host->watch_fd(
          turns_, [](void* self) { static_cast<Reload*>(self)->turn(); }, this);
    } catch (const std::bad_alloc&) {}
  // Without a descriptor there are no turns: better a long one than none.
  while (watch_ == 0 && (attempt_ || free_some())) turn();
}

Result<void> Reload::now() noexcept {
  while (attempt_) turn();
  Result<void> outcome = no_memory();  // until it is told otherwise
  ask([&outcome](const Result<void>& r) { outcome = r; });
  while (attempt_) turn();
  while (free_some()) {}
  return outcome;
}

void Reload::stop() noexcept {
  if (watch_ != 0) shared().host->unwatch_fd(std::exchange(watch_, 0));
  if (turns_ >= 0) ::close(std::exchange(turns_, -1));
  throw_away();
  waiting_.clear();
  later_.clear();
  while (free_some()) {}
}

void Reload::turn() noexcept {
  if (!attempt_) {
    if (!free_some() && watch_ != 0) shared().host->unwatch_fd(std::exchange(watch_, 0));
    return;
  }
  if (const auto done = try_step(); !done)
    finish(done.error());
  else if (*done)
    finish({});
}

Result<bool> Reload::try_step() noexcept {
  try {
    const auto done = step(*attempt_);
    if (done && *done) take(*attempt_);
    return done;
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
}

Result<bool> Reload::step(Attempt& a) {
  Shared& s = shared();
  if (!a.outcome) return a.outcome.error();
  if (!a.store) {
    const auto done = a.reader.step();
    if (!done) return done.error();
    if (*done) a.store = a.reader.take();
    return false;
  }
  if (!a.clients.usual) {
    if (auto r = make_clients(a); !r) return r.error();
    a.numbers = s.wishes.numbers();  // those that are given from now on follow at once
    a.wishes = std::make_unique<ClientSettingsTable>();
    return false;
  }
  if (!a.numbers.empty()) {
    const uint32_t number = a.numbers.back();
    if (s.wishes.has(number)) a.wishes->renew(*s.host, number, a.store.get(), s.wishes);
    a.numbers.pop_back();
    return false;
  }
  if (const auto l = s.listeners.lower_bound(a.next); l != s.listeners.end()) {
    a.next = l->first + 1;
    if (auto r = make_listener(a, l->first, l->second->settings); !r) return r.error();
    return false;
  }
  const auto& datagrams = dtls::shared().listeners;
  if (const auto l = datagrams.lower_bound(a.next_datagram); l != datagrams.end()) {
    a.next_datagram = l->first + 1;
    if (auto r = make_datagram_listener(a, l->first, l->second->settings); !r) return r.error();
    return false;
  }
  return true;
}

Result<void> Reload::make_clients(Attempt& a) {
  auto clients = tls::make_clients(shared().config, a.store.get());
  if (!clients) return clients.error();
  auto datagrams = tls::make_clients(dtls::datagram_config(), a.store.get());
  if (!datagrams) return datagrams.error();
  a.datagram_clients = std::move(*datagrams);
  a.clients = std::move(*clients);
  return {};
}

// The files of the configuration's pairs are read once: listeners show the same ones.
Result<Settings> Reload::with_own(Attempt& a, const Settings& settings) {
  const Config& config = shared().config;
  Settings all = settings;
  if (!all.pairs.empty() || config.certificates.empty()) return all;
  if (a.own.empty()) {
    auto pairs = read_own_pairs(config);
    if (!pairs) return pairs.error();
    a.own = std::move(*pairs);
  }
  all.pairs = a.own;
  return all;
}

Result<void> Reload::make_listener(Attempt& a, ConnId id, const Settings& settings) {
  const auto all = with_own(a, settings);
  if (!all) return all.error();
  auto context = make_server_context(shared().config, *all, a.store.get());
  if (!context) return context.error();
  std::swap(a.listeners[id], *context);
  return {};
}

Result<void> Reload::make_datagram_listener(Attempt& a, ConnId id, const Settings& settings) {
  const auto all = with_own(a, settings);
  if (!all) return all.error();
  auto context = dtls::make_context(*all, a.store.get());
  if (!context) return context.error();
  std::swap(a.datagram_listeners[id], *context);
  return {};
}

template <class F>
void Reload::change(F&& make) noexcept {
  if (!attempt_->outcome) return;
  try {
    attempt_->outcome = make(*attempt_);
  } catch (const std::bad_alloc&) {
    attempt_->outcome = no_memory();
  }
}

// The application's own call has been as long: this makes it twice that.
void Reload::settings_given(uint32_t number) noexcept {
  if (!attempt_ || !attempt_->wishes) return;
  change([&](Attempt& a) -> Result<void> {
    a.wishes->renew(*shared().host, number, a.store.get(), shared().wishes);
    return {};
  });
}

void Reload::settings_gone(uint32_t number) noexcept {
  if (attempt_ && attempt_->wishes) attempt_->wishes->gone(number);
}

void Reload::listener_changed(ConnId id) noexcept {
  if (!attempt_ || id >= attempt_->next) return;
  change([&](Attempt& a) { return make_listener(a, id, shared().listeners.at(id)->settings); });
}

void Reload::datagram_listener_changed(ConnId id) noexcept {
  if (!attempt_ || id >= attempt_->next_datagram) return;
  change([&](Attempt& a) {
    return make_datagram_listener(a, id, dtls::shared().listeners.at(id)->settings);
  });
}

// What may want memory is done before the first of it changes.
void Reload::take(Attempt& a) {
  Shared& s = shared();
  auto& datagrams = dtls::shared();
  std::vector<std::pair<Listener*, ServerContextPtr*>> changes;
  std::vector<std::pair<dtls::Listener*, ServerContextPtr*>> datagram_changes;
  for (auto& [id, context] : a.listeners)  // those that nobody has any more go as they are
    if (const auto l = s.listeners.find(id); l != s.listeners.end())
      changes.emplace_back(l->second.get(), &context);
  for (auto& [id, context] : a.datagram_listeners)
    if (const auto l = datagrams.listeners.find(id); l != datagrams.listeners.end())
      datagram_changes.emplace_back(l->second, &context);
  // Handshakes under way hold what they began with.
  s.host->with_barrier([&] {
    std::swap(s.store, a.store);
    std::swap(s.clients, a.clients);
    std::swap(datagrams.clients, a.datagram_clients);
    s.wishes.swap(*a.wishes);
    ++s.generation;
    for (auto& [l, context] : changes) {
      std::swap(l->context, *context);
      l->shown.store(l->context.get(), std::memory_order_release);
    }
    for (auto& [l, context] : datagram_changes) dtls::change(*l, *context);
  });
}

void Reload::throw_away() noexcept {
  if (!attempt_) return;
  attempt_->older = std::move(old_);
  old_ = std::move(attempt_);
}

void Reload::finish(const Result<void>& outcome) noexcept {
  throw_away();
  if (shared().lacks_threads) start_threads();
  const auto told = std::exchange(waiting_, std::exchange(later_, {}));
  if (!waiting_.empty()) try {
      begin(std::make_unique<Attempt>(shared().config));
    } catch (const std::bad_alloc&) {
      tell(std::exchange(waiting_, {}), no_memory());
    }
  tell(told, outcome);
}

// False: there is nothing.
bool Reload::free_some() noexcept {
  for (; old_; old_ = std::move(old_->older))
    if (old_->free_some()) return true;
  return false;
}

bool Reload::Attempt::free_some() noexcept {
  for (Contexts* const contexts : {&listeners, &datagram_listeners})
    if (!contexts->empty()) {
      retired().take(std::move(contexts->extract(contexts->begin()).mapped()));
      return true;
    }
  for (Clients* const all : {&clients, &datagram_clients}) {
    auto& named = all->of_profiles;
    std::shared_ptr<SSL_CTX> one = std::move(all->usual);
    if (!one && !named.empty()) one = std::move(named.extract(named.begin()).mapped());
    if (!one) continue;
    retired().take(std::move(one));
    return true;
  }
  return wishes && wishes->retire_some();
}

}  // namespace loom::tls
