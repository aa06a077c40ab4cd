// Memifs: sockets, who connects to them, and the links that come and go.
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "memifs.h"

namespace loom::memif {
namespace {

constexpr std::size_t kMostStrangers = 16;  // of one socket, that have not said whom they want
constexpr uint32_t kMostBackoff = 8;        // ticks
constexpr uint32_t kMostLogLines = 20;      // a second: peers may come and go as fast as they like
constexpr long kTickNs = 250'000'000;

}  // namespace

Result<uint32_t> Memifs::add_socket(uint32_t id, std::string file) {
  if (file.empty() || file[0] != '/')
    return error(Status::kInvalid, "socket file '" + file + "' is not an absolute path");
  if (id == kAnySocket)
    for (id = 1; sockets_.contains(id);) ++id;
  if (const auto s = sockets_.find(id); s != sockets_.end()) {
    if (s->second.file == file) return id;
    if (id != 0 || n_interfaces(0) != 0)
      return error(Status::kExists,
                   "memif socket " + std::to_string(id) + " is " + s->second.file + " already");
  }
  Socket& s = sockets_[id];
  s.file = std::move(file);
  s.memifs = this;
  s.id = id;
  return id;
}

Result<void> Memifs::remove_socket(uint32_t id) {
  const auto s = sockets_.find(id);
  if (s == sockets_.end())
    return error(Status::kNotFound, "there is no memif socket " + std::to_string(id));
  if (const uint32_t n = n_interfaces(id))
    return error(Status::kInUse, "memif socket " + std::to_string(id) + " has " +
                                     std::to_string(n) + " interfaces");
  if (id == 0) return error(Status::kInvalid, "memif socket 0 stays");
  sockets_.erase(s);
  return {};
}

uint32_t Memifs::n_interfaces(uint32_t socket_id) const {
  return static_cast<uint32_t>(std::count_if(
      devices_.begin(), devices_.end(), [&](const auto& d) { return d.first.first == socket_id; }));
}

Result<void> Memifs::start_listening(Socket& s) {
  if (s.listener) return {};
  auto fd = listen_at(s.file);
  if (!fd) return fd.error();
  s.listener = std::move(*fd);
  s.watch = host_.watch_fd(s.listener.get(), on_connection, &s);
  return {};
}

void Memifs::stop_listening(Socket& s) {
  if (!s.listener) return;
  host_.unwatch_fd(s.watch);
  s.listener = UniqueFd();
  ::unlink(s.file.c_str());
  // Nobody is there whom they could want.
  for (auto i = peers_.begin(); i != peers_.end();) {
    Peer& peer = **i++;
    if (!peer.device() && peer.socket_id() == s.id) lose(peer, "ID not found", /*tell=*/true);
  }
}

void Memifs::stop_listening_without_master(uint32_t socket_id) {
  const bool has_master = std::any_of(devices_.begin(), devices_.end(), [&](const auto& d) {
    return d.first.first == socket_id && d.second->config.is_master;
  });
  if (!has_master) stop_listening(sockets_.at(socket_id));
}

void Memifs::on_connection(void* socket) {
  const Socket& s = *static_cast<Socket*>(socket);
  Memifs& m = *s.memifs;
  Channel channel(
      UniqueFd(::accept4(s.listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  if (channel.fd() < 0) return;
  const auto strangers = std::count_if(m.peers_.begin(), m.peers_.end(), [&](const auto& p) {
    return !p->device() && p->socket_id() == s.id;
  });
  if (static_cast<std::size_t>(strangers) >= kMostStrangers)
    return channel.send_disconnect("Too many connections");
  auto& peer = m.peers_.emplace_back(std::make_unique<Peer>(m, s.id, std::move(channel)));
  if (!peer->begin()) m.lose(*peer, "the peer has gone", /*tell=*/false);
  m.update_timer();
}

Result<Device*> Memifs::claim(Peer& peer, const Init& init) {
  const auto it = devices_.find({peer.socket_id(), init.id});
  if (it == devices_.end() || !it->second->config.is_master)
    return error(Status::kNotFound, "ID not found");
  Device& d = *it->second;
  if (auto ok = check_init(d.config, init); !ok) {
    d.last_reason = ok.error().message;
    return ok.error();
  }
  if (!d.is_admin_up) return error(Status::kRefused, "interface is down");
  if (d.peer) return error(Status::kInUse, "Already connected");
  d.peer = &peer;
  return &d;
}

void Memifs::connect_to_master(Device& d) {
  auto fd = connect_to(sockets_.at(d.config.socket_id).file);
  if (!fd) {
    d.last_reason = fd.error().message;
    d.ticks_to_connect = d.backoff;
    d.backoff = std::min(2 * d.backoff, kMostBackoff);
    return;
  }
  auto& peer = peers_.emplace_back(std::make_unique<Peer>(*this, d, Channel(std::move(*fd))));
  d.peer = peer.get();
  (void)peer->begin();  // as slave it only listens
}

Result<void> Memifs::attach(Device& d, std::unique_ptr<Link> link) {
  for (std::size_t i = 0; i < link->rx.size(); ++i) {
    auto heard = d.queues[i % d.queues.size()]->ear.listen(link->rx[i]->event.get());
    if (heard) continue;
    while (i-- > 0) d.queues[i % d.queues.size()]->ear.forget(link->rx[i]->event.get());
    return heard;
  }
  d.owned_link = std::move(link);
  d.fault.store(Fault::kNone);
  d.link.store(d.owned_link.get(), std::memory_order_release);
  // Workers look for the first time when they are woken.
  for (const auto& q : d.queues) q->ear.shout();
  return {};
}

void Memifs::note_connected(Device& d, std::string name, std::string interface) {
  d.peer_name = std::move(name);
  d.peer_interface = std::move(interface);
  d.last_reason.clear();
  d.backoff = 1;
  ++d.n_connected;
  log(d, "connected to " + d.peer_name + " (" + d.peer_interface + ")");
  (void)host_.set_link(d.index, true);
}

// Workers let go of the link in their next round.
void Memifs::detach(Device& d) {
  if (!d.owned_link) return;
  d.link.store(nullptr, std::memory_order_release);
  (void)host_.set_link(d.index, false);  // an interface that is being removed has none
  host_.run_on_all_workers([](Worker&) {});
  for (std::size_t i = 0; i < d.owned_link->rx.size(); ++i)
    d.queues[i % d.queues.size()]->ear.forget(d.owned_link->rx[i]->event.get());
  d.owned_link.reset();
}

void Memifs::lose(Peer& peer, std::string_view reason, bool tell) {
  if (tell) peer.say_goodbye(reason);
  if (Device* d = peer.device()) {
    log(*d, (d->owned_link ? "disconnected: " : "not connected: ") + std::string(reason));
    d->last_reason = reason;
    d->peer = nullptr;
    detach(*d);
    if (!d->config.is_master) {
      d->ticks_to_connect = d->backoff;
      d->backoff = std::min(2 * d->backoff, kMostBackoff);
    }
  }
  peers_.remove_if([&](const auto& p) { return p.get() == &peer; });
  update_timer();
}

void Memifs::end_faulty_links() {
  for (const auto& [key, d] : devices_) {
    const Fault f = d->fault.load();
    if (f == Fault::kNone || !d->peer || !d->owned_link) continue;
    d->peer->say_goodbye(fault_reason(f));
    lose(*d->peer, fault_reason(f), /*tell=*/false);
  }
}

void Memifs::tick() {
  for (auto i = peers_.begin(); i != peers_.end();) {
    Peer& peer = **i++;
    if (!peer.tick()) lose(peer, "Handshake takes too long", /*tell=*/true);
  }
  for (const auto& [key, d] : devices_) {
    if (d->config.is_master || !d->is_admin_up || d->peer) continue;
    if (d->ticks_to_connect > 1)
      --d->ticks_to_connect;
    else
      connect_to_master(*d);
  }
  update_timer();
}

bool Memifs::needs_ticks() const {
  return std::any_of(peers_.begin(), peers_.end(),
                     [](const auto& p) { return !p->is_connected(); }) ||
         std::any_of(devices_.begin(), devices_.end(), [](const auto& d) {
           return !d.second->config.is_master && d.second->is_admin_up && !d.second->peer;
         });
}

void Memifs::update_timer() {
  const bool needs = needs_ticks();
  if (needs == is_ticking_) return;
  if (!timer_) {
    timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (!timer_) return;
    timer_watch_ = host_.watch_fd(
        timer_.get(),
        [](void* self) {
          auto& m = *static_cast<Memifs*>(self);
          uint64_t n;
          if (::read(m.timer_.get(), &n, sizeof n) == sizeof n) m.tick();
        },
        this);
  }
  itimerspec t{};
  if (needs) t.it_value.tv_nsec = t.it_interval.tv_nsec = kTickNs;
  if (::timerfd_settime(timer_.get(), 0, &t, nullptr) == 0) is_ticking_ = needs;
}

void Memifs::log(const Device& d, const std::string& what) {
  using namespace std::chrono;
  const auto now = duration_cast<seconds>(steady_clock::now().time_since_epoch()).count();
  if (now != log_second_) {
    log_second_ = now;
    logged_ = 0;
  }
  if (++logged_ <= kMostLogLines) host_.log(LogLevel::kInfo, "memif", d.name + " " + what);
}

}  // namespace loom::memif
