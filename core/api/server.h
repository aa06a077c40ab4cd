// The binary API's Unix stream socket: frames, clients, limits. What messages mean is the
// registry's and its handlers' business.
//
// Clients are hostile until proven otherwise. A message longer than kMaxApiMessage, or one whose
// header promises nothing, ends its connection, since the stream cannot be followed any more.
// Answers and events wait in a bounded queue: a client that does not read loses its connection when
// the bound is reached; dumps, which can wait, pause long before (connection.h). Unknown and
// malformed messages are counted and otherwise forgotten. Each kind of offence is logged once a
// client.
//
// Control thread: everything runs in the io_context's thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <hostloom/host.h>
#include <hostloom/status.h>

#include "api/registry.h"
#include "api/trace.h"

namespace boost::asio {
class io_context;
}

namespace loom {

class ApiServer {
 public:
  struct Limits {
    std::size_t queued_bytes = 8u << 20;   // what a client has not read yet
    std::size_t clients = 1024;            // connections at once; one more is closed at once
    std::size_t pause_bytes = 256u << 10;  // of what it has not read, when its dump waits
  };
  struct Counters {
    uint64_t accepted = 0, messages = 0;
    uint64_t unknown = 0;       // no such message, not one for the daemon, or answered by nobody
    uint64_t malformed = 0;     // too short, or a length in it leads beyond its end
    uint64_t unregistered = 0;  // came before sockclnt_create
    uint64_t bad_frames = 0, slow_readers = 0, refused = 0;  // connections closed for it
  };
  struct Client {
    uint32_t index;
    std::string name;
    int32_t pid;  // of the peer, 0 = unknown
    uint64_t messages;
    std::size_t queued_bytes;
    bool is_dumping;
  };
  using Log = std::function<void(LogLevel, const std::string&)>;

  // io and registry outlive the server. Registers the handlers of sockclnt_create and
  // sockclnt_delete.
  ApiServer(boost::asio::io_context& io, ApiRegistry& registry, Log log);
  ApiServer(boost::asio::io_context& io, ApiRegistry& registry, Log log, Limits limits);
  ~ApiServer();  // closes every connection and removes the socket
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  Result<void> listen(const std::string& path, std::optional<uint32_t> gid);
  void close();
  const Counters& counters() const;
  const Limits& limits() const;
  ApiTrace& trace();
  // Told of every request that is given to its handler.
  using Requested = std::function<void(const ApiMessageInfo&, uint32_t client, std::size_t bytes)>;
  void on_request(Requested);
  std::vector<Client> clients() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace loom
