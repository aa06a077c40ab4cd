// The session layer: applications, sessions, lookup tables and the attach sockets, over any
// transport.
//
// Threads: construction, start(), stop() and the show functions on the control thread; SessionOps
// on workers.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/app.h>
#include <hostloom/host.h>
#include <hostloom/session.h>

#include "session/session_config.h"

namespace loom {

class Engine;
class Net;
class TransportRegistry;

// How many there are at the moment.
struct SessionStats {
  std::vector<uint32_t> per_worker;         // sessions
  uint64_t established = 0, half_open = 0;  // flows in the lookup tables
  uint64_t listeners = 0, applications = 0;
  uint64_t segment_bytes = 0, segment_used_bytes = 0;  // of applications' shared memory
};

enum class DrainState : uint8_t { kOff, kDraining, kDrained };

// How far draining (drain.cc) is.
struct DrainStatus {
  DrainState state = DrainState::kOff;
  uint32_t timeout_s = 0;  // 0 = none
  TimeNs elapsed = 0;
  uint64_t sessions = 0, half_open = 0;  // at the moment
  uint64_t refused_packets = 0, refused_apps = 0;
  uint64_t resets = 0;  // sessions that the timeout ended
};

class SessionLayer {
 public:
  // All four outlive the layer.
  SessionLayer(SessionConfig, Engine&, TransportRegistry&);
  ~SessionLayer();
  SessionLayer(const SessionLayer&) = delete;
  SessionLayer& operator=(const SessionLayer&) = delete;

  // Adds the node "session-queue", the worker hooks and Worker::sessions. After the engine has its
  // workers, before they run.
  Result<void> build();

  // Where namespaces' tables and interfaces are looked up. Before start(), or never: then there is
  // table 0 alone. It may outlive the layer, or not.
  void use(Net& net);

  // Calls fn on the control thread whenever fd is readable; stop with unwatch. Given by the
  // daemon's event loop.
  struct ControlLoop {
    std::function<uint64_t(int fd, std::function<void()> fn)> watch_fd;
    std::function<void(uint64_t handle)> unwatch_fd;
    std::function<uint64_t(double seconds, std::function<void()> fn)>
        after;  // once; never cancelled
    std::function<void(LogLevel, const std::string&)> log;
  };
  // Opens the attach sockets. Errors name the path.
  Result<void> start(ControlLoop);
  // Applications see their sessions reset and their attach connection end. Workers may run or not.
  void stop();

  // While it runs. Disabled: applications have lost their sessions, and none can attach. kIo: the
  // attach socket is not to be had.
  Result<void> set_enabled(bool enabled);
  // The attach socket alone: while it is disabled nobody new comes, and who is attached goes on,
  // its children too. It is there while both are enabled, in whatever order that was asked for.
  // kIo: as above.
  Result<void> set_attach_socket(bool enabled);

  const std::string& default_socket_path() const;
  SessionStats stats() const;  // asks no worker

  // In-process applications (hostloom/app.h). Control thread.
  Result<Application*> add_application(const AppOps&, const AppConfig&);
  void remove_application(Application&);
  Result<SessionHandle> listen(Application&, const AppEndpoint& local, void* context);
  Status unlisten(Application&, SessionHandle listener);
  // HostOps::app_listen_for.
  Result<SessionHandle> listen_for(Application&, SessionId upper, const AppEndpoint& how,
                                   void* context);

  // HostOps::endpoint_settings. Any thread.
  Status endpoint_settings(uint32_t named, uint32_t number, std::string* out) const;

  struct Impl;
  Impl& impl() noexcept { return *impl_; }  // for core/session/

 private:
  std::unique_ptr<Impl> impl_;
};

Result<void> register_session_commands(Host&, SessionLayer&);

}  // namespace loom
