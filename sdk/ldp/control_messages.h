// Control messages of a received datagram, written into the program's msghdr.
#pragma once
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace loom::ldp {

// Appends them while there is room; MSG_CTRUNC says that one had none. msg_controllen is what they
// take, once this is gone.
class Control {
 public:
  explicit Control(msghdr& m) noexcept : m_(m), room_(m.msg_control ? m.msg_controllen : 0) {}
  ~Control() { m_.msg_controllen = used_; }
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  template <class T>
  void put(int level, int type, const T& value) noexcept {
    if (room_ - used_ < CMSG_LEN(sizeof value)) {
      m_.msg_flags |= MSG_CTRUNC;
      return;
    }
    cmsghdr header{};
    header.cmsg_len = CMSG_LEN(sizeof value);
    header.cmsg_level = level;
    header.cmsg_type = type;
    auto* at = static_cast<std::byte*>(m_.msg_control) + used_;
    std::memcpy(at, &header, sizeof header);
    std::memcpy(at + CMSG_LEN(0), &value, sizeof value);
    used_ = std::min(used_ + CMSG_SPACE(sizeof value), room_);
  }

 private:
  msghdr& m_;
  size_t room_, used_ = 0;
};

}  // namespace loom::ldp
