// Namespaces, and what is around them: tables, interfaces, applications. For tests.
#pragma once
#include "session.api.h"
#include "session/api.h"
#include "session/control.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {

using session::add_namespace;
using session::delete_namespace;
using session::find_namespace;
using session::Namespace;
using session::NamespaceArgs;

inline svm::AttachRequest request(const char* ns, uint64_t secret = 0, uint32_t flags = 0) {
  svm::AttachRequest r{};
  std::strcpy(r.namespace_id, ns);
  r.namespace_secret = secret;
  r.flags = flags;
  return r;
}

inline IpPrefix prefix(const char* text, uint8_t length) {
  return {IpAddress::parse(text).value(), length};
}

// Two loopbacks that have the same address, in table 0 and in table 5.
struct NamespacesTest : testing::Test {
  NamespacesTest() {
    EXPECT_TRUE(add_session_api(client.host, registry, *bed.layer));
    EXPECT_TRUE(bed.net->add_table(5, false));
    EXPECT_TRUE(bed.net->add_table(5, true));
    here = bed.net->create_loopback().value();
    there = bed.net->create_loopback().value();
    EXPECT_TRUE(bed.net->set_table(there, 5, false));
    EXPECT_TRUE(bed.net->set_table(there, 5, true));
    for (const IfIndex i : {here, there}) {
      EXPECT_TRUE(bed.net->add_address(i, prefix("10.0.0.1", 24)));
      EXPECT_TRUE(bed.net->set_admin(i, true));
    }
    fib5 = bed.net->fib_index(5, false).value();
  }

  // An interface of table 0 that is no loopback, and sends nothing.
  IfIndex add_wire(const char* name = "wire") {
    static const DriverOps kDriver{
        .name = "none",
        .tx = [](Worker&, void*, uint16_t, std::span<Buffer* const>) noexcept { return 0u; }};
    InterfaceConfig c;
    c.name = name;
    c.is_ethernet = false;
    c.ops = &kDriver;
    return bed.net->add_interface(c).value();
  }

  SessionLayer::Impl& layer() { return bed.layer->impl(); }
  Namespace& add(const NamespaceArgs& args) {
    auto ns = add_namespace(layer(), args);
    EXPECT_TRUE(ns) << ns.error().message;
    return **ns;
  }
  static Status status(const TestApp& app) { return static_cast<Status>(app.reply.status); }

  static svm::Endpoint end(const char* address, uint16_t port) {
    return session::endpoint_of(IpAddress::parse(address).value(), port);
  }
  Status listen(TestApp& app, const char* address, uint16_t port) {
    svm::ListenEvent e{};
    e.local = end(address, port);
    e.backlog = 16;
    app.push(svm::ToDaemon::kListen, e);
    bound = app.expect<svm::BoundEvent>(svm::ToApp::kBound);
    return static_cast<Status>(bound.status);
  }
  // The answer, or kInProgress.
  Status connect(TestApp& app, const char* address, uint16_t port, const char* from = "0.0.0.0") {
    svm::ConnectEvent e{};
    e.remote = end(address, port);
    e.local = end(from, 0);
    app.push(svm::ToDaemon::kConnect, e);
    svm::MqEvent event;
    connected = {};
    if (!app.events.pop(event)) return Status::kInProgress;
    EXPECT_EQ(static_cast<svm::ToApp>(event.type), svm::ToApp::kConnected);
    connected = event.as<svm::ConnectedEvent>();
    return static_cast<Status>(connected.status);
  }
  // Application whose listener a packet finds; nullptr: nobody listens.
  const session::App* listener_at(const char* address, uint16_t port, uint32_t fib) {
    FlowKey4 key;
    key.local = IpAddress::parse(address).value().ip4();
    key.remote = Ip4Address{{10, 0, 0, 9}};
    key.local_port = port;
    key.remote_port = 9;
    key.protocol = PipeTransport::kIpProtocol;
    key.fib_index = static_cast<uint16_t>(fib);
    FlowMatch m;
    layer().flows->lookup<FlowKey4>({&key, 1}, &m);
    return m.kind == FlowKind::kListener ? layer().listener(m.conn)->app : nullptr;
  }
  const session::App* app_of(const TestApp& app) { return layer().apps[app.reply.app_index].get(); }
  std::size_t n_apps() {
    std::size_t n = 0;
    for (const auto& a : layer().apps) n += a != nullptr;
    return n;
  }

  SessionBed bed{{}, SessionBed::Network::kReal};
  ApiRegistry registry;
  DirectClient client{registry};
  IfIndex here = kNoIndex, there = kNoIndex;
  uint32_t fib5 = 0;
  svm::BoundEvent bound{};
  svm::ConnectedEvent connected{};
};

}  // namespace loom::test
