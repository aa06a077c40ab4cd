// What a plugin may ask of the daemon. Control thread, unless said otherwise. Names and tables that
// are handed over must live as long as the plugin (static data).
#pragma once
#include <string>
#include <string_view>

#include <hostloom/app.h>
#include <hostloom/buffer_memory.h>
#include <hostloom/cli.h>
#include <hostloom/config.h>
#include <hostloom/congestion.h>
#include <hostloom/interface.h>
#include <hostloom/node.h>
#include <hostloom/stats.h>
#include <hostloom/status.h>
#include <hostloom/transport.h>
#include <hostloom/worker.h>

namespace loom {

class ApiCall;
class Host;
class HostApi;
struct ApiHandler;
struct ApiMessageInfo;
struct ApiModule;
struct ApiSubscriber;

enum class LogLevel : uint8_t { kDebug, kInfo, kNotice, kWarn, kError };

// A node that packets pass on their way through an arc, on the interfaces where it is enabled.
struct FeatureInfo {
  uint32_t struct_size = sizeof(FeatureInfo);
  const char* arc = nullptr;  // device-input, ip4-unicast, ip4-local, ip4-output, interface-output,
                              // ip6-unicast, ...
  const char* node = nullptr;  // passes packets on with kNextFeature
  const char* before = "";     // names of features of the arc, comma separated
  const char* after = "";
};

struct HostOps {
  uint32_t struct_size;
  // Graph.
  Status (*add_node)(Host&, const NodeInfo*, NodeId* out, std::string* message);
  NodeId (*find_node)(Host&, const char* name);  // kNoNode when there is none
  Status (*add_feature)(Host&, const FeatureInfo*, std::string* message);
  Status (*enable_feature)(Host&, const char* arc, const char* node, IfIndex, bool enable,
                           std::string* message);
  // Packets for this host with that IP protocol go to the named node, at the L4 header.
  Status (*add_ip_protocol)(Host&, uint8_t protocol, bool is_ip6, const char* node,
                            std::string* message);
  // Registries.
  Status (*add_transport)(Host&, const TransportOps*, TransportId* out, std::string* message);
  Status (*add_congestion_control)(Host&, const CcOps*, std::string* message);
  const CcOps* (*find_congestion_control)(Host&,
                                          const char* name);  // any thread; null when there is none
  Status (*add_cli_command)(Host&, const CliCommand*, std::string* message);
  Status (*add_config_stanza)(Host&, const ConfigStanza*, std::string* message);
  // Interfaces.
  Status (*add_interface)(Host&, const InterfaceConfig*, IfIndex* out, std::string* message);
  Status (*remove_interface)(
      Host&, IfIndex);  // workers have let go of it on return; calls DriverOps::destroy
  Status (*set_link)(Host&, IfIndex, bool up);
  InterfaceCounters* (*rx_counters)(Host&, IfIndex,
                                    uint32_t worker);  // the driver counts; per worker, no lock
  // Threads.
  uint32_t (*n_workers)(Host&);
  uint32_t (*allocate_worker_slot)(Host&);  // index into Worker::plugin_data
  // Runs fn on the worker and waits for it.
  void (*run_on_worker)(Host&, uint32_t worker, void (*fn)(Worker&, void*), void* arg);
  // Runs fn while all workers stand still.
  void (*with_barrier)(Host&, void (*fn)(void*), void* arg);
  // Calls fn on the control thread whenever fd is readable; fd -1 never. Returns a handle; stop
  // with unwatch_fd.
  uint64_t (*watch_fd)(Host&, int fd, void (*fn)(void*), void* arg);
  void (*unwatch_fd)(Host&, uint64_t handle);
  void (*log)(Host&, LogLevel, const char* who, const char* text);
  void* (*device)(
      Host&, IfIndex,
      const DriverOps* ops);  // the driver's device of an interface, null if not its own
  IfIndex (*find_interface)(Host&, const char* name);  // kNoIndex when there is none
  // ICMP errors about packets of that IP protocol go to the named node: data at the quoted packet's
  // L4 header (8 bytes at least), l3_offset at its IP header, an IcmpErrorNote (net.h) in opaque.
  Status (*add_icmp_error_handler)(Host&, uint8_t protocol, bool is_ip6, const char* node,
                                   std::string* message);
  // Binary API (api_server.h).
  Status (*add_api_module)(Host&, const ApiModule*, std::string* message);
  Status (*add_api_handler)(Host&, const ApiHandler*, std::string* message);
  // Calls fn, unless it is null, for everyone who subscribed by `want`; returns how many those are.
  uint32_t (*each_api_subscriber)(Host&, const ApiMessageInfo* want,
                                  void (*fn)(ApiCall&, const ApiSubscriber*, void* arg), void* arg);
  // Numbers for the statistics segment. Since ABI 1.1.
  Status (*add_stats)(Host&, const StatSet*, std::string* message);
  // The controller of connections that ask for none: what find_congestion_control(host, "") finds.
  // kNotFound: no plugin has registered one of that name. Since ABI 1.1.
  Status (*set_default_congestion_control)(Host&, const char* name, std::string* message);
  // Makes an address this host's in a routing table (the operator's number), on the interface whose
  // subnet holds it, unless it is already. fib_index: what packets and Endpoints carry for that
  // table. kNotFound: no such table; kUnreachable: no interface's subnet holds it. Since ABI 1.1.
  Status (*own_address)(Host&, const IpAddress*, uint32_t table, uint32_t* fib_index,
                        std::string* message);
  // In-process applications (app.h), since ABI 1.1, from PluginInfo::start on.
  Status (*add_application)(Host&, const AppOps*, const AppConfig*, Application** out,
                            std::string* message);
  // Its listeners end, its sessions are aborted and `closed` called for each, on their workers,
  // before this returns; no callback follows. Not from a callback.
  void (*remove_application)(Host&, Application*);
  // `context` is what `accepted` gets. `out` names the listener.
  Status (*app_listen)(Host&, Application*, const AppEndpoint*, void* context, SessionHandle* out,
                       std::string* message);
  // Accepted sessions go on. On return `accepted` is not called again for it.
  Status (*app_unlisten)(Host&, Application*, SessionHandle listener);
  // For a transport that is an application (TxKind::kInternal), in TransportOps::open_listener:
  // listens where the listener `upper` is to be found, in its namespace, with its options and
  // backlog. Of the endpoint transport and fifo sizes count. Since ABI 1.1.
  Status (*app_listen_for)(Host&, Application*, SessionId upper, const AppEndpoint*, void* context,
                           SessionHandle* out, std::string* message);
  // The settings that an application has named for an endpoint (SocketOptionsView::settings), or
  // others of the same application: hostloom/endpoint_settings.h. Any thread; takes a lock and
  // allocates. Those for one endpoint alone are there until open_listener or connect returns.
  // kNotFound. Since ABI 1.1.
  Status (*endpoint_settings)(Host&, uint32_t named, uint32_t number, std::string* out);
  // The memory of the buffer pools (buffer_memory.h), since ABI 1.1. From PluginInfo::start, while
  // the daemon starts: no buffer has been used yet. One driver's: kExists, another has asked;
  // kInUse, buffers are in use. After an error the pools are as they were.
  Status (*place_buffers)(Host&, const BufferPlacement*, std::string* message);
  // Any thread. kNotFound: there are no more pools.
  Status (*buffer_pool)(Host&, uint32_t pool, BufferPoolInfo* out);
  // For threads that are no workers; workers have Worker::alloc and free. Any thread; takes a lock.
  // Returns how many there were.
  uint32_t (*take_buffers)(Host&, uint32_t pool, std::span<Buffer*> out);
  // Single segments of that pool, which refer to no memory outside it.
  void (*give_buffers)(Host&, uint32_t pool, std::span<Buffer* const>);
  // Has the post's fn called on the worker, between two of its rounds, and does not wait. What one
  // thread posts to one worker is called in order. Allocates nothing. Any thread: one of the
  // plugin's own has ended before PluginInfo::stop returns. Since ABI 1.1.
  void (*post_to_worker)(Host&, uint32_t worker, WorkerPost&) noexcept;
  // The directory of this daemon's sockets, no other daemon's. The daemon's string, for as long as
  // it runs; "" in a host without one. Since ABI 1.1.
  const char* (*runtime_dir)(Host&);
  // A driver's: its device has this MTU now, in bytes of L3, which the interface takes over.
  // DriverOps::set_mtu is not called. Errors are those of an operator's, beside kNotFound:
  // kInvalid, no interface has such a one; kInUse, it is too small for the interface's IPv6
  // addresses. Then the interface keeps its own. Since ABI 1.1.
  Status (*set_mtu)(Host&, IfIndex, uint32_t mtu, std::string* message);
};

class Host {
 public:
  const HostOps* ops = nullptr;
  void* impl = nullptr;

  Result<NodeId> add_node(const NodeInfo& n) {
    NodeId id = kNoNode;
    std::string m;
    const Status s = ops->add_node(*this, &n, &id, &m);
    if (s != Status::kOk) return error(s, std::move(m));
    return id;
  }
  NodeId find_node(const char* name) { return ops->find_node(*this, name); }
  Result<void> add_feature(const FeatureInfo& f) {
    return call([&](std::string* m) { return ops->add_feature(*this, &f, m); });
  }
  Result<void> enable_feature(const char* arc, const char* node, IfIndex i, bool enable) {
    return call(
        [&](std::string* m) { return ops->enable_feature(*this, arc, node, i, enable, m); });
  }
  Result<void> add_ip_protocol(uint8_t protocol, bool is_ip6, const char* node) {
    return call(
        [&](std::string* m) { return ops->add_ip_protocol(*this, protocol, is_ip6, node, m); });
  }
  Result<TransportId> add_transport(const TransportOps& t) {
    TransportId id = kNoTransport;
    std::string m;
    const Status s = ops->add_transport(*this, &t, &id, &m);
    if (s != Status::kOk) return error(s, std::move(m));
    return id;
  }
  Result<void> add_congestion_control(const CcOps& c) {
    return call([&](std::string* m) { return ops->add_congestion_control(*this, &c, m); });
  }
  const CcOps* find_congestion_control(const char* name) {
    return ops->find_congestion_control(*this, name);
  }
  Result<void> set_default_congestion_control(const char* name) {
    return call(
        [&](std::string* m) { return ops->set_default_congestion_control(*this, name, m); });
  }
  Result<void> add_cli_command(const CliCommand& c) {
    return call([&](std::string* m) { return ops->add_cli_command(*this, &c, m); });
  }
  Result<void> add_config_stanza(const ConfigStanza& c) {
    return call([&](std::string* m) { return ops->add_config_stanza(*this, &c, m); });
  }
  Result<IfIndex> add_interface(const InterfaceConfig& c) {
    IfIndex id = kNoIndex;
    std::string m;
    const Status s = ops->add_interface(*this, &c, &id, &m);
    if (s != Status::kOk) return error(s, std::move(m));
    return id;
  }
  Status remove_interface(IfIndex i) { return ops->remove_interface(*this, i); }
  Status set_link(IfIndex i, bool up) { return ops->set_link(*this, i, up); }
  Result<void> set_mtu(IfIndex i, uint32_t mtu) {
    return call([&](std::string* m) { return ops->set_mtu(*this, i, mtu, m); });
  }
  InterfaceCounters* rx_counters(IfIndex i, uint32_t worker) {
    return ops->rx_counters(*this, i, worker);
  }
  uint32_t n_workers() { return ops->n_workers(*this); }
  uint32_t allocate_worker_slot() { return ops->allocate_worker_slot(*this); }
  template <class F>
  void run_on_worker(uint32_t worker, F&& fn) {
    ops->run_on_worker(
        *this, worker,
        [](Worker& w, void* f) { (*static_cast<std::remove_reference_t<F>*>(f))(w); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }
  template <class F>
  void run_on_all_workers(F&& fn) {
    for (uint32_t i = 0; i < n_workers(); ++i) run_on_worker(i, fn);
  }
  template <class F>
  void with_barrier(F&& fn) {
    ops->with_barrier(
        *this, [](void* f) { (*static_cast<std::remove_reference_t<F>*>(f))(); },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }
  uint64_t watch_fd(int fd, void (*fn)(void*), void* arg) {
    return ops->watch_fd(*this, fd, fn, arg);
  }
  void unwatch_fd(uint64_t handle) { ops->unwatch_fd(*this, handle); }
  void log(LogLevel level, const char* who, const std::string& text) {
    ops->log(*this, level, who, text.c_str());
  }
  void* device(IfIndex i, const DriverOps& d) { return ops->device(*this, i, &d); }
  IfIndex find_interface(const char* name) { return ops->find_interface(*this, name); }
  HostApi api();  // include <hostloom/api_server.h>
  Result<void> add_icmp_error_handler(uint8_t protocol, bool is_ip6, const char* node) {
    return call([&](std::string* m) {
      return ops->add_icmp_error_handler(*this, protocol, is_ip6, node, m);
    });
  }
  Result<uint32_t> own_address(const IpAddress& a, uint32_t table) {
    uint32_t fib_index = 0;
    std::string m;
    const Status s = ops->own_address(*this, &a, table, &fib_index, &m);
    if (s != Status::kOk) return error(s, std::move(m));
    return fib_index;
  }
  Result<void> add_stats(const StatSet& s) {
    return call([&](std::string* m) { return ops->add_stats(*this, &s, m); });
  }
  Result<Application*> add_application(const AppOps& a, const AppConfig& c = {}) {
    Application* app = nullptr;
    std::string m;
    const Status s = ops->add_application(*this, &a, &c, &app, &m);
    if (s != Status::kOk) return error(s, std::move(m));
    return app;
  }
  void remove_application(Application* app) { ops->remove_application(*this, app); }
  Result<SessionHandle> app_listen(Application* app, const AppEndpoint& e, void* context) {
    SessionHandle h = 0;
    std::string m;
    const Status s = ops->app_listen(*this, app, &e, context, &h, &m);
    if (s != Status::kOk) return error(s, std::move(m));
    return h;
  }
  Result<SessionHandle> app_listen_for(Application* app, SessionId upper, const AppEndpoint& e,
                                       void* context) {
    SessionHandle h = 0;
    std::string m;
    const Status s = ops->app_listen_for(*this, app, upper, &e, context, &h, &m);
    if (s != Status::kOk) return error(s, std::move(m));
    return h;
  }
  Status endpoint_settings(uint32_t named, uint32_t number, std::string* out) {
    return ops->endpoint_settings(*this, named, number, out);
  }
  Result<void> place_buffers(const BufferPlacement& p) {
    return call([&](std::string* m) { return ops->place_buffers(*this, &p, m); });
  }
  Status buffer_pool(uint32_t pool, BufferPoolInfo& out) {
    return ops->buffer_pool(*this, pool, &out);
  }
  uint32_t take_buffers(uint32_t pool, std::span<Buffer*> out) {
    return ops->take_buffers(*this, pool, out);
  }
  void give_buffers(uint32_t pool, std::span<Buffer* const> buffers) {
    ops->give_buffers(*this, pool, buffers);
  }
  void post_to_worker(uint32_t worker, WorkerPost& p) noexcept {
    ops->post_to_worker(*this, worker, p);
  }
  Status app_unlisten(Application* app, SessionHandle h) {
    return ops->app_unlisten(*this, app, h);
  }
  const char* runtime_dir() { return ops->runtime_dir(*this); }

 private:
  template <class F>
  Result<void> call(F&& f) {
    std::string m;
    const Status s = f(&m);
    if (s != Status::kOk) return error(s, std::move(m));
    return {};
  }
};

}  // namespace loom
