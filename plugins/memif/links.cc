// Memifs: sockets, who connects to them, and the links that come and go.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <hostloom/socket_file.h>

#include "memifs.h"

namespace loom::memif {
namespace {

constexpr uint32_t kMostBackoff = 8;    // ticks
constexpr uint32_t kMostLogLines = 20;  // a second: peers may come and go as fast as they like

}  // namespace

Result<uint32_t> Memifs::add_socket(uint32_t id, std::string file) {
  if (is_abstract(file) ? file.size() == 1 : !file.starts_with('/'))
    return error(Status::kInvalid,
                 "socket '" + file + "' is neither an absolute path nor @ and a name");
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
  watch(s);
  return {};
}

void Memifs::watch(Socket& s) { s.watch = host_.watch_fd(s.listener.get(), on_connection, &s); }

// Whoever waits at the door waits until the next tick; until then nobody looks, as the listener
// stays readable.
void Memifs::rest(Socket& s) {
  host_.unwatch_fd(std::exchange(s.watch, 0));
  ++s.n_rests;
  update_timer();
}

void Memifs::stop_listening(Socket& s) {
  if (!s.listener) return;
  if (s.watch) host_.unwatch_fd(std::exchange(s.watch, 0));
  s.listener = UniqueFd();
  // Its file may have been removed, and be another's.
  if (!is_abstract(s.file) && is_left_over_socket(s.file)) ::unlink(s.file.c_str());
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
  Socket& s = *static_cast<Socket*>(socket);
  Memifs& m = *s.memifs;
  if (s.door.is_shut()) return m.rest(s);
  Channel channel(
      UniqueFd(::accept4(s.listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
  if (channel.fd() < 0) {
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
    if (!std::exchange(s.is_short, true))
      m.log(LogLevel::kWarn, "socket " + std::to_string(s.id),
            std::string("cannot accept: ") + std::strerror(errno));
    return m.rest(s);
  }
  s.is_short = false;
  if (!s.door.lets_in(channel.peer_uid())) return channel.send_disconnect("Too many connections");
  m.update_timer();
  auto& peer =
      m.peers_.emplace_back(std::make_unique<Peer>(m, s.id, m.limits(s.id), std::move(channel)));
  if (!peer->begin()) return m.lose(*peer, "the peer has gone", /*tell=*/false);
  m.keep_strangers_few(s.id);
}

void Memifs::keep_strangers_few(uint32_t socket_id) {
  std::vector<Peer*> strangers;  // oldest first
  std::vector<uid_t> uids;
  for (const auto& p : peers_) {
    if (p->device() || p->socket_id() != socket_id) continue;
    strangers.push_back(p.get());
    uids.push_back(p->uid());
  }
  if (strangers.size() > Door::kMostStrangers)
    lose(*strangers[Door::who_goes(uids)], "Too many connections", /*tell=*/true);
}

// A slave is greeted before it says which interface it wants: the most that any has.
RingLimits Memifs::limits(uint32_t socket_id) const {
  RingLimits most{.n_s2m = 1, .n_m2s = 1, .log2_ring_size = 0};
  for (const auto& [key, d] : devices_) {
    const MemifConfig& c = d->config;
    if (key.first != socket_id || !c.is_master) continue;
    most.n_s2m = std::max(most.n_s2m, c.n_rx_queues);
    most.n_m2s = std::max(most.n_m2s, c.n_tx_queues);
    most.log2_ring_size = std::max(most.log2_ring_size, c.log2_ring_size);
  }
  return most;
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
    stop_hearing(d, *link, i);
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
  log(LogLevel::kInfo, d.name, "connected to " + d.peer_name + " (" + d.peer_interface + ")");
  (void)host_.set_link(d.index, true);
}

// Before the first `n_rings` of a link's descriptors are closed: a worker that has learned of one
// by its ear reads from it in the same round, whatever the number means by then. Workers that have
// loaded the link let go of it, too.
void Memifs::stop_hearing(Device& d, const Link& link, std::size_t n_rings) {
  for (std::size_t i = 0; i < n_rings; ++i)
    d.queues[i % d.queues.size()]->ear.forget(link.rx[i]->event.get());
  host_.run_on_all_workers([](Worker&) {});
}

void Memifs::detach(Device& d) {
  if (!d.owned_link) return;
  d.link.store(nullptr, std::memory_order_release);
  (void)host_.set_link(d.index, false);  // an interface that is being removed has none
  stop_hearing(d, *d.owned_link, d.owned_link->rx.size());
  d.owned_link.reset();
}

void Memifs::lose(Peer& peer, std::string_view reason, bool tell) {
  if (tell) peer.say_goodbye(reason);
  if (Device* d = peer.device()) {
    log(LogLevel::kInfo, d->name,
        (d->owned_link ? "disconnected: " : "not connected: ") + std::string(reason));
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
  for (auto& [id, s] : sockets_) {
    s.door.tick();
    if (s.listener && !s.watch) watch(s);
  }
  update_timer();
}

bool Memifs::needs_ticks() const {
  return std::any_of(peers_.begin(), peers_.end(),
                     [](const auto& p) { return !p->is_connected(); }) ||
         std::any_of(devices_.begin(), devices_.end(),
                     [](const auto& d) {
                       return !d.second->config.is_master && d.second->is_admin_up &&
                              !d.second->peer;
                     }) ||
         std::any_of(sockets_.begin(), sockets_.end(), [](const auto& s) {
           return s.second.door.n_let_in() != 0 || (s.second.listener && !s.second.watch);
         });
}

void Memifs::update_timer() { (void)timer_.set(needs_ticks()); }

void Memifs::log(LogLevel level, const std::string& who, const std::string& what) {
  using namespace std::chrono;
  const auto now = duration_cast<seconds>(steady_clock::now().time_since_epoch()).count();
  if (now != log_second_) {
    log_second_ = now;
    logged_ = 0;
  }
  if (++logged_ <= kMostLogLines) host_.log(level, "memif", who + " " + what);
}

}  // namespace loom::memif
