#include "ldp/fd_table.h"

namespace loom::ldp {

constinit ObjectTable fds;

Held<Session> session_behind(int fd) {
  Held<Object> o = fds.get(fd);
  if (!o || o->kind() != Object::Kind::kSession) return {};
  return Held<Session>(static_cast<Session*>(o.release()));
}

Held<EpollSet> epoll_set_at(int fd) {
  Held<Object> o = fds.get(fd);
  if (!o || o->kind() != Object::Kind::kEpollSet) return {};
  return Held<EpollSet>(static_cast<EpollSet*>(o.release()));
}

bool enter(int fd, Object* object) noexcept {
  uintptr_t old = ObjectTable::kNone;
  if (!fds.set(fd, reinterpret_cast<uintptr_t>(object), &old)) return false;
  // Somebody closed the number past this library.
  if (old > ObjectTable::kLastMark) reinterpret_cast<Object*>(old)->unref();
  return true;
}

}  // namespace loom::ldp
