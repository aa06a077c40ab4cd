// News of the kernel about its interfaces, in the network namespace of whoever opens this (RFC
// 3549).
#pragma once
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

#include <hostloom/unique_fd.h>

namespace loom {

// Becomes readable when an interface comes, goes or changes; does not wait. None: errno says why.
inline UniqueFd open_link_monitor() noexcept {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl to{};
  to.nl_family = AF_NETLINK;
  to.nl_groups = RTMGRP_LINK;
  if (fd && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return UniqueFd();
  return fd;
}

// Reads all news: what they are about has to be looked at. Lost news (ENOBUFS) are no reason to
// stop: whoever drains looks at the interface itself.
inline void drain_link_news(int monitor) noexcept {
  char bytes[8192];
  while (::recv(monitor, bytes, sizeof bytes, 0) > 0 || errno == ENOBUFS || errno == EINTR) {}
}

}  // namespace loom
