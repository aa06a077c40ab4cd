// SO_BINDTODEVICE and SO_BINDTOIFINDEX: the only interface that a socket sends and hears by (man 7
// socket), named as Hostloom names it, or by a number: the kernel's for the interface of that name
// (if_nametoindex() is the kernel's), or else Hostloom's and one, as IP_PKTINFO has it.
//
// One of Hostloom's, where the application is, counts when the socket becomes Hostloom's. One that
// the kernel alone has makes the socket the kernel's at once.
#pragma once
#include <sys/socket.h>

#include <string>

#include "vcl/session.h"

namespace loom::ldp {

// As a program names one, or as it is: then both. Nothing: any.
struct Device {
  uint32_t number = 0;  // Linux's
  std::string name;
  bool is_any() const noexcept { return name.empty() && number == 0; }
};

bool is_device_option(int level, int name) noexcept;
// What setsockopt() is given; names may be longer than the kernel's. 0 or a negative errno.
int read_device(int option, const void* value, socklen_t len, Device& out);
// Asks the daemon, by name or, without one, by number. 0 or a negative errno: -ENODEV, there is
// none.
int find_device(vcl::AppWorker&, bool is_ip4, const Device& wanted, Device& out);
// What getsockopt() writes. 0 or a negative errno.
int give_device(int option, const Device& d, void* value, socklen_t* len);

// Of a candidate (candidate_device.cc), which may be the kernel's then. 0 or a negative errno.
int set_candidate_device(int fd, int name, const void* value, socklen_t len);
// 1: the kernel is to answer.
int get_candidate_device(int fd, int name, void* value, socklen_t* len);

// Of a session; of a stream before it is opened, or what it has already, else -ENOPROTOOPT.
int set_device(vcl::Session& s, int name, const void* value, socklen_t len);
int get_device(vcl::Session& s, int name, void* value, socklen_t* len);

}  // namespace loom::ldp
