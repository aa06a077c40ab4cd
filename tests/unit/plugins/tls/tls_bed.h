// The plugin on a session layer that the test steps, in virtual time, over the pipe transport; and
// a peer that is OpenSSL alone, which sees and makes the records.
#pragma once
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstdio>
#include <functional>
#include <optional>
#include <string>

#include <hostloom/endpoint_settings.h>

#include "certificates.h"
#include "session/control.h"
#include "tests/unit/plugins/plugin_bed.h"
#include "tls.h"

namespace loom::tls {

inline std::string pattern(std::size_t n) {
  std::string s(n, 0);
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 7 + i / 251);
  return s;
}

class TlsBed : public test::PluginBed {
 public:
  using TestApp = test::TestApp;
  using Link = std::unique_ptr<TestApp::Connection>;

  // `more`: changes to the configuration before the plugin starts.
  explicit TlsBed(const std::function<void(Config&)>& more = {}, const char* key_type = "EC",
                  uint32_t n_workers = 1)
      : PluginBed({}, n_workers),
        authority(make_certificate({.names = "", .is_authority = true})),
        server(make_certificate({.issuer = &authority, .key_type = key_type})) {
    EXPECT_TRUE(init(host));
    Config& c = shared().config;
    c.transport = "pipe";
    c.certificates = {write("server.pem", server.certificate)};
    c.keys = {write("server.key", server.key)};
    c.ca = write("ca.pem", authority.certificate);
    c.crypto_threads = 0;  // whatever machine this is
    if (more) more(c);
    const auto started = start(host);
    EXPECT_TRUE(started) << started.error().message;
    app = std::make_unique<TestApp>(bed);
  }
  ~TlsBed() {
    app.reset();
    bed.pump();
    stop(host);
    bed.pump();
    EXPECT_EQ(session::n_sessions(bed.layer->impl()), 0u);
    EXPECT_EQ(bed.buffers_in_use(), 0u);
  }

  std::string write(const std::string& name, const std::string& text) {
    const std::string path = bed.dir + "/" + name;
    FILE* f = std::fopen(path.c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), f);
    std::fclose(f);
    return path;
  }
  uint64_t stat(Stat s) { return shared().workers[0]->stats[s]; }

  // As libvppcom gives them to the daemon. 0: refused.
  uint32_t add_settings(const std::string& bytes, bool once = true) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kAddSettings;
    if (once) r.flags = svm::kOnce;
    std::string message(reinterpret_cast<const char*>(&r), sizeof r);
    message += bytes;
    EXPECT_EQ(::send(app->socket, message.data(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
    bed.pump(0);
    svm::AttachReply reply{};
    EXPECT_EQ(::recv(app->socket, &reply, sizeof reply, MSG_DONTWAIT),
              static_cast<ssize_t>(sizeof reply));
    return reply.status == 0 ? reply.settings : 0;
  }
  // Empty optional: refused.
  std::optional<std::string> property(const TestApp::Connection& c, SessionProperty which) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kGetProperty;
    r.handle = c.handle;
    r.property = static_cast<uint32_t>(which);
    EXPECT_EQ(::send(app->socket, &r, sizeof r, 0), static_cast<ssize_t>(sizeof r));
    bed.pump(0);
    struct {
      svm::AttachReply reply;
      char value[svm::kMaxPropertyBytes];
    } got{};
    const auto n = static_cast<std::size_t>(::recv(app->socket, &got, sizeof got, MSG_DONTWAIT));
    EXPECT_GE(n, sizeof got.reply);
    if (got.reply.status != 0) return std::nullopt;
    return std::string(got.value, n - sizeof got.reply);
  }
  static std::string pair_settings(const Pem& p) {
    std::string bytes;
    add_setting(bytes, Setting::kCertificate, p.certificate);
    add_setting(bytes, Setting::kPrivateKey, p.key);
    return bytes;
  }

  int32_t listen(uint16_t port, uint8_t proto = kProto, uint32_t settings = 0) {
    svm::ListenEvent e{};
    e.proto = proto;
    e.options.settings = settings;
    e.local = TestApp::end(port);
    e.backlog = 16;
    app->push(svm::ToDaemon::kListen, e);
    bound = next<svm::BoundEvent>(svm::ToApp::kBound);
    if (bound.status == 0)
      app->listener = app->table.resolve_as<svm::ListenerShared>(bound.listener);
    return bound.status;
  }
  void start_connect(uint16_t port, uint8_t proto = kProto, uint32_t settings = 0) {
    svm::ConnectEvent e{};
    e.proto = proto;
    e.options.settings = settings;
    e.remote = TestApp::end(port);
    e.local.is_ip4 = 1;
    app->push(svm::ToDaemon::kConnect, e);
    for (int i = 0; i < 20; ++i) bed.pump();
  }
  svm::ConnectedEvent outcome() { return next<svm::ConnectedEvent>(svm::ToApp::kConnected); }
  Link connect(uint16_t port, uint8_t proto = kProto, uint32_t settings = 0) {
    start_connect(port, proto, settings);
    const auto c = outcome();
    EXPECT_EQ(c.status, 0);
    return c.status == 0 ? app->connection(c.handle, c.session) : nullptr;
  }
  Link accept() { return app->accept(); }
  // The next event of that type; wake-ups before it say nothing new.
  template <class T>
  T next(svm::ToApp type) {
    for (svm::MqEvent e{}; app->events.pop(e);)
      if (static_cast<svm::ToApp>(e.type) == type) return e.as<T>();
    ADD_FAILURE() << "no event of type " << static_cast<int>(type);
    return {};
  }

  Pem authority, server;
  std::unique_ptr<TestApp> app;
  svm::BoundEvent bound{};  // of the last listen
};

// One end of TLS that the test holds in its hands: bytes in, bytes out.
class Peer {
 public:
  enum class Role : uint8_t { kClient, kServer };
  explicit Peer(Role role, const std::function<void(SSL_CTX*)>& more = {},
                const Pem* pair = nullptr)
      : context_(SSL_CTX_new(role == Role::kClient ? TLS_client_method() : TLS_server_method()),
                 SSL_CTX_free) {
    if (pair) {
      SSL_CTX_use_certificate(context_.get(), pair->x509.get());
      SSL_CTX_use_PrivateKey(context_.get(), pair->pkey.get());
    }
    if (more) more(context_.get());
    ssl_.reset(SSL_new(context_.get()));
    in_ = BIO_new(BIO_s_mem());
    out_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl_.get(), in_, out_);
    role == Role::kClient ? SSL_set_connect_state(ssl_.get()) : SSL_set_accept_state(ssl_.get());
  }
  SSL* ssl() { return ssl_.get(); }
  void feed(std::string_view records) {
    BIO_write(in_, records.data(), static_cast<int>(records.size()));
  }
  std::string records() {  // made since the last call
    std::string s(BIO_ctrl_pending(out_), 0);
    if (!s.empty()) BIO_read(out_, s.data(), static_cast<int>(s.size()));
    return s;
  }
  bool shake() { return SSL_do_handshake(ssl()) == 1; }
  void write(std::string_view text) {
    SSL_write(ssl(), text.data(), static_cast<int>(text.size()));
  }
  std::string read() {
    std::string all;
    char part[20'000];
    for (int n; (n = SSL_read(ssl(), part, sizeof part)) > 0;)
      all.append(part, static_cast<std::size_t>(n));
    return all;
  }

  // Carries records between it and the other end of a plain connection until nothing moves.
  void exchange(test::TestApp& app, test::TestApp::Connection& link) {
    for (int quiet = 0; quiet < 3;) {
      if (!SSL_is_init_finished(ssl())) (void)shake();
      const std::string out = records();
      if (!out.empty()) app.write(link, out);
      app.bed.pump();
      const std::string in = app.read(link);
      feed(in);
      if (!SSL_is_init_finished(ssl())) (void)shake();
      quiet = out.empty() && in.empty() ? quiet + 1 : 0;
    }
  }

 private:
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_{nullptr, SSL_free};
  BIO *in_ = nullptr, *out_ = nullptr;  // the SSL's
};

}  // namespace loom::tls
