// The stream to one daemon: connects, greets (sockclnt_create), then hands over whole messages and
// sends frames in order. What the messages mean is AsyncClient's business.
//
// Everything runs on the io_context's thread; callbacks never run inside a call of this class.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <hostloom/status.h>

#include "client/message_table.h"

namespace boost::asio {
class io_context;
}

namespace loom {

struct ClientOptions {
  std::string name = "hostloom-client";       // shown by the daemon; cut to 63 bytes
  std::chrono::milliseconds timeout{10'000};  // of connecting, and of each request
  std::size_t queued_bytes = 64u << 20;       // requests that the daemon has not read yet
};

class DaemonConnection : public std::enable_shared_from_this<DaemonConnection> {
 public:
  using OnMessage = std::function<void(std::span<const std::byte>)>;
  using OnEnd = std::function<void(const Error&)>;

  // io outlives the connection. Errors, passed to `done`: kNotConnected, nothing listens at the
  // path; kPermission; kInvalid, no such path can be; kTimedOut; kRefused; kMalformed, whatever
  // listens does not speak this protocol. All name the path.
  static void open(boost::asio::io_context& io, const std::string& path, ClientOptions options,
                   std::function<void(Result<std::shared_ptr<DaemonConnection>>)> done);
  virtual ~DaemonConnection() = default;

  // Starts reading. on_end is called once, when the daemon closes or its bytes cannot be followed;
  // not after close().
  virtual void start(OnMessage on_message, OnEnd on_end) = 0;
  // Takes a finished frame. Errors: kClosed; kAgain, more than queued_bytes wait already.
  virtual Result<void> send(std::vector<std::byte> frame) = 0;
  virtual void close() = 0;
  virtual bool is_open() const = 0;

  const MessageTable& table() const { return table_; }
  uint32_t client_index() const { return client_index_; }
  const std::string& path() const { return path_; }

 protected:
  MessageTable table_;
  uint32_t client_index_ = 0;
  std::string path_;
};

}  // namespace loom
