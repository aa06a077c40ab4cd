// A control connection to one running daemon: the binary API, one request at a time. Not
// thread-safe.
//
//   auto c = loom::Client::connect(loom::default_api_socket());
//   auto v = c->call<loom::api::ShowVersionReply>(loom::api::ShowVersion{});
//
// The messages are the structs that apigen makes from *.api.json ("vpe.api.h" and so on). Messages
// are found by name and CRC in the daemon's table, so that a daemon that lacks one, or has another
// layout of it, is an error of that call and not of the connection.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/runtime_dir.h>
#include <hostloom/status.h>

namespace loom {

class Client {
 public:
  struct Options {
    std::string name = "hostloom-client";       // shown by the daemon; cut to 63 bytes
    std::chrono::milliseconds timeout{10'000};  // of each call
  };
  // Errors: kNotConnected, nothing listens at the path, and the message names it; kPermission;
  // kTimedOut; kMalformed, whatever listens does not speak this protocol.
  static Result<Client> connect(const std::string& path);
  static Result<Client> connect(const std::string& path, Options options);
  Client(Client&&) noexcept = default;
  Client& operator=(Client&&) noexcept = default;

  // Sends the request and waits for its reply. client_index and context are filled in. A reply
  // whose retval says no is not an error here. Errors: kUnsupported, the daemon has no such
  // message; kTimedOut; kClosed, the daemon went away; kMalformed. After any but kUnsupported the
  // connection is of no more use.
  template <class Reply, class Request>
  Result<Reply> call(Request request) {
    auto sent = send(request);
    if (!sent) return sent.error();
    Reply reply;
    auto got = wait_for(Reply::kInfo, *sent, [&](ApiReader& in) { decode(in, reply); });
    if (!got) return got.error();
    return reply;
  }
  // Sends a dump request and collects its details until the reply to a control_ping sent after it.
  template <class Details, class Request>
  Result<std::vector<Details>> dump(Request request) {
    auto sent = send(request);
    if (!sent) return sent.error();
    std::vector<Details> all;
    auto done =
        collect(Details::kInfo, *sent, [&](ApiReader& in) { decode(in, all.emplace_back()); });
    if (!done) return done.error();
    return all;
  }

  // Runs a command line; `text` is its output, or why it failed.
  struct CliResult {
    int32_t retval = 0;  // 0 = the command succeeded
    std::string text;
  };
  Result<CliResult> cli(std::string_view line);

  bool knows(const ApiMessageInfo& message) const;  // the daemon has this name with this CRC
  const std::string& path() const { return path_; }

 private:
  struct Fd {
    int fd = -1;
    Fd() = default;
    explicit Fd(int f) : fd(f) {}
    Fd(Fd&& o) noexcept : fd(std::exchange(o.fd, -1)) {}
    Fd& operator=(Fd&& o) noexcept {
      std::swap(fd, o.fd);
      return *this;
    }
    ~Fd();
  };
  using Clock = std::chrono::steady_clock;
  // A function reference, so that decoding is instantiated per message and waiting is not.
  struct DecodeFn {
    void (*run)(void*, ApiReader&);
    void* arg;
    template <class F>
    DecodeFn(F& f) : run([](void* p, ApiReader& in) { (*static_cast<F*>(p))(in); }), arg(&f) {}
  };

  Client() = default;
  Result<void> handshake();
  // Returns the request's context.
  template <class Request>
  Result<uint32_t> send(Request& request) {
    auto id = id_of(Request::kInfo);
    if (!id) return id.error();
    request.context = ++context_;
    if constexpr (requires { request.client_index; }) request.client_index = client_index_;
    std::vector<std::byte> frame = new_frame(*id);
    ApiWriter w(frame);
    encode(w, request);
    auto sent = send_frame(std::move(frame));
    if (!sent) return sent.error();
    return request.context;
  }
  template <class F>
  Result<void> wait_for(const ApiMessageInfo& reply, uint32_t context, F&& decode) {
    return wait_for_reply(reply, context, DecodeFn(decode));
  }
  template <class F>
  Result<void> collect(const ApiMessageInfo& details, uint32_t context, F&& decode) {
    return collect_details(details, context, DecodeFn(decode));
  }

  Result<uint16_t> id_of(const ApiMessageInfo& info) const;
  static std::vector<std::byte> new_frame(uint16_t id);
  Result<void> send_frame(std::vector<std::byte> frame);
  Result<std::vector<std::byte>> receive(Clock::time_point deadline);
  Result<void> read_exactly(std::span<std::byte> to, Clock::time_point deadline);
  Result<void> wait(short events, Clock::time_point deadline);
  Result<void> wait_for_reply(const ApiMessageInfo& reply, uint32_t context, DecodeFn decode);
  Result<void> collect_details(const ApiMessageInfo& details, uint32_t context, DecodeFn decode);

  Fd socket_;
  std::string path_;
  Options options_;
  uint32_t client_index_ = 0;
  uint32_t context_ = 0;
  std::map<std::string, uint16_t, std::less<>> ids_;  // by NAME_CRC
};

}  // namespace loom
