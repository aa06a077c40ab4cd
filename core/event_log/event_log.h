// What has happened in the daemon lately, beside its packets: who slept, which commands and
// requests came, what was loaded, and when, for an operator who looks back. A ring a thread.
//
// Threads: write() on the thread that the event is of; everything else on the control thread.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <hostloom/status.h>

#include "event_log/event_ring.h"

namespace loom {

// number, value and text of each are said behind it. Kept in files by name: append only.
enum class EventKind : uint16_t {
  kSleep,      // a worker begins to wait; value: ns until its next timer, 0: no timer runs
  kWake,       // value: ns that it slept
  kBarrier,    // all workers stood still; value: ns; number: us until the last one stood
  kApi,        // a request of the binary API; number: client; value: bytes; text: message
  kCli,        // a command was run; number: Status; text: line
  kInterface,  // came, changed or went; number: index; value: kEvent...; text: name
  kPlugin,     // changed its state; number: PluginState; text: name and state
  kAttach,  // a process of an application; number: index; value: pid, 0: inside the daemon; text:
            // name
  kDetach,
  // A step in the life of a session, on its worker; value: its handle; text: transport and
  // application. Every handle begins with the first or the second and ends with kSessionFree.
  kSessionOpen,       // an application asks for a connection
  kSessionAccept,     // a peer has come
  kSessionConnected,  // what came of kSessionOpen; number: Status
  kSessionClose,  // the application is done with it; number: 1 when it does not wait for the end
  kSessionReset,  // the connection is lost; number: ResetReason
  kSessionMove,   // it came here from worker `number`
  kSessionFree,
  kCount
};
// In the value of a kInterface.
constexpr uint64_t kEventAdminUp = 1, kEventLinkUp = 2, kEventDeleted = 4;

// What can be switched; what is in none of them is always kept.
enum class EventTrace : uint8_t { kApi, kCli, kBarrier, kDispatch, kSession, kCount };
constexpr const char* kEventTraceNames[] = {"api", "cli", "barrier", "dispatch", "session"};
const char* event_kind_name(EventKind) noexcept;

class EventLog {
 public:
  // A thread. At most what the control thread can show or save without being away for long.
  static constexpr uint32_t kDefaultSize = 8192, kLeastSize = 64, kMostSize = 1u << 16;
  static constexpr uint32_t kControl = 0;
  static constexpr uint32_t worker_thread(uint32_t worker) { return 1 + worker; }

  explicit EventLog(uint32_t n_workers, uint32_t size = kDefaultSize);

  bool is_on(EventKind kind) const noexcept {
    return on_.load(std::memory_order_relaxed) >> static_cast<unsigned>(kind) & 1;
  }
  void write(uint32_t thread, TimeNs time, EventKind kind, uint32_t number, uint64_t value,
             std::string_view text = {}) noexcept {
    if (is_on(kind)) rings_[thread]->write(time, kind, number, value, text);
  }

  void set_stopped(bool stopped) noexcept {
    is_stopped_ = stopped;
    update();
  }
  bool is_stopped() const noexcept { return is_stopped_; }
  void set_trace(EventTrace, bool on) noexcept;
  bool is_traced(EventTrace t) const noexcept { return traced_ >> static_cast<unsigned>(t) & 1; }
  void clear();
  // Begins with an empty log. `while_still` calls what it is given while the workers stand still:
  // memory is taken before that and given back behind it. kInvalid, kNoMemory: nothing changes.
  using WhileStill = std::function<void(const std::function<void()>&)>;
  Result<void> resize(uint32_t size, const WhileStill& while_still);
  uint32_t size() const { return static_cast<uint32_t>(rings_[0]->size()); }

  // The latest `most` of those that are still there, oldest first.
  std::vector<LoggedEvent> read(std::size_t most = ~std::size_t{0}) const;
  uint64_t n_written() const;  // since clear()
  uint64_t n_kept() const;     // of these

 private:
  void update() noexcept;

  std::vector<std::unique_ptr<EventRing>> rings_;  // by thread
  std::vector<uint64_t> first_;                    // number of the first event since clear()
  std::atomic<uint32_t> on_{0};                    // a bit for each kind
  uint32_t traced_ = 0;                            // a bit for each trace
  bool is_stopped_ = false;
};

// "loom-main", "loom-w0".
std::string event_thread_name(uint32_t thread);
// A sentence about what is in the event, without what cannot be printed.
std::string describe_event(const LoggedEvent&);
// A line of JSON for each, behind one that says what time it was when: README.md. kIo, kPermission.
Result<void> save_events(std::span<const LoggedEvent>, const std::string& path, TimeNs now);

}  // namespace loom
