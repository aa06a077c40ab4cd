// Attach connections from the inside: what is said on them, and who comes and goes by them. Private
// to core/session/. Control thread.
#pragma once
#include <hostloom/secret.h>

#include <cstring>
#include <string>
#include <vector>

#include "session/impl.h"

namespace loom::session {

// --- attach_server.cc

struct Reply {
  svm::AttachReply body{};
  std::vector<int> fds;
  std::string more;  // follows the body
  Reply() { body.version = svm::kProtocolVersion; }
  void fail(Status s, const std::string& message) {
    body.status = static_cast<int32_t>(s);
    std::strncpy(body.message, message.c_str(), sizeof body.message - 1);
    fds.clear();
  }
  void add_segment(const svm::Segment& s) {
    if (body.n_segments == std::size(body.segments)) return;
    body.segments[body.n_segments++] = {s.id(), s.kind(), s.size()};
    fds.push_back(s.fd());
  }
};

void send_reply(int socket, const Reply&);
enum class Received { kRequest, kNothing, kEnd, kOtherVersion };
// `more`: takes what follows the request, which settings alone may have.
Received receive(int socket, svm::AttachRequest&, SecretString* more = nullptr);
// Whom a visitor's request makes: an application without workers, and one of its workers.
Result<App*> make_app(Impl&, const svm::AttachRequest&, const std::shared_ptr<Namespace>&);
Result<AppWorker*> make_worker(Impl&, App&, UniqueFd socket);
// What a new worker is told.
void describe(const Impl&, const App&, const AppWorker&, Reply&);

// --- process_end.cc

enum class Process : uint8_t { kGone, kMayLive };
// Its sessions and listeners are let go of, by reset with `abort`. The application may be gone on
// return. kMayLive: its queues' memory stays, as it may still write there.
void remove_worker(Impl&, App&, uint32_t index, bool abort, Process = Process::kGone);

}  // namespace loom::session
