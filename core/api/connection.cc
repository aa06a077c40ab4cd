#include "api/connection.h"

#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "api/server_call.h"

namespace loom {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr int kStepsOfASlice = 256;
// For steps that find nothing to send, which may look at much: at workers, one after the other.
constexpr std::chrono::milliseconds kTimeOfASlice{1};

uint32_t frame_length(const std::byte* header) {
  uint32_t length = 0;
  for (int i = 8; i < 12; ++i) length = length << 8 | std::to_integer<uint32_t>(header[i]);
  return length;
}

int32_t peer_pid(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0;
  return known ? credentials.pid : 0;
}

}  // namespace

ApiConnection::ApiConnection(ApiServerState& server, Socket socket, uint32_t index)
    : server_(server), socket_(std::move(socket)), index_(index) {
  pid_ = peer_pid(socket_.native_handle());
}

void ApiConnection::set_registered(std::string name) {
  is_registered_ = true;
  name_ = std::move(name);
}

ApiServer::Client ApiConnection::describe() const {
  return {index_, name_, pid_, messages_, out_.size() + sending_.size(), walk_ != nullptr};
}

void ApiConnection::close() {
  if (!socket_.is_open()) return;
  error_code ignored;
  socket_.close(ignored);
  walk_.reset();
  server_.registry.subscriptions().remove_client(index_);
  server_.connections.erase(index_);
}

void ApiConnection::read() {
  socket_.async_read_some(
      asio::buffer(block_), [self = shared_from_this()](error_code e, std::size_t n) {
        if (!self->socket_.is_open()) return;
        if (e == asio::error::eof) {  // it may still read: `send requests; shut down; read`
          self->is_closing_ = true;
          return self->write();
        }
        if (e) return self->close();
        self->in_.insert(self->in_.end(), self->block_.begin(),
                         self->block_.begin() + static_cast<std::ptrdiff_t>(n));
        ::explicit_bzero(self->block_.data(), n);
        self->go_on();
      });
}

// Answers what has come, and reads on, unless a walk began: then that does it at its end.
void ApiConnection::go_on() {
  take_frames();
  if (!socket_.is_open()) return;
  write();
  if (socket_.is_open() && !walk_ && !is_closing_) read();
}

void ApiConnection::take_frames() {
  std::size_t at = 0;
  while (in_.size() - at >= kApiHeaderSize && !is_closing_ && !walk_) {
    const uint32_t length = frame_length(in_.data() + at);
    if (length == 0 || length > kMaxApiMessage) {
      ++server_.counters.bad_frames;
      complain(kFrame, "a frame of " + std::to_string(length) + " bytes; closed");
      return close();
    }
    if (in_.size() - at - kApiHeaderSize < length) break;
    take_message(std::span(in_).subspan(at + kApiHeaderSize, length));
    if (!socket_.is_open()) return;
    at += kApiHeaderSize + length;
  }
  // What is left may be the beginning of a secret: no copy of it stays behind its end.
  if (at == 0) return;
  const std::size_t left = in_.size() - at;
  std::memmove(in_.data(), in_.data() + at, left);
  ::explicit_bzero(in_.data() + left, at);
  in_.resize(left);
}

template <class F>
void ApiConnection::with_call(F&& fn) {
  ServerCall call(server_.registry, out_, index_, sending_.size(), server_.limits.pause_bytes,
                  this);
  fn(call);
  if (call.unknown())
    complain(kHandler, std::string("its answer is a ") + call.unknown() +
                           ", which is in no module; not sent");
}

void ApiConnection::take_message(std::span<std::byte> message) {
  ++messages_;
  ++server_.counters.messages;
  const bool has_id = message.size() >= 2;
  const uint16_t id = has_id ? ApiReader(message).number<uint16_t>() : uint16_t{0};
  if (!is_registered_ && id != kFirstMessageId) {
    ++server_.counters.unregistered;
    return complain(kUnregistered,
                    "message " + std::to_string(id) + " before sockclnt_create; ignored");
  }
  const ApiRegistry::Entry* entry = server_.registry.find(id);
  if (has_id && (!entry || !entry->handler.begin)) {
    ++server_.counters.unknown;
    answer_unanswered(id, message.subspan(2));
    return (void)check_queue();
  }
  ApiOutcome outcome = ApiOutcome::kMalformed;
  void* walk = nullptr;
  if (has_id) {
    server_.trace.add(index_, entry->info, message.subspan(2), entry->handler.secret);
    if (server_.requested) server_.requested(entry->info, index_, message.size());
    const ApiHandler handler = entry->handler;  // a copy: it may load a plugin, with more entries
    with_call([&](ApiCall& call) {
      outcome = handler.begin(handler, call, message.data() + 2, message.size() - 2, &walk);
    });
    const auto secret = secret_of(message.subspan(2), handler.secret);
    ::explicit_bzero(secret.data(), secret.size());
    if (outcome == ApiOutcome::kMore && handler.next && handler.end) {
      auto begun = std::make_shared<Walk>(handler, walk);
      if (!socket_.is_open()) return;
      walk_ = std::move(begun);
      step_later();
    }
  }
  if (outcome == ApiOutcome::kMalformed) {
    ++server_.counters.malformed;
    complain(kMalformed, "malformed message " + std::to_string(id) + " of " +
                             std::to_string(message.size()) + " bytes");
  }
  check_queue();
}

// `body`: of a message without a handler, behind its id.
void ApiConnection::answer_unanswered(uint16_t id, std::span<const std::byte> body) {
  const auto* answer = server_.unanswered.find(id);
  if (!answer || body.size() < answer->context_at + sizeof(uint32_t))
    return complain(kUnknown, "unknown message " + std::to_string(id) + "; ignored");
  std::vector<std::byte> reply = answer->body;
  std::copy_n(body.begin() + static_cast<std::ptrdiff_t>(answer->context_at), sizeof(uint32_t),
              reply.begin());
  ServerCall(server_.registry, out_, index_, sending_.size(), server_.limits.pause_bytes, this)
      .send_body(answer->reply, reply);
  complain(kUnknown, "message " + std::to_string(id) + " (" + server_.registry.find(id)->info.name +
                         ") is answered by nobody; told that it is unimplemented");
}

void ApiConnection::step_later() {
  asio::post(server_.io, [self = shared_from_this()] { self->step(); });
}

void ApiConnection::step() {
  if (!socket_.is_open()) return;
  const auto walk = walk_;
  ApiStep last = ApiStep::kSkip;
  bool has_room = true;
  was_woken_ = false;
  const auto began = std::chrono::steady_clock::now();
  with_call([&](ApiCall& call) {
    for (int i = 0; i < kStepsOfASlice && has_room; ++i) {
      last = walk->handler.next(walk->state, call);
      if (last == ApiStep::kEnd || last == ApiStep::kWait || !socket_.is_open()) return;
      has_room = call.has_room();
      if (last == ApiStep::kSkip && std::chrono::steady_clock::now() - began > kTimeOfASlice)
        return;
    }
  });
  if (!socket_.is_open()) return;
  if (last == ApiStep::kEnd) {
    walk_.reset();
    return go_on();
  }
  write();
  if (last == ApiStep::kWait && !was_woken_)
    wait_for_wake();
  else if (has_room)
    step_later();
  else
    waits_for_room_ = true;  // there is something to write, so that the write's end will come
}

// Nothing is read until the walk's end, so a client that leaves is noticed by its hanging up; one
// that has only shut its sending side down still reads.
void ApiConnection::wait_for_wake() {
  waits_for_wake_ = true;
  if (std::exchange(watches_end_, true)) return;
  socket_.async_wait(Socket::wait_error, [self = shared_from_this()](error_code e) {
    self->watches_end_ = false;
    if (!e && self->waits_for_wake_) self->close();
  });
}

std::function<void()> ApiConnection::waker() {
  return [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->was_woken_ = true;
    if (std::exchange(self->waits_for_wake_, false)) self->step_later();
  };
}

void ApiConnection::write() {
  if (!sending_.empty()) return;
  if (out_.empty()) {
    if (is_closing_) close();
    return;
  }
  sending_.swap(out_);
  asio::async_write(socket_, asio::buffer(sending_),
                    [self = shared_from_this()](error_code e, std::size_t) {
                      self->sending_.clear();
                      if (e) return self->close();
                      if (!self->socket_.is_open()) return;
                      self->write();
                      if (std::exchange(self->waits_for_room_, false)) self->step_later();
                    });
}

bool ApiConnection::check_queue() {
  if (out_.size() + sending_.size() <= server_.limits.queued_bytes) return true;
  ++server_.counters.slow_readers;
  complain(kSlow, "does not read what it is sent; closed");
  close();
  return false;
}

void ApiConnection::reach(const std::function<void(ApiCall&)>& fn) {
  with_call(fn);
  if (check_queue()) write();
}

void ApiConnection::complain(Offence kind, const std::string& what) {
  if (has_complained_[kind]) return;
  has_complained_[kind] = true;
  server_.log(LogLevel::kWarn, "client " + std::to_string(index_) + " (" +
                                   (name_.empty() ? "unnamed" : name_) + ", pid " +
                                   std::to_string(pid_) + "): " + what);
}

}  // namespace loom
