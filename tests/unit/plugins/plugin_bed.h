// What a plugin with in-process applications sees of the daemon: a session layer that the test
// steps, in virtual time, a command line, and the binary API without a socket.
#pragma once
#include <gtest/gtest.h>

#include <deque>
#include <string>

#include "api/registry.h"
#include "cli/tree.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {

class PluginBed {
 public:
  explicit PluginBed(SessionConfig config = {}, uint32_t n_workers = 1)
      : bed(std::move(config), SessionBed::Network::kNone, n_workers) {
    ops_.struct_size = sizeof ops_;
    ops_.n_workers = [](Host& h) { return of(h).bed.engine->n_workers(); };
    ops_.run_on_worker = [](Host& h, uint32_t i, void (*fn)(Worker&, void*), void* arg) {
      of(h).bed.engine->run_on_worker(i, [&](Worker& w) { fn(w, arg); });
    };
    ops_.add_cli_command = [](Host& h, const CliCommand* c, std::string*) {
      of(h).commands_.push_back(*c);
      return of(h).cli.add(of(h).commands_.back()) ? Status::kOk : Status::kExists;
    };
    ops_.add_application = [](Host& h, const AppOps* a, const AppConfig* c, Application** out,
                              std::string* why) {
      return answer(of(h).bed.layer->add_application(*a, *c), out, why);
    };
    ops_.remove_application = [](Host& h, Application* a) {
      of(h).bed.layer->remove_application(*a);
    };
    ops_.app_listen = [](Host& h, Application* a, const AppEndpoint* e, void* context,
                         SessionHandle* out, std::string* why) {
      return answer(of(h).bed.layer->listen(*a, *e, context), out, why);
    };
    ops_.app_unlisten = [](Host& h, Application* a, SessionHandle l) {
      return of(h).bed.layer->unlisten(*a, l);
    };
    ops_.app_listen_for = [](Host& h, Application* a, SessionId upper, const AppEndpoint* e,
                             void* context, SessionHandle* out, std::string* why) {
      return answer(of(h).bed.layer->listen_for(*a, upper, *e, context), out, why);
    };
    ops_.with_barrier = [](Host& h, void (*fn)(void*), void* arg) {
      of(h).bed.engine->run_on_worker(0, [&](Worker&) { fn(arg); });
    };
    ops_.endpoint_settings = [](Host& h, uint32_t named, uint32_t number, std::string* out) {
      ++of(h).settings_read;
      return of(h).bed.layer->endpoint_settings(named, number, out);
    };
    ops_.add_transport = [](Host& h, const TransportOps* t, TransportId* out, std::string* why) {
      return answer(of(h).bed.transports.add(*t), out, why);
    };
    ops_.allocate_worker_slot = [](Host& h) { return of(h).worker_slots_++; };
    ops_.add_config_stanza = [](Host& h, const ConfigStanza* s, std::string*) {
      of(h).stanza = *s;
      return Status::kOk;
    };
    ops_.add_api_module = [](Host& h, const ApiModule* m, std::string*) {
      return of(h).registry.add_module(*m) ? Status::kOk : Status::kExists;
    };
    ops_.add_api_handler = [](Host& h, const ApiHandler* a, std::string*) {
      return of(h).registry.add_handler(*a) ? Status::kOk : Status::kExists;
    };
    ops_.add_stats = [](Host& h, const StatSet* s, std::string*) {
      of(h).stats = *s;
      return Status::kOk;
    };
    ops_.watch_fd = [](Host& h, int fd, void (*fn)(void*), void* arg) -> uint64_t {
      SessionBed& b = of(h).bed;
      if (b.watches_left == 0) return 0;
      --b.watches_left;
      b.watches[++b.next_watch] = {fd, [fn, arg] { fn(arg); }};
      return b.next_watch;
    };
    ops_.unwatch_fd = [](Host& h, uint64_t handle) { of(h).bed.watches.erase(handle); };
    ops_.post_to_worker = [](Host& h, uint32_t i, WorkerPost& p) noexcept {
      of(h).bed.engine->post(i, p);
    };
    ops_.log = [](Host& h, LogLevel, const char* who, const char* text) {
      of(h).log += std::string(who) + ": " + text + "\n";
    };
    host.ops = &ops_;
    host.impl = this;
  }
  PluginBed(const PluginBed&) = delete;
  PluginBed& operator=(const PluginBed&) = delete;

  // Answered at once.
  CliOutcome run(std::string_view line) { return cli.run(host, line); }

  SessionBed bed;
  Host host;
  CliTree cli;
  ApiRegistry registry;
  DirectClient client{registry};
  StatSet stats;        // the last that was added
  ConfigStanza stanza;  // likewise
  std::string log;
  uint32_t settings_read = 0;  // how often a plugin has asked for some

 private:
  static PluginBed& of(Host& h) { return *static_cast<PluginBed*>(h.impl); }
  template <class T>
  static Status answer(Result<T> r, T* out, std::string* why) {
    if (r)
      *out = *r;
    else
      *why = r.error().message;
    return r ? Status::kOk : r.error().code;
  }

  HostOps ops_{};
  uint32_t worker_slots_ = 0;
  std::deque<CliCommand> commands_;  // the tree points into it
};

}  // namespace loom::test
