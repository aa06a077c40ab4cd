#include "peer.h"

#include "device.h"
#include "memifs.h"

namespace loom::memif {
namespace {

constexpr int kMessagesPerCall = 32;  // other control work has its turn

Error unexpected() { return error(Status::kMalformed, "Unexpected message"); }

}  // namespace

Peer::Peer(Memifs& m, uint32_t socket_id, const RingLimits& limits, Channel c)
    : memifs_(m),
      channel_(std::move(c)),
      uid_(channel_.peer_uid()),
      socket_id_(socket_id),
      limits_(limits),
      is_master_(true) {}

Peer::Peer(Memifs& m, Device& d, Channel c)
    : memifs_(m),
      channel_(std::move(c)),
      uid_(channel_.peer_uid()),
      socket_id_(d.config.socket_id),
      device_(&d),
      is_master_(false) {}

Peer::~Peer() {
  if (watch_) memifs_.host().unwatch_fd(watch_);
}

bool Peer::begin() {
  if (is_master_ && !channel_.send(hello_message(memifs_.our_name(), limits_))) return false;
  watch_ = memifs_.host().watch_fd(channel_.fd(), on_readable, this);
  return true;
}

void Peer::on_readable(void* self) {
  auto& peer = *static_cast<Peer*>(self);
  for (int i = 0; i < kMessagesPerCall && peer.read_one();) ++i;
}

bool Peer::read_one() {
  Message m;
  UniqueFd fd;
  switch (channel_.receive(m, fd)) {
    case Received::kNothing:
      return false;
    case Received::kClosed:
      memifs_.lose(*this, "the peer has gone", /*tell=*/false);
      return false;
    case Received::kMalformed:
      memifs_.lose(*this, "Invalid message size", /*tell=*/true);
      return false;
    case Received::kMessage:
      break;
  }
  if (m.is(MessageType::kDisconnect)) {
    memifs_.lose(*this, "the peer says: " + text_of(m.disconnect.reason), /*tell=*/false);
    return false;
  }
  auto done = handle(m, std::move(fd));
  if (done) return true;
  memifs_.lose(*this, done.error().message, /*tell=*/true);
  return false;
}

Result<void> Peer::handle(const Message& m, UniqueFd fd) {
  if (is_connected_) return unexpected();
  return is_master_ ? handle_as_master(m, std::move(fd)) : handle_as_slave(m);
}

Result<void> Peer::handle_as_master(const Message& m, UniqueFd fd) {
  const auto type = static_cast<MessageType>(m.type);
  auto* side = std::get_if<MasterSide>(&side_);
  if ((type == MessageType::kInit) == (side != nullptr)) return unexpected();
  Result<void> done;
  switch (type) {
    case MessageType::kInit: {
      auto claimed = memifs_.claim(*this, m.init);
      if (!claimed) return claimed.error();
      device_ = *claimed;
      name_ = text_of(m.init.name);
      side_.emplace<MasterSide>(device_->config, limits_);
      break;
    }
    case MessageType::kAddRegion:
      done = side->add_region(m.add_region, std::move(fd));
      break;
    case MessageType::kAddRing:
      done = side->add_ring(m.add_ring, std::move(fd));
      break;
    case MessageType::kConnect: {
      done = connected(side->connect(), m.connect);
      Message reply(MessageType::kConnected);
      put_text(reply.connect.interface_name, device_->name);
      if (done && !channel_.send(reply)) return error(Status::kIo, "Peer does not read");
      return done;
    }
    default:
      return unexpected();
  }
  if (done && !channel_.send(Message(MessageType::kAck)))
    return error(Status::kIo, "Peer does not read");
  return done;
}

Result<void> Peer::handle_as_slave(const Message& m) {
  const auto type = static_cast<MessageType>(m.type);
  auto* side = std::get_if<SlaveSide>(&side_);
  if ((type == MessageType::kHello) == (side != nullptr)) return unexpected();
  switch (type) {
    case MessageType::kHello: {
      auto answer = SlaveSide::answer(device_->config, m.hello, memifs_.our_name(), device_->name);
      if (!answer) return answer.error();
      name_ = text_of(m.hello.name);
      return side_.emplace<SlaveSide>(std::move(*answer)).send_next(channel_);
    }
    case MessageType::kAck:
      return side->send_next(channel_);
    case MessageType::kConnected:
      return connected(side->connect(), m.connect);
    default:
      return unexpected();
  }
}

Result<void> Peer::connected(Result<std::unique_ptr<Link>> link, const Connect& c) {
  if (!link) return link.error();
  if (auto done = memifs_.attach(*device_, std::move(*link)); !done) return done;
  is_connected_ = true;
  side_.emplace<std::monostate>();
  memifs_.note_connected(*device_, name_, text_of(c.interface_name));
  return {};
}

}  // namespace loom::memif
