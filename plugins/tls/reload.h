// `tls reload`: the files of the configuration are read again, and what is made from them is made
// anew, for what opens from now on: trust, contexts of clients and of all listeners, what
// applications want of connections. Open sessions stay, but none is resumed afterwards.
//
// All of it on the control thread, a little in each turn of its loop, as a daemon may have
// thousands of listeners. What is there goes on being used meanwhile, and may change; at the end
// all of it takes the place of what was before, while the workers stand still for the exchange of
// pointers. An error: nothing has changed.
//   cost  a turn: one context, one application's settings, or a few of a folder's files; at the end
//         the store of before, whole, when nothing has it any more
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "client_settings.h"
#include "context.h"
#include "trust.h"

namespace loom::tls {

class Reload {
 public:
  using Done = std::function<void(const Result<void>&)>;
  Reload() = default;
  ~Reload() { stop(); }
  Reload(const Reload&) = delete;
  Reload& operator=(const Reload&) = delete;

  // `done` hears what came of it. While one is under way, whose files may have been read before
  // they changed, it is another one behind that: one for all who have asked meanwhile. Without
  // memory it is told so, perhaps at once.
  void ask(Done done) noexcept;
  // The same to its end, for who cannot wait.
  Result<void> now() noexcept;
  bool is_under_way() const noexcept { return attempt_ != nullptr; }
  // Whoever waits hears nothing.
  void stop() noexcept;

  // What has changed, and is to hold afterwards, too; where memory lacks for that, what is under
  // way fails, and the change holds.
  void settings_given(uint32_t number) noexcept;
  void settings_gone(uint32_t number) noexcept;
  void listener_changed(ConnId) noexcept;
  void datagram_listener_changed(ConnId) noexcept;

 private:
  using Contexts = std::map<ConnId, ServerContextPtr>;
  // What has been made so far; at the end what there was before, or what nobody needs, to be freed
  // piece by piece, too.
  struct Attempt {
    explicit Attempt(const Config& config) : reader(config) {}
    bool free_some() noexcept;  // false: it has only the store left
    StoreReader reader;
    StorePtr store;
    Clients clients, datagram_clients;
    std::unique_ptr<ClientSettingsTable> wishes;
    std::vector<uint32_t> numbers;  // of those that are still to be made
    Contexts listeners, datagram_listeners;
    ConnId next = 0, next_datagram = 0;  // all before have theirs
    std::vector<KeyPair> own;            // the configuration's, once somebody shows them
    Result<void> outcome;                // of what has changed meanwhile
    std::unique_ptr<Attempt> older;      // of those to be freed
  };
  void begin(std::unique_ptr<Attempt>) noexcept;
  void turn() noexcept;
  Result<bool> try_step() noexcept;
  // One piece of it. True: there is no more.
  Result<bool> step(Attempt&);
  Result<void> make_clients(Attempt&);
  Result<Settings> with_own(Attempt&, const Settings&);
  Result<void> make_listener(Attempt&, ConnId, const Settings&);
  Result<void> make_datagram_listener(Attempt&, ConnId, const Settings&);
  void take(Attempt&);
  template <class F>
  void change(F&& make) noexcept;
  void finish(const Result<void>&) noexcept;
  void throw_away() noexcept;
  bool free_some() noexcept;

  std::unique_ptr<Attempt> attempt_;  // null: none is under way
  std::vector<Done> waiting_;         // for it ...
  std::vector<Done> later_;           // ... and for the next
  std::unique_ptr<Attempt> old_;      // the newest of those to be freed
  int turns_ = -1;      // an eventfd that is readable: the control thread's loop calls turn()
  uint64_t watch_ = 0;  // of that; 0: none
};

}  // namespace loom::tls
