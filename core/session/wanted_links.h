// Links that sending asks for: of sessions without a peer, and of peers that were bound after the
// connect. Who sends by its transport to one of this host's addresses in two rounds, whichever, is
// taken to go on, and linked as one that connects (datagram_links.h), if it can be. Private to
// core/session/.
//
// Threads: the worker of both sessions.
#pragma once
#include <array>

#include <hostloom/transport.h>
#include <hostloom/types.h>

namespace loom::session {

struct Session;
struct SessionWorker;

// What one application has sent where lately, by one worker. It has a table of its own: what it
// does with it, others' links do not notice. A destination has kPlaces; where all are taken one of
// them, whichever, makes room, so that of those who come in turn some stay.
class WantedLinks {
 public:
  static constexpr TimeNs kLookAgain = 100 * kMillisecond;  // also when it was in vain
  static constexpr uint32_t kPlaces = 4, kSets = 64;

  // One more round in which it was sent there. True: look for the peer.
  bool note(uint64_t key, TimeNs now) noexcept;

 private:
  struct Way {
    uint64_t key = 0;  // of session and destination
    TimeNs not_before = 0;
    uint32_t rounds = 0;
  };
  std::array<Way, kSets * kPlaces> ways_;
  uint32_t next_ = 0;  // who makes room
};

// Whether sending makes links for the session at all.
bool may_want_links(const Session&) noexcept;

// One of those has sent by its transport: to the peer that it has, or where `to` says.
void want_link(SessionWorker&, Session&, const Endpoints* to) noexcept;

}  // namespace loom::session
