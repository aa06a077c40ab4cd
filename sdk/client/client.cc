#include "client/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "memclnt.api.h"
#include "vlib.api.h"

namespace loom {
namespace {

constexpr std::size_t kHeaderSize = 16;
constexpr uint32_t kMaxMessage = 16u << 20;  // more than any daemon sends
constexpr uint16_t kCreateId = 15, kCreateReplyId = 16;

std::string table_name(const ApiMessageInfo& info) {
  char crc[10];
  std::snprintf(crc, sizeof crc, "_%08x", info.crc);
  return (info.name + std::string(crc)).substr(0, 63);
}

// The context of a message other than sockclnt_create_reply: behind the id in replies and details.
struct Head {
  uint16_t id;
  uint32_t context;
};
Head head_of(std::span<const std::byte> message) {
  ApiReader in(message);
  const auto id = in.number<uint16_t>();
  return {id, in.number<uint32_t>()};
}

Error errno_error(Status code, const std::string& path, const char* what) {
  return error(code, path + ": " + what + ": " + std::strerror(errno));
}

}  // namespace

Client::Fd::~Fd() {
  if (fd >= 0) ::close(fd);
}

Result<Client> Client::connect(const std::string& path) { return connect(path, Options{}); }

Result<Client> Client::connect(const std::string& path, Options options) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return error(Status::kInvalid, "socket path '" + path + "' is empty or too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  Client client;
  client.path_ = path;
  client.options_ = std::move(options);
  client.socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (client.socket_.fd < 0) return errno_error(Status::kIo, path, "socket");
  if (::connect(client.socket_.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
      0) {
    if (errno == ENOENT || errno == ECONNREFUSED)
      return error(Status::kNotConnected, "nothing listens at " + path + " (" +
                                              std::strerror(errno) + "); is hostloom running?");
    return errno_error(errno == EACCES ? Status::kPermission : Status::kIo, path, "connect");
  }
  auto greeted = client.handshake();
  if (!greeted) return greeted.error();
  return client;
}

Result<void> Client::handshake() {
  api::SockclntCreate request;
  request.context = ++context_;
  request.name = options_.name;
  auto frame = new_frame(kCreateId);
  ApiWriter w(frame);
  encode(w, request);
  auto sent = send_frame(std::move(frame));
  if (!sent) return sent;
  const auto message = receive(Clock::now() + options_.timeout);
  if (!message) return message.error();
  ApiReader in(*message);
  const auto id = in.number<uint16_t>();
  api::SockclntCreateReply reply;
  decode(in, reply);
  if (!in.ok() || id != kCreateReplyId)
    return error(Status::kMalformed, path_ + ": what answers does not speak the binary API");
  if (reply.response != 0)
    return error(Status::kRefused, path_ + ": refused with code " + std::to_string(reply.response));
  client_index_ = reply.client_index;
  for (auto& entry : reply.message_table) ids_[std::move(entry.name)] = entry.index;
  return {};
}

bool Client::knows(const ApiMessageInfo& message) const {
  return ids_.contains(table_name(message));
}

Result<uint16_t> Client::id_of(const ApiMessageInfo& info) const {
  const auto it = ids_.find(table_name(info));
  if (it == ids_.end())
    return error(Status::kUnsupported, path_ + ": the daemon has no message " + table_name(info));
  return it->second;
}

std::vector<std::byte> Client::new_frame(uint16_t id) {
  std::vector<std::byte> frame(kHeaderSize);
  ApiWriter(frame).number(id);
  return frame;
}

Result<void> Client::send_frame(std::vector<std::byte> frame) {
  const std::size_t length = frame.size() - kHeaderSize;
  for (std::size_t i = 0; i < 4; ++i) frame[8 + i] = static_cast<std::byte>(length >> (24 - 8 * i));
  const auto deadline = Clock::now() + options_.timeout;
  for (std::span<const std::byte> rest(frame); !rest.empty();) {
    const ssize_t n = ::send(socket_.fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      rest = rest.subspan(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      auto ready = wait(POLLOUT, deadline);
      if (!ready) return ready;
    } else if (errno != EINTR) {
      return errno_error(Status::kClosed, path_, "send");
    }
  }
  return {};
}

Result<void> Client::wait(short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd p{socket_.fd, events, 0};
    const int n = ::poll(&p, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (n > 0) return {};
    if (n < 0 && errno != EINTR) return errno_error(Status::kIo, path_, "poll");
    if (n == 0)
      return error(Status::kTimedOut, path_ + ": no answer within " +
                                          std::to_string(options_.timeout.count()) + " ms");
  }
}

Result<void> Client::read_exactly(std::span<std::byte> to, Clock::time_point deadline) {
  while (!to.empty()) {
    const ssize_t n = ::recv(socket_.fd, to.data(), to.size(), 0);
    if (n > 0) {
      to = to.subspan(static_cast<std::size_t>(n));
    } else if (n == 0) {
      return error(Status::kClosed, path_ + ": the daemon closed the connection");
    } else if (errno == EAGAIN) {
      auto ready = wait(POLLIN, deadline);
      if (!ready) return ready;
    } else if (errno != EINTR) {
      return errno_error(Status::kClosed, path_, "receive");
    }
  }
  return {};
}

Result<std::vector<std::byte>> Client::receive(Clock::time_point deadline) {
  std::array<std::byte, kHeaderSize> header;
  auto got = read_exactly(header, deadline);
  if (!got) return got.error();
  uint32_t length = 0;
  for (int i = 8; i < 12; ++i) length = length << 8 | std::to_integer<uint32_t>(header[i]);
  if (length < 2 || length > kMaxMessage)
    return error(Status::kMalformed, path_ + ": a message of " + std::to_string(length) + " bytes");
  std::vector<std::byte> message(length);
  got = read_exactly(message, deadline);
  if (!got) return got.error();
  return message;
}

// Messages of another context are events or answers nobody waits for any more: they are passed
// over.
Result<void> Client::wait_for_reply(const ApiMessageInfo& reply, uint32_t context,
                                    DecodeFn decode) {
  const auto id = id_of(reply);
  if (!id) return id.error();
  const auto deadline = Clock::now() + options_.timeout;
  for (;;) {
    const auto message = receive(deadline);
    if (!message) return message.error();
    const Head head = head_of(*message);
    if (head.id != *id || head.context != context) continue;
    ApiReader in(std::span<const std::byte>(*message).subspan(2));
    decode.run(decode.arg, in);
    if (!in.ok())
      return error(Status::kMalformed, path_ + ": a " + reply.name + " that does not decode");
    return {};
  }
}

Result<void> Client::collect_details(const ApiMessageInfo& details, uint32_t context,
                                     DecodeFn decode) {
  const auto details_id = id_of(details);
  if (!details_id) return details_id.error();
  api::ControlPing ping;
  const auto ping_context = send(ping);
  if (!ping_context) return ping_context.error();
  const auto ping_reply_id = id_of(api::ControlPingReply::kInfo);
  if (!ping_reply_id) return ping_reply_id.error();
  const auto deadline = Clock::now() + options_.timeout;
  for (;;) {
    const auto message = receive(deadline);
    if (!message) return message.error();
    const Head head = head_of(*message);
    if (head.id == *ping_reply_id && head.context == *ping_context) return {};
    if (head.id != *details_id || head.context != context) continue;
    ApiReader in(std::span<const std::byte>(*message).subspan(2));
    decode.run(decode.arg, in);
    if (!in.ok())
      return error(Status::kMalformed, path_ + ": a " + details.name + " that does not decode");
  }
}

Result<Client::CliResult> Client::cli(std::string_view line) {
  auto reply = call<api::CliInbandReply>(api::CliInband{.cmd = std::string(line)});
  if (!reply) return reply.error();
  return CliResult{reply->retval, std::move(reply->reply)};
}

}  // namespace loom
