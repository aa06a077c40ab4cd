// Links that sending asks for: of sessions without a peer, and of peers that were bound after the
// connect. Who sends by its transport to one of this host's addresses in two rounds, whichever, is
// taken to go on, and linked as one that connects (datagram_links.h), if it can be. Private to
// core/session/.
//
// Threads: the worker of both sessions.
#pragma once
#include <array>

#include "session/session.h"

namespace loom::session {

struct SessionWorker;

// What has been sent where lately, as far as there is room: of two with one place the later counts.
struct WantedLinks {
  static constexpr TimeNs kLookAgain = 100 * kMillisecond;  // also when it was in vain
  struct Way {
    uint64_t key = 0;  // of session and destination
    uint32_t rounds = 0;
    TimeNs not_before = 0;
  };
  std::array<Way, 256> ways;
};

// The session has sent by its transport: to the peer that it has, or where `to` says.
void want_link(SessionWorker&, Session&, const Endpoints* to) noexcept;

}  // namespace loom::session
