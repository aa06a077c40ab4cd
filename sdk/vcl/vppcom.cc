// libvppcom: the application, its workers and their sessions. Attributes are in vppcom_attr.cc,
// waiting in vppcom_wait.cc.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <hostloom/endpoint_settings.h>
#include <hostloom/transport.h>

#include "vcl/endpoint_tlvs.h"
#include "vcl/vppcom_app.h"

namespace loom::vcl {
namespace {

// Workers stay allocated for the life of the process: other threads may be inside their functions.
std::mutex app_mutex;
std::atomic<VppcomWorker*> worker_slots[kMaxVppcomWorkers];
bool app_exists = false;  // under app_mutex
Config app_config;
std::string app_name;
thread_local int thread_worker = -1;

int create_app(const char* name, Config config) {
  const std::lock_guard lock(app_mutex);
  if (app_exists) return VPPCOM_EEXIST;
  app_config = std::move(config);
  app_name = name && *name ? name : "vcl_app_" + std::to_string(getpid());
  auto w = std::make_unique<VppcomWorker>(app_config, app_name);
  if (const auto attached = w->core.attach(true); !attached) {
    std::fprintf(stderr, "vcl: %s\n", attached.error().message.c_str());
    return vppcom_error(-errno_of(static_cast<int32_t>(attached.error().code)));
  }
  worker_slots[0].store(w.release(), std::memory_order_release);
  app_exists = true;
  thread_worker = 0;
  return VPPCOM_OK;
}

}  // namespace

int VppcomWorker::insert(Object* o) {
  const std::lock_guard lock(mutex);
  uint32_t index = next;
  if (!free.empty()) {
    index = free.top();
    free.pop();
  } else {
    ++next;
  }
  if (!table.set(static_cast<int>(index), o)) {
    next = std::min(next, ObjectTable::kSize);
    return -ENOMEM;
  }
  if (o->kind() == Object::Kind::kSession) static_cast<Session*>(o)->set_index(index);
  return static_cast<int>(index);
}

Held<Object> VppcomWorker::remove(uint32_t index) {
  const uintptr_t was = table.take(static_cast<int>(index));
  if (was <= ObjectTable::kLastMark) return {};
  const std::lock_guard lock(mutex);
  free.push(index);
  return Held<Object>(reinterpret_cast<Object*>(was));
}

void VppcomWorker::close_all() {
  for (int i = 0; i < table.end(); ++i) remove(static_cast<uint32_t>(i));
}

VppcomWorker* vppcom_worker(uint32_t index) noexcept {
  if (index >= kMaxVppcomWorkers) return nullptr;
  VppcomWorker* w = worker_slots[index].load(std::memory_order_acquire);
  return w && w->registered ? w : nullptr;
}

uint32_t vppcom_current() noexcept {
  return thread_worker < 0 ? 0 : static_cast<uint32_t>(thread_worker);
}

Held<Object> vppcom_object(uint32_t handle) {
  VppcomWorker* w = vppcom_worker(vppcom_worker_of(handle));
  return w ? w->table.get(static_cast<int>(vppcom_index_of(handle))) : Held<Object>{};
}

Held<Session> vppcom_session(uint32_t handle) {
  Held<Object> o = vppcom_object(handle);
  if (!o || o->kind() != Object::Kind::kSession) return {};
  return Held<Session>(static_cast<Session*>(o.release()));
}

int vppcom_error(ssize_t result) noexcept {
  switch (result) {
    case -EPROTONOSUPPORT:
      return VPPCOM_ENOTSUP;
    case -EISCONN:
      return VPPCOM_OK;
    default:
      return static_cast<int>(result);
  }
}

svm::Endpoint to_endpoint(const vppcom_endpt_t& ep) noexcept {
  svm::Endpoint e{};
  e.is_ip4 = ep.is_ip4 != 0;
  e.port = ep.port;
  if (ep.ip) std::memcpy(e.ip, ep.ip, e.is_ip4 ? 4 : 16);
  return e;
}

void from_endpoint(const svm::Endpoint& e, vppcom_endpt_t& ep) noexcept {
  ep.is_ip4 = e.is_ip4;
  ep.port = e.port;
  if (ep.ip) std::memcpy(ep.ip, e.ip, e.is_ip4 ? 4 : 16);
}

}  // namespace loom::vcl

using namespace loom::vcl;
namespace svm = loom::svm;

// --- Application and workers

int vppcom_app_create(const char* name) {
  auto config = load_config();
  if (!config) {
    std::fprintf(stderr, "vcl: %s\n", config.error().message.c_str());
    return VPPCOM_EINVAL;
  }
  return create_app(name, std::move(*config));
}

int vppcom_app_create_with_config(vppcom_cfg_t* cfg) {
  if (!cfg) return VPPCOM_EINVAL;
  Config c;
  const auto set = [](auto& field, auto value) {
    if (value != 0) field = static_cast<std::remove_reference_t<decltype(field)>>(value);
  };
  set(c.heap_size, cfg->heapsize);
  set(c.max_workers, std::min(cfg->max_workers, kMaxVppcomWorkers));
  set(c.segment_size, cfg->segment_size);
  set(c.add_segment_size, cfg->add_segment_size);
  set(c.rx_fifo_size, cfg->rx_fifo_size);
  set(c.tx_fifo_size, cfg->tx_fifo_size);
  set(c.event_queue_size, cfg->event_queue_size);
  set(c.app_timeout, cfg->app_timeout);
  set(c.session_timeout, cfg->session_timeout);
  c.namespace_secret = cfg->namespace_secret;
  if (cfg->namespace_id) c.namespace_id = cfg->namespace_id;
  if (cfg->vpp_app_socket_api) c.app_socket = cfg->vpp_app_socket_api;
  c.debug = cfg->debug_level;
  return create_app(cfg->app_name, std::move(c));
}

void vppcom_app_destroy(void) {
  const std::lock_guard lock(app_mutex);
  for (auto& slot : worker_slots) {
    VppcomWorker* w = slot.load();
    if (!w || !w->registered) continue;
    w->close_all();
    w->core.leave();
    w->registered = false;
    slot.store(nullptr);  // left allocated; the next application may have another configuration
  }
  app_exists = false;
  thread_worker = -1;
}

int vppcom_worker_register(void) {
  const std::lock_guard lock(app_mutex);
  if (!app_exists || thread_worker >= 0) return VPPCOM_EEXIST;
  for (uint32_t i = 0; i < std::min(app_config.max_workers, kMaxVppcomWorkers); ++i) {
    if (vppcom_worker(i)) continue;
    std::shared_ptr<Attachment> first;
    {
      AppWorker& core = worker_slots[0].load()->core;
      const std::lock_guard core_lock(core.mutex());
      first = core.attachment_locked();
    }
    if (!first) return VPPCOM_ECONNREFUSED;
    auto ends = first->add_worker();
    if (!ends) return VPPCOM_EEXIST;
    VppcomWorker* w = worker_slots[i].load();  // one that was unregistered
    if (!w) w = new VppcomWorker(app_config, app_name);
    if (!w->core.attach(std::move(*ends))) return VPPCOM_ENOMEM;
    w->registered = true;
    worker_slots[i].store(w, std::memory_order_release);
    thread_worker = static_cast<int>(i);
    return VPPCOM_OK;
  }
  return VPPCOM_EEXIST;
}

void vppcom_worker_unregister(void) {
  const std::lock_guard lock(app_mutex);
  VppcomWorker* w = thread_worker < 0 ? nullptr : vppcom_worker(vppcom_current());
  if (!w) return;
  w->close_all();
  w->core.leave();
  w->registered = false;
  thread_worker = -1;
}

int vppcom_worker_index(void) { return thread_worker; }

void vppcom_worker_index_set(int index) {
  if (index < 0 || vppcom_worker(static_cast<uint32_t>(index))) thread_worker = index;
}

int vppcom_worker_mqs_epfd(void) {
  VppcomWorker* w = vppcom_worker(vppcom_current());
  return w ? std::max(-1, w->core.events_fd()) : -1;
}

int vppcom_mq_epoll_fd(void) { return vppcom_worker_mqs_epfd(); }

int vppcom_worker_is_detached(void) {
  VppcomWorker* w = vppcom_worker(vppcom_current());
  if (!w) return 1;
  w->core.check_daemon();
  return w->core.attached() ? 0 : 1;
}

namespace {

std::shared_ptr<Attachment> current_attachment() {
  VppcomWorker* w = vppcom_worker(vppcom_current());
  if (!w || !w->core.attach()) return nullptr;
  const std::lock_guard lock(w->core.mutex());
  return w->core.attachment_locked();
}

}  // namespace

int vppcom_add_cert_key_pair(vppcom_cert_key_pair_t* pair) {
  if (!pair || !pair->cert || !pair->key || pair->cert_len == 0 || pair->key_len == 0 ||
      pair->cert_len > loom::kMostSettingsBytes || pair->key_len > loom::kMostSettingsBytes)
    return VPPCOM_EINVAL;
  const auto attachment = current_attachment();
  if (!attachment) return VPPCOM_ECONNREFUSED;
  loom::SecretString bytes;
  add_setting(bytes, loom::Setting::kCertificate, {pair->cert, pair->cert_len});
  add_setting(bytes, loom::Setting::kPrivateKey, {pair->key, pair->key_len});
  const auto number = attachment->add_settings(bytes, false);
  if (!number) return vppcom_error(-errno_of(static_cast<int32_t>(number.error().code)));
  return static_cast<int>(*number);
}

int vppcom_del_cert_key_pair(uint32_t index) {
  const auto attachment = current_attachment();
  if (!attachment) return VPPCOM_ECONNREFUSED;
  const auto done = attachment->del_settings(index);
  if (done) return VPPCOM_OK;
  if (done.error().code == loom::Status::kNotFound) return VPPCOM_ENOENT;
  return vppcom_error(-errno_of(static_cast<int32_t>(done.error().code)));
}

namespace {
constexpr const char* kProtoNames[] = {"TCP", "UDP", "NONE", "TLS", "QUIC", "DTLS", "SRTP", "HTTP"};
}

int vppcom_unformat_proto(uint8_t* proto, char* text) {
  if (!proto || !text) return VPPCOM_EINVAL;
  for (uint8_t i = 0; i < std::size(kProtoNames); ++i) {
    if (strcasecmp(text, kProtoNames[i]) != 0) continue;
    *proto = i;
    return VPPCOM_OK;
  }
  return VPPCOM_EINVAL;
}

const char* vppcom_proto_str(vppcom_proto_t proto) {
  const auto i = static_cast<size_t>(proto);
  return i < std::size(kProtoNames) ? kProtoNames[i] : "UNKNOWN";
}

const char* vppcom_retval_str(int retval) {
  if (retval == VPPCOM_OK) return "VPPCOM_OK";
  const char* name = retval < 0 ? strerrorname_np(-retval) : nullptr;
  return name ? name : "UNKNOWN_STATE";
}

// --- Sessions

namespace {

// A C function's body: EBADFD for a handle that is not a session, errors as documented.
template <class F>
int with_session(uint32_t handle, F&& f) {
  const Held<Session> s = vppcom_session(handle);
  return s ? vppcom_error(f(*s)) : VPPCOM_EBADFD;
}

int insert_session(uint32_t worker, Session* s) {
  VppcomWorker* w = vppcom_worker(worker);
  const int index = w ? w->insert(s) : -EBADFD;
  if (index < 0) {
    s->unref();
    return VPPCOM_ENOMEM;
  }
  return static_cast<int>(make_vppcom_handle(worker, static_cast<uint32_t>(index)));
}

// Numbers that vppcom.h does not name are those of transports from plugins: streams too.
bool has_connections(uint8_t proto) {
  return proto == VPPCOM_PROTO_TCP || proto == VPPCOM_PROTO_TLS || proto == VPPCOM_PROTO_DTLS ||
         proto >= loom::kFirstPrivateProto;
}

// A session of datagrams that has not been bound yet gets an address when it first sends.
ssize_t open_to_send(Session& s) { return s.ever_connected() ? 0 : s.open_datagrams(nullptr); }

}  // namespace

int vppcom_session_create(uint8_t proto, uint8_t is_nonblocking) {
  const uint32_t worker = vppcom_current();
  VppcomWorker* w = vppcom_worker(worker);
  if (!w) return VPPCOM_EINVAL;
  return insert_session(worker, w->core.new_session(proto, true, is_nonblocking != 0));
}

int vppcom_session_bind(uint32_t handle, vppcom_endpt_t* ep) {
  if (!ep || !ep->ip) return VPPCOM_EINVAL;
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (!has_connections(s.proto()) && !s.is_connectionless()) return VPPCOM_ENOTSUP;
    s.socket_is_ip4 = ep->is_ip4;
    const int e = s.bind(to_endpoint(*ep));
    return e == 0 && s.is_connectionless() ? s.open_datagrams(nullptr) : e;
  });
}

int vppcom_session_listen(uint32_t handle, uint32_t q_len) {
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (s.is_connectionless()) return s.open_datagrams(nullptr);  // bind has done it
    return has_connections(s.proto()) ? s.listen(q_len) : VPPCOM_ENOTSUP;
  });
}

int vppcom_session_accept(uint32_t handle, vppcom_endpt_t* ep, uint32_t flags) {
  Session* child = nullptr;
  const int e = with_session(handle, [&](Session& s) -> ssize_t {
    if (s.state() != Session::State::kListening)
      return s.state() == Session::State::kFailed ? -ECONNABORTED : -EBADFD;
    return s.accept(child, flags & O_NONBLOCK);
  });
  if (e != VPPCOM_OK) return e;
  if (ep) from_endpoint(child->remote(), *ep);
  return insert_session(vppcom_worker_of(handle), child);
}

int vppcom_session_connect(uint32_t handle, vppcom_endpt_t* ep) {
  if (!ep || !ep->ip) return VPPCOM_EINVAL;
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (!has_connections(s.proto()) && !s.is_connectionless()) return VPPCOM_ENOTSUP;
    return s.connect(to_endpoint(*ep));
  });
}

int vppcom_session_stream_connect(uint32_t handle, uint32_t parent) {
  return vppcom_session(handle) && vppcom_session(parent) ? VPPCOM_ENOTSUP : VPPCOM_EBADFD;
}

int vppcom_session_read(uint32_t handle, void* buf, size_t n) {
  return with_session(handle, [&](Session& s) { return s.receive(buf, n, 0); });
}

int vppcom_session_write(uint32_t handle, void* buf, size_t n) {
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (!s.ever_connected() && s.state() == Session::State::kIdle) return -ENOTCONN;
    return s.send(buf, n, 0);
  });
}

// Every write is announced to the stack at once, and its last segment carries PSH.
int vppcom_session_write_msg(uint32_t handle, void* buf, size_t n) {
  return vppcom_session_write(handle, buf, n);
}

int vppcom_session_recvfrom(uint32_t handle, void* buf, uint32_t len, int flags,
                            vppcom_endpt_t* ep) {
  if (flags != 0 && flags != MSG_PEEK) return VPPCOM_EAFNOSUPPORT;
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (s.is_connectionless()) {
      if (ep && !has_room_for_tlvs(s, *ep)) return -EINVAL;
      const iovec to{buf, len};
      DatagramIn in;
      const ssize_t n = s.receive_datagram({&to, 1}, flags, &in);
      if (ep && n >= 0) {
        from_endpoint(in.from(), *ep);
        give_tlvs(s, in, *ep);
      }
      return n;
    }
    const ssize_t n = s.receive(buf, len, flags);
    if (ep && n >= 0) from_endpoint(s.remote(), *ep);
    return n;
  });
}

int vppcom_session_sendto(uint32_t handle, void* buf, uint32_t len, int, vppcom_endpt_t* ep) {
  if (!ep) return vppcom_session_write(handle, buf, len);
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (!s.is_connectionless() || !ep->ip) return -EINVAL;
    DatagramOut out;
    svm::Endpoint source;
    if (const int e = take_tlvs(*ep, out, source); e != 0) return e;
    if (s.state() == Session::State::kIdle) s.socket_is_ip4 = ep->is_ip4;
    if (const ssize_t e = open_to_send(s); e != 0) return e;
    const svm::Endpoint to = to_endpoint(*ep);
    const iovec from{buf, len};
    out.to = &to;
    return s.send_datagram({&from, 1}, 0, out);
  });
}

int vppcom_session_read_segments(uint32_t handle, vppcom_data_segment_t* ds, uint32_t n,
                                 uint32_t max_bytes) {
  if (!ds || n == 0) return VPPCOM_EINVAL;
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (s.is_datagram()) return VPPCOM_ENOTSUP;
    svm::ByteView views[16];
    uint32_t filled = 0;
    const ssize_t bytes =
        s.read_views({views, std::min<size_t>(n, std::size(views))}, max_bytes, filled);
    for (uint32_t i = 0; i < n; ++i) ds[i] = {};
    for (uint32_t i = 0; bytes > 0 && i < filled; ++i) {
      auto* data = const_cast<std::byte*>(views[i].data());
      ds[i] = {reinterpret_cast<unsigned char*>(data), static_cast<uint32_t>(views[i].size())};
    }
    return bytes;
  });
}

void vppcom_session_free_segments(uint32_t handle, uint32_t n_bytes) {
  if (const Held<Session> s = vppcom_session(handle); s && !s->is_datagram()) s->release(n_bytes);
}

int vppcom_session_write_segments(uint32_t handle, vppcom_data_segment_t* ds, uint32_t n) {
  if (!ds || n == 0 || n > 64) return VPPCOM_EINVAL;
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (!s.ever_connected() && s.state() == Session::State::kIdle) return -ENOTCONN;
    iovec parts[64];
    for (uint32_t i = 0; i < n; ++i) parts[i] = {ds[i].data, ds[i].len};
    return s.is_datagram() ? s.send_datagram({parts, n}, 0, {}) : s.send_all_or_nothing({parts, n});
  });
}

int vppcom_session_shutdown(uint32_t handle, int how) {
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return VPPCOM_EINVAL;
  return with_session(
      handle, [&](Session& s) -> ssize_t { return s.is_listener() ? -EBADFD : s.shutdown(how); });
}

int vppcom_session_close(uint32_t handle) {
  VppcomWorker* w = vppcom_worker(vppcom_worker_of(handle));
  return w && w->remove(vppcom_index_of(handle)) ? VPPCOM_OK : VPPCOM_EBADFD;
}

int vppcom_session_terminate(uint32_t handle) {
  if (const Held<Session> s = vppcom_session(handle)) s->abort_on_close();
  return vppcom_session_close(handle);
}

int vppcom_session_index(vcl_session_handle_t handle) {
  return static_cast<int>(vppcom_index_of(handle));
}
int vppcom_session_worker(vcl_session_handle_t handle) {
  return static_cast<int>(vppcom_worker_of(handle));
}
int vppcom_session_is_stream(uint32_t) { return 0; }
int vppcom_session_is_connectable_listener(uint32_t) { return 0; }

int vppcom_session_listener(uint32_t handle) {
  return with_session(handle, [&](Session& s) -> ssize_t {
    if (s.listener_index() == ~0u) return -EBADFD;
    return static_cast<int>(make_vppcom_handle(vppcom_worker_of(handle), s.listener_index()));
  });
}

int vppcom_session_n_accepted(uint32_t handle) {
  return with_session(handle, [](Session& s) { return static_cast<ssize_t>(s.n_accepted()); });
}

int vppcom_session_get_error(uint32_t handle) {
  return with_session(handle, [](Session& s) { return -static_cast<ssize_t>(s.take_error()); });
}
