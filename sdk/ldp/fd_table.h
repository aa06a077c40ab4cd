// From descriptors to what they stand for: a session, an epoll set, a kernel socket that may still
// become a session, or a descriptor of the library's own.
//
// Every descriptor here is open in the kernel too (an eventfd for a session), so that numbers are
// the kernel's to give. An entry is removed before its number is closed, and entered after it was
// opened. Readers take no lock and no reference on descriptors that are the kernel's.
#pragma once
#include "vcl/app_worker.h"
#include "vcl/object_table.h"

namespace loom::ldp {

using vcl::EpollSet;
using vcl::Held;
using vcl::Object;
using vcl::ObjectTable;
using vcl::Session;

extern ObjectTable fds;

Held<Session> session_behind(int fd);

inline Held<Session> session_at(int fd) {
  if (!fds.holds_object(fd)) [[likely]]
    return {};
  return session_behind(fd);
}
Held<EpollSet> epoll_set_at(int fd);

inline bool is_candidate(int fd) noexcept { return fds.raw(fd) == ObjectTable::kCandidate; }
// A descriptor of the library's own: the program cannot know of it.
inline bool is_internal(int fd) noexcept { return fds.raw(fd) == ObjectTable::kInternal; }

// Enters the object, whose reference it takes over, at a number that is open in the kernel.
bool enter(int fd, Object* object) noexcept;

}  // namespace loom::ldp
