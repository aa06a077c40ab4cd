#include "ldp/arrival.h"

#include <linux/net_tstamp.h>
#include <linux/sockios.h>
#include <sys/time.h>

#include <cerrno>
#include <ctime>

namespace loom::ldp {
namespace {

using vcl::Session;

// Of Session::arrival. At most one of the first two; kNew: the option's number is a _NEW one, by
// which 32-bit programs ask for times of 64 bits.
enum ArrivalBit : uint8_t {
  kMicroseconds = 1u << 0,
  kNanoseconds = 1u << 1,
  kNew = 1u << 2,
  kDrops = 1u << 3,
  kAsked = 1u << 4,  // SIOCGSTAMP
};
// The options' numbers, which are their control messages' types as well.
constexpr int kStamp = 29, kStampNs = 35, kStamping = 37;
constexpr int kNewStamp = 63, kNewStampNs = 64, kNewStamping = 65;
constexpr int kKnownStamping = (1 << 18) - 1;  // SOF_TIMESTAMPING_*

timespec spec_of(TimeNs t) noexcept {
  return {static_cast<time_t>(t / kSecond), static_cast<long>(t % kSecond)};
}
timeval val_of(TimeNs t) noexcept {
  return {static_cast<time_t>(t / kSecond), static_cast<suseconds_t>(t % kSecond / kMicrosecond)};
}
static_assert(sizeof(timespec) == 16 && sizeof(timeval) == 16);  // old and new are one

TimeNs wall_now() noexcept {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

void change(Session& s, uint8_t off, uint8_t on) {
  const auto bits = static_cast<uint8_t>((s.arrival.load() & ~off) | on);
  s.arrival.store(bits);
  const bool is_told = (bits & ~kNew) != 0 || s.stamping.load() != 0;
  s.change_options([=](svm::SocketOptions& o) { o.arrival = is_told; });
}

}  // namespace

bool is_arrival_option(int level, int name) noexcept {
  if (level != SOL_SOCKET) return false;
  switch (name) {
    case kStamp:
    case kStampNs:
    case kStamping:
    case kNewStamp:
    case kNewStampNs:
    case kNewStamping:
    case SO_RXQ_OVFL:
      return true;
    default:
      return false;
  }
}

int set_arrival_option(Session& s, int name, int number) {
  const bool is_new = name >= kNewStamp;
  switch (name) {
    case SO_RXQ_OVFL:
      change(s, kDrops, number != 0 ? kDrops : 0);
      return 0;
    case kStamping:
    case kNewStamping:
      if (number & ~kKnownStamping) return -EINVAL;
      s.stamping.store(static_cast<uint32_t>(number));
      change(s, kNew, is_new ? kNew : 0);
      return 0;
    default: {
      constexpr uint8_t kBoth = kMicroseconds | kNanoseconds;
      if (number == 0) {
        change(s, kBoth, 0);
        return 0;
      }
      const bool is_ns = name == kStampNs || name == kNewStampNs;
      change(s, kBoth | kNew,
             static_cast<uint8_t>((is_ns ? kNanoseconds : kMicroseconds) | (is_new ? kNew : 0)));
      return 0;
    }
  }
}

size_t get_arrival_option(Session& s, int name, int (&out)[2]) {
  const uint8_t bits = s.arrival.load();
  const bool is_new = bits & kNew;
  out[0] = out[1] = 0;
  switch (name) {
    case SO_RXQ_OVFL:
      out[0] = (bits & kDrops) != 0;
      return sizeof(int);
    case kStamping:
    case kNewStamping:  // and what clock, which is the host's
      if (name == kStamping || is_new) out[0] = static_cast<int>(s.stamping.load());
      return sizeof out;
    case kStampNs:
    case kNewStampNs:
      out[0] = (bits & kNanoseconds) && is_new == (name == kNewStampNs);
      return sizeof(int);
    default:
      out[0] = (bits & kMicroseconds) && is_new == (name == kNewStamp);
      return sizeof(int);
  }
}

void give_arrival(Session& s, const svm::DatagramHeader& h, Control& control) {
  const uint8_t bits = s.arrival.load(std::memory_order_relaxed);
  const uint32_t stamping = s.stamping.load(std::memory_order_relaxed);
  if (bits == 0 && stamping == 0) [[likely]]
    return;
  // What came before the option was set has the time of now.
  const bool is_stamped = bits & (kMicroseconds | kNanoseconds);
  const TimeNs at = h.time == 0 && is_stamped ? wall_now() : h.time;
  if (bits & kMicroseconds)
    control.put(SOL_SOCKET, bits & kNew ? kNewStamp : kStamp, val_of(at));
  else if (bits & kNanoseconds)
    control.put(SOL_SOCKET, bits & kNew ? kNewStampNs : kStampNs, spec_of(at));
  if ((stamping & SOF_TIMESTAMPING_SOFTWARE) && at != 0) {
    const timespec all[3] = {spec_of(at), {}, {}};  // there are no devices' times
    control.put(SOL_SOCKET, bits & kNew ? kNewStamping : kStamping, all);
  }
  if ((bits & kDrops) && h.dropped != 0) control.put(SOL_SOCKET, SO_RXQ_OVFL, h.dropped);
}

bool is_stamp_request(unsigned long request) noexcept {
  return request == SIOCGSTAMP || request == SIOCGSTAMPNS;
}

int give_last_arrival(Session& s, unsigned long request, void* argument) {
  if (!(s.arrival.load() & kAsked)) change(s, 0, kAsked);
  TimeNs at = s.last_datagram().time;
  if (at < 0) return -ENOENT;
  if (at == 0) at = wall_now();  // it came before anybody asked
  if (!argument) return -EFAULT;
  const timespec spec = spec_of(at);
  const timeval val = val_of(at);
  std::memcpy(argument, request == SIOCGSTAMP ? static_cast<const void*>(&val) : &spec, 16);
  return 0;
}

}  // namespace loom::ldp
