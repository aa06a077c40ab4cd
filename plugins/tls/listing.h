// Connections and listeners as they are shown, of TLS and then of DTLS, by commands (cli.cc) and by
// messages (api.cc).
// Control thread.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "dtls.h"
#include "tls.h"

namespace loom::tls {

// Texts come from peers: what does not print is a question mark.
struct ConnectionRow {
  SessionHandle session;  // of the application's; kNoHandle: nobody's
  uint32_t worker;
  Connection::State state;
  bool is_server;
  Endpoints ends;
  // While it is open.
  bool is_resumed = false, is_verified = false;
  std::string version{}, cipher{}, alpn{}, server_name{}, peer{};
};
constexpr SessionHandle kNoHandle = ~SessionHandle{0};
constexpr std::size_t kMostSubject = 512;  // characters of a certificate's subject

const char* state_name(Connection::State) noexcept;

// What is asked for; ports 0 say nothing.
struct ConnectionFilter {
  std::optional<Connection::State> state{};
  uint16_t local_port = 0, remote_port = 0;
};

// Visits the workers one after the other, for a few connections at a time: one that is there all
// the while is seen once.
class ConnectionScan {
 public:
  explicit ConnectionScan(const ConnectionFilter& f) : filter_(f) {}
  // Adds some to `rows`, or none. False: those were all.
  bool next(std::vector<ConnectionRow>& rows);

 private:
  template <class AnyWorker>  // TlsWorker, DtlsWorker
  void visit(AnyWorker&, std::vector<ConnectionRow>&);

  const ConnectionFilter filter_;
  uint32_t worker_ = 0;  // those of TLS, then those of DTLS
  ConnId at_ = 0;        // to be looked at next
};

// The first of them, at most so many. True: there are more.
bool list_connections(const ConnectionFilter&, std::size_t most, std::vector<ConnectionRow>&);

struct ListenerRow {
  SessionHandle lower;
  uint32_t certificates;
  std::string subject{};   // of the first
  uint64_t not_after = 0;  // seconds since 1970
  Verify verify;
  std::string alpn{};  // "h2,http/1.1"
  std::string profile{};
  uint32_t handshakes = 0;
};
// Asks no worker: there may be many listeners.
ListenerRow describe(const Listener&);
ListenerRow describe(const dtls::Listener&);

// The sum of all workers, or of one of them; of TLS or of DTLS.
std::vector<uint64_t> counters(std::optional<uint32_t> worker = {});
std::vector<uint64_t> dtls_counters(std::optional<uint32_t> worker = {});

}  // namespace loom::tls
