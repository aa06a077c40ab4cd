// Connections at the attach sockets that have not attached yet. Control thread.
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "session/attach.h"

namespace loom::session {

// One that has not attached yet.
struct Visitor {
  std::shared_ptr<Namespace> by;  // whose socket it came by
  UniqueFd fd;
  uint64_t watch = 0;
};

namespace {

// Who has not attached has said nothing yet, or is about to be refused; a newcomer takes the place
// of the one that has done so longest.
constexpr std::size_t kMostVisitors = 64;
constexpr double kRestSeconds = 1.0;

// Anybody may be refused as often as he likes.
void log_refusal(Impl& layer, const char* app, const std::string& why) {
  const TimeNs now = layer.engine.clock_now();
  if (now < layer.refusals.next) {
    ++layer.refusals.untold;
    return;
  }
  layer.refusals.next = now + kSecond;
  const uint64_t untold = std::exchange(layer.refusals.untold, 0);
  layer.log(LogLevel::kWarn,
            std::string("application '") + app + "' refused: " + why +
                (untold ? "; " + std::to_string(untold) + " more were refused before it" : ""));
}

void on_visitor(Impl& layer, const std::shared_ptr<Visitor>& v) {
  svm::AttachRequest request;
  const Received received = receive(v->fd.get(), request);
  switch (received) {
    case Received::kNothing:
      return;
    case Received::kEnd:
      layer.loop.unwatch_fd(v->watch);
      return;
    case Received::kRequest:
    case Received::kOtherVersion:
      break;
  }
  const auto keep = v;  // unwatching destroys the callback that holds it
  layer.loop.unwatch_fd(v->watch);
  Reply r;
  const auto refuse = [&](const Error& e) {
    r.fail(e.code, e.message);
    send_reply(keep->fd.get(), r);
    log_refusal(layer, request.app_name, e.message);
  };
  if (received == Received::kOtherVersion)  // what else it says nobody here can read
    return refuse(error(Status::kUnsupported, "this daemon speaks version " +
                                                  std::to_string(svm::kProtocolVersion) +
                                                  " of the attach protocol, the application " +
                                                  std::to_string(request.version)));
  if (request.op != svm::AttachOp::kAttach)
    return refuse(error(Status::kInvalid, "the first request must be attach"));
  const auto ns = admit(layer, *keep->by, request, keep->fd.get());
  if (!ns) return refuse(ns.error());
  if (layer.stopped)  // it was accepted before
    return refuse(error(Status::kRefused, "the session layer is disabled"));
  if (layer.attach_off) return refuse(error(Status::kRefused, "the attach socket is disabled"));
  if (layer.drain_state.load(std::memory_order_relaxed) != DrainState::kOff) {
    ++layer.drain.refused_apps;
    return refuse(error(Status::kRefused, "the daemon drains: it takes no new applications"));
  }
  UniqueFd socket(::fcntl(keep->fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!socket)
    return refuse(error(Status::kIo, std::string("attach connection: ") + std::strerror(errno)));
  auto app = make_app(layer, request, *ns);
  if (!app) return refuse(app.error());
  auto a = make_worker(layer, **app, std::move(socket));
  if (!a) {
    refuse(a.error());
    layer.apps[(*app)->index].reset();
    return;
  }
  describe(layer, **app, **a, r);
  send_reply((*a)->socket.get(), r);
  layer.log(LogLevel::kInfo, "application '" + (*app)->name + "' attached" +
                                 ((*ns)->is_default() ? "" : " to namespace '" + (*ns)->id + "'") +
                                 " (pid " + std::to_string((*a)->pid) + ")");
}

// There are no descriptors for those who wait at the door: looks again later, as the socket stays
// readable.
void rest(Impl& layer, Namespace& ns) {
  if (!layer.loop.after) return;
  layer.loop.unwatch_fd(std::exchange(ns.socket.watch, 0));
  layer.loop.after(kRestSeconds, [layer = std::weak_ptr(layer.alive),
                                  ns = std::weak_ptr(layer.namespaces[ns.index])] {
    const auto l = layer.lock();
    const auto n = ns.lock();
    if (l && n && n->socket.fd && n->socket.watch == 0) watch_socket(**l, *n);
  });
}

}  // namespace

void on_connection(Impl& layer, Namespace& ns) {
  UniqueFd fd(::accept4(ns.socket.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) rest(layer, ns);
    return;
  }
  std::erase_if(layer.visitors, [](const auto& v) { return v.expired(); });
  if (layer.visitors.size() >= kMostVisitors) {
    const auto oldest = layer.visitors.front().lock();
    layer.loop.unwatch_fd(oldest->watch);
    layer.visitors.pop_front();
  }
  auto v = std::make_shared<Visitor>();
  layer.visitors.push_back(v);
  v->by = layer.namespaces[ns.index];
  v->fd = std::move(fd);
  v->watch = layer.loop.watch_fd(v->fd.get(), [&layer, v] { on_visitor(layer, v); });
  if (v->watch == 0) layer.visitors.pop_back();
}

}  // namespace loom::session
