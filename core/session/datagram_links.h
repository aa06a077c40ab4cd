// Cut-through of datagrams: links between two datagram sessions of this daemon's applications, one
// of which at least has the other as its peer. Each session stays what it is, with its transport,
// its ports and its own fifos; a link is one more way for what the two send each other, by fifos
// and bells that both applications map (svm/datagram_links.h). Private to core/session/.
//
// A link is made when a session gets its peer, if that is on the same worker, or later, when it is
// wanted (wanted_links.h). It ends when either session does or gets another peer, or when nothing
// has gone by it for a second and another wants its place; its memory goes when both applications
// have let go of it. Who has no link (kMaxDatagramLinks; too little memory; another worker) goes by
// the transport.
//
// Threads: the worker of both sessions.
#pragma once
#include <memory>
#include <vector>

#include "session/cut_through.h"
#include "svm/datagram_links.h"

namespace loom::session {

struct Session;

// The same flow as the other end sees it.
inline Endpoints turned(Endpoints e) noexcept {
  std::swap(e.local, e.remote);
  std::swap(e.local_port, e.remote_port);
  return e;
}

// What the two ends share here. In SessionWorker::datagram_links.
struct DatagramLink : LinkMemory {
  struct End {
    SessionId session = kNoSession;  // whose table has it in `slot`; kNoSession: it has let go
    uint32_t slot = 0;
  };
  bool is_open = false;
  TimeNs looked_at = -1;  // whether it is in use, for whichever end; -1: never
  uint32_t written = 0;   // by both ends, then
  Endpoints seen;         // by end 0
  End ends[2];
  // In the list of open ones of the applications' namespace; places, or kNoIndex.
  uint32_t ns = 0, newer = kNoIndex, older = kNoIndex;
};

// Open links by the index of their namespace, the newest first.
struct OpenLinks {
  std::vector<uint32_t> newest;   // kNoIndex, or not there: none
  uint32_t next_look = kNoIndex;  // where review_links goes on
  uint64_t looks = 0;             // of review_links
};

// A session that has, or has had, links. In SessionWorker::linked, by its id.
struct LinkedSession {
  struct Slot {
    uint32_t link = kNoIndex;  // in SessionWorker::datagram_links; kNoIndex: free
    uint32_t end = 0;
    uint32_t serial = 0;
    svm::Endpoint remote{};
  };
  svm::DatagramLinks* shared = nullptr;
  svm::Ref ref = 0;
  uint32_t version = 0;
  TimeNs next_look = 0;  // for links that nobody uses
  std::vector<Slot> slots;
};

// Whom a session of the application with these ends would reach without leaving this host; nullptr:
// nobody, or by the transport only. The local end may be incomplete. `elsewhere`: the worker on
// which it lives, when that is another one, else this one.
Session* find_datagram_peer(SessionWorker&, const App&, TransportId, const Endpoints&,
                            uint32_t* elsewhere = nullptr) noexcept;
// Whether no rule, of either scope, and no deny list is against what one of the two sends the
// other.
bool may_link(SessionWorker&, const Session&, const Session& to, const Endpoints&) noexcept;
// Links the session with its peer, or with one of those that it has without one, if there is a pair
// of their applications and room.
void link_datagrams(SessionWorker&, Session&, const Endpoints&, bool has_peer = true) noexcept;
// Ends all links of the session but the one with `keep`; nullptr: the session has ended. has_died:
// its application has ended without closing it, and a peer that waits for it is told.
void end_links(SessionWorker&, Session&, const svm::Endpoint* keep = nullptr,
               bool has_died = false) noexcept;
// The session is being freed.
void release_links(SessionWorker&, Session&) noexcept;
// The session's events go to another worker of its application.
void set_link_owners(SessionWorker&, Session&, uint32_t worker) noexcept;
// Rules or deny lists have changed: links of the namespace whose datagrams one of them is against, in
// whichever direction, end, and the transport asks for each. Control thread; in slices (control.h).
constexpr uint32_t kAllNamespaces = ~0u;
void review_links(SessionLayer::Impl&, uint32_t ns = kAllNamespaces);
// Requests: the application has let go of a link; it cannot ring the other end.
void link_done(SessionWorker&, const App&, const svm::LinkEvent&) noexcept;
void link_ring(SessionWorker&, const App&, const svm::LinkEvent&) noexcept;

struct LinkFigures {
  struct One {
    svm::Endpoint remote{};
    bool is_open = false;  // else it has ended, and is still read
    // As the session's application says.
    uint32_t unread = 0;   // bytes, headers included
    bool is_rung = false;  // by the next datagram: somebody waits
  };
  uint32_t open = 0;
  uint64_t dropped = 0;  // datagrams for the session, as the peers of its links say
  std::vector<One> links;
};
LinkFigures link_figures(SessionWorker&, const Session&);

}  // namespace loom::session
