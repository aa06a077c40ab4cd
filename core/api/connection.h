// One client of the API server: its frames, its queue of answers, and the dump it is being sent.
//
// Requests are answered in the order in which they came. While a dump goes on, the client's next
// requests wait in its socket, and nothing is read from it. The dump is sent in slices: a slice is
// a bounded number of steps, and of time for those that find nothing; the next one is posted behind
// whatever else the loop has to do, as soon as the client has read enough. So a dump of any length
// costs this much memory and no more, and a client that stops reading in the middle costs nothing
// but its queue.
//
// Events do not wait for the client; its queue is bounded, and one event too many ends it.
#pragma once
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>  // Boost 1.74's asio/awaitable.hpp uses std::exchange without including it
#include <vector>

#include <boost/asio.hpp>

#include <hostloom/secret.h>

#include "api/server.h"
#include "api/unanswered.h"

namespace loom {

class ApiConnection;

// What the connections of a server share. It outlives them.
struct ApiServerState {
  boost::asio::io_context& io;
  ApiRegistry& registry;
  ApiServer::Log log;
  ApiServer::Limits limits;
  ApiServer::Counters counters{};
  ApiTrace trace{};
  UnansweredRequests unanswered{registry};
  ApiServer::Requested requested{};
  std::map<uint32_t, std::shared_ptr<ApiConnection>> connections{};  // by client index
};

// Kept alive by its pending operations; reaches the server's state only while it is open, and the
// server closes every connection before it goes.
class ApiConnection : public std::enable_shared_from_this<ApiConnection> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;
  ApiConnection(ApiServerState& server, Socket socket, uint32_t index);

  void read();
  void close();
  // sockclnt_create came, or sockclnt_delete, whose reply is the last.
  void set_registered(std::string name);
  void close_after_write() { is_closing_ = true; }
  // Runs fn with a call of this client's and sends what it leaves in the queue.
  void reach(const std::function<void(ApiCall&)>& fn);
  // ApiCall::waker.
  std::function<void()> waker();
  ApiServer::Client describe() const;

 private:
  enum Offence { kUnknown, kMalformed, kUnregistered, kFrame, kSlow, kHandler, kOffences };
  struct Walk {  // a dump in progress
    ApiHandler handler;
    void* state;
    Walk(const ApiHandler& h, void* s) : handler(h), state(s) {}
    Walk(const Walk&) = delete;
    ~Walk() { handler.end(state); }
  };

  void take_frames();
  void take_message(std::span<std::byte> message);
  void answer_unanswered(uint16_t id, std::span<const std::byte> body);
  void go_on();
  void step_later();
  void step();
  void wait_for_wake();
  void write();
  bool check_queue();
  void complain(Offence kind, const std::string& what);
  template <class F>
  void with_call(F&& fn);

  ApiServerState& server_;
  Socket socket_;
  uint32_t index_;
  int32_t pid_ = 0;
  std::string name_;
  uint64_t messages_ = 0;
  bool is_registered_ = false;
  bool is_closing_ = false;      // once everything is written
  bool waits_for_room_ = false;  // the walk, for a write to finish
  bool waits_for_wake_ = false;  // the walk, for its waker
  bool was_woken_ = false;       // before the walk said that it waits
  bool watches_end_ = false;     // the socket, for its client's hanging up
  std::shared_ptr<Walk> walk_;   // shared: a step may end its own connection
  std::array<bool, kOffences> has_complained_{};
  std::array<std::byte, 64u << 10> block_;
  std::vector<std::byte, ClearingAllocator<std::byte>>
      in_;                                // between reads: less than a frame, unless a walk goes on
  std::vector<std::byte> out_, sending_;  // answers; sending_ is what the kernel is being given
};

}  // namespace loom
