// Filters: session rules and deny lists where packets and connects meet them. Private to
// core/session/.
//
//   ingress  what matched no connection, before its listener: the FIB's deny list of sources
//            (sdl.h), then the FIB's rules of scope global. Denied: the transport drops it, says
//            nothing and counts it (FlowKind::kDenied).
//   egress   a connect, before cut-through and transport: the namespace's rules of scope local.
//            Denied: Status::kRefused. Cut-through never meets the rules of scope global.
//
// A redirect leads to a listener of the application that the rule names: of the same protocol and
// version of IP, the one on the port that was asked for, else the first that it opened; none: as
// where nobody listens. The address that was asked for stays the connection's own. On egress it is
// a cut-through session, whatever the caller's scope; what cannot be one is kUnsupported. A rule
// belongs to the application that had the index when the rule was added, not to who gets it later.
//
// Threads: Rule, hits() and changes on the control thread; has_*(), filter() and filter_connect()
// on workers, without a lock. A worker counts in memory of its own. What workers may still look at
// (numbers of rules and targets, lists of listeners) is used again, or freed, after a grace period.
#pragma once
#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <hostloom/stats.h>

#include "session/rule_action.h"
#include "session/rules.h"
#include "session/sdl.h"
#include "session/session_layer.h"

namespace loom::session {

struct App;
struct ConnectArgs;
struct Listener;
struct SessionWorker;

enum class RuleScope : uint8_t { kGlobal, kLocal };

struct RuleSpec {
  RuleScope scope = RuleScope::kGlobal;
  uint32_t appns = 0;
  TransportId transport = kNoTransport;
  RuleMatch match{};      // the protocol is the transport's
  bool has_match = true;  // false: `match` means nothing; for del()
  uint32_t action = kActionNone;
  std::string tag{};
};

class Filters {
 public:
  static constexpr uint32_t kMaxTables = 1024;  // FIBs or namespaces
  static constexpr uint32_t kMaxRules = 1u << 16;
  static constexpr uint32_t kMaxTargets = 1024;  // applications that rules redirect to
  static constexpr std::size_t kMaxTag = 63;     // bytes; VPP's field has room for a zero

  explicit Filters(SessionLayer::Impl&);
  ~Filters();
  Filters(const Filters&) = delete;
  Filters& operator=(const Filters&) = delete;

  // --- Control thread
  bool has_namespace(uint32_t appns) const;
  // A rule with the same match is replaced, also another namespace's of the same FIB, and its hits
  // go on. kNotFound: no such namespace, transport or application. kUnsupported: the transport has
  // no protocol of IP, or a redirect of scope local leaves the namespace. kInvalid. kExists: the
  // tag is another rule's. kNoMemory: too many rules, masks or targets.
  Result<void> add(const RuleSpec&);
  // The rule with that tag, or else with that match; one that the namespace has added before those
  // of others in its FIB. kNotFound.
  Result<void> del(const RuleSpec&);
  // The namespace goes, and its rules with it: those of scope global when no other one has their
  // FIB. Deny lists are the FIB's, and stay.
  void forget_namespace(uint32_t appns);
  // The namespace has other FIBs by now: the rules of scope global that it has added go with it,
  // and their hits go on. One that another namespace of the old FIB has added, too, is in both.
  // kExists: a rule there has the same match and does something else, or has the tag. kNoMemory:
  // too many masks, or rules. With kAll none has moved then; with kEach those that can have, and
  // the message has how many have not.
  enum class Moving : uint8_t { kAll, kEach };
  Result<void> namespace_moved(uint32_t appns, Moving how);
  // See DenyList; those of the namespace's FIBs. kNotFound also: no such namespace.
  Result<void> add_sources(uint32_t appns, std::span<const DenyEntry>);
  Result<void> del_sources(uint32_t appns, std::span<const IpPrefix>);
  // All with that tag in those lists; how many. kInvalid: no tag. kNotFound also: none has it.
  Result<std::size_t> del_sources_with(uint32_t appns, const std::string& tag);
  // Null: nothing was ever added, or no such namespace.
  const DenyList* sources(uint32_t appns, bool is_ip4) const;
  // Of a FIB, below kMaxTables; null: nothing was ever added.
  const DenyList* list(uint32_t fib) const { return own_lists_[fib].get(); }
  // Whether del() would find a rule; the error says what is missing.
  Result<void> has(const RuleSpec&) const;
  // The rule of that scope with exactly that match where the namespace is now.
  std::optional<RuleSpec> exact(const RuleSpec&) const;
  // What else than its routes there is in a FIB, or "".
  std::string use_of_table(uint32_t fib, bool is_ip4) const;
  // By number, below n_numbers(); null: free.
  const RuleSpec* rule(uint32_t number) const;
  uint32_t n_numbers() const noexcept { return static_cast<uint32_t>(rules_.size()); }
  // That have added it, the last one first.
  std::vector<uint32_t> namespaces_of(uint32_t number) const;
  // Whether the application of a redirect is still there.
  bool has_target(uint32_t number) const;  // true for other actions
  uint64_t hits(uint32_t number) const;    // lookups that this rule decided
  uint64_t denied_sources() const;         // by deny lists
  uint64_t redirects_to_nobody() const;
  // One has come, or those with Listener::is_going are about to go and are not looked for any more.
  void listeners_changed(const App&);

  // --- Workers
  bool has_ingress() const noexcept { return n_ingress_.load(std::memory_order_relaxed) != 0; }
  bool has_egress() const noexcept { return n_egress_.load(std::memory_order_relaxed) != 0; }
  // Goes over what FlowTables::lookup() found. A redirect is found as kListener, as there.
  template <class Key>
  void filter(SessionWorker&, std::span<const Key>, FlowMatch* out) noexcept;
  // Other than kOk: the connect is refused so. `to`: where it is redirected to; args has its local
  // address then. `is_new`: it is counted.
  Status filter_connect(SessionWorker&, const App&, ConnectArgs& args, bool is_new,
                        Listener*& to) noexcept;
  // Whether a datagram with these ends, as its receiver sees them, comes to a bound session as far
  // as deny list and rules of scope global are concerned. Counts nothing.
  bool admits(const Endpoints& arriving, uint8_t protocol) const noexcept;

 private:
  static constexpr uint32_t kDenyCode = 0, kAllowCode = 1, kFirstTargetCode = 2;
  struct Rule : RuleSpec {
    uint32_t code = kAllowCode;
    uint32_t table = 0;              // that it is in; its namespace may have another by now
    std::vector<uint32_t> others{};  // namespaces that have added it before appns did
  };
  struct Target {
    uint32_t app = 0;
    uint64_t serial = 0;  // of the application
    uint32_t uses = 0;    // rules; 0: free once no worker knows it
  };
  struct TargetListener {
    TransportId transport;
    uint8_t protocol;
    bool ip4, ip6;
    bool shares;  // its port, with others that do: each gets as many flows
    uint16_t port;
    uint32_t generation, index;
  };
  using TargetListeners = std::vector<TargetListener>;  // in the order they were opened
  struct alignas(64) PerWorker {
    std::unique_ptr<std::atomic<uint64_t>[]> hits;
    StatCounter denied_sources, redirects_to_nobody;
  };
  using Tag = std::tuple<RuleScope, uint32_t, TransportId, std::string>;

  struct Move {              // of a rule, under way
    uint32_t number, there;  // where it was, and in the new table
    uint32_t to;             // that table
    enum { kGoes, kCopied, kJoins } kind;
  };

  static bool is_of(const Rule&, uint32_t appns) noexcept;
  static bool disown(Rule&, uint32_t appns) noexcept;
  Result<Move> copy_rule(uint32_t number, uint32_t appns, uint32_t to);
  void undo(const Move&);
  void finish(const Move&, uint32_t appns);
  Result<uint32_t> table_of(RuleScope, uint32_t appns, bool is_ip4) const;
  Result<void> del_number(uint32_t number);
  Result<uint32_t> find(const RuleSpec&) const;
  template <class Is>
  std::optional<uint32_t> find_own(const RuleSpec&, Is&& is) const;
  Result<RuleTable*> open_table(RuleScope, uint32_t table);
  RuleTable* table(RuleScope, uint32_t table) const;
  Result<RuleSpec> checked(RuleSpec) const;
  Result<uint32_t> take_number();
  void release_number(uint32_t number);
  Result<uint32_t> take_code(uint32_t action);
  void release_code(uint32_t code);
  void publish_target(uint32_t target);
  void recount();
  FibDefer defer();
  void after_grace(std::function<void(Filters&)>);
  // Workers.
  template <class Key>
  uint64_t decide(RuleScope, uint32_t table, const Key&) const noexcept;
  static void count_hit(PerWorker&, uint64_t decision) noexcept;
  template <class Key>
  bool admits_key(const Key&) const noexcept;
  template <class Key>
  FlowMatch filter_one(PerWorker&, uint32_t worker, const Key&, FlowMatch found) const noexcept;
  template <class Fits, class Choose>
  uint32_t find_listener(uint32_t code, uint16_t port, Fits&&, Choose&&) const noexcept;

  SessionLayer::Impl& layer_;
  std::shared_ptr<Filters*> self_;  // what runs after a grace period may outlive us
  // For workers. Tables stay once they are there.
  std::atomic<uint32_t> n_ingress_{0}, n_egress_{0};
  std::array<std::array<std::atomic<const RuleTable*>, kMaxTables>, 2> tables_{};
  std::array<std::atomic<const DenyList*>, kMaxTables> lists_{};
  std::array<std::atomic<const TargetListeners*>, kMaxTargets> target_listeners_{};
  std::vector<PerWorker> per_worker_;
  // Control thread.
  std::array<std::array<std::unique_ptr<RuleTable>, kMaxTables>, 2> own_tables_;
  std::array<std::unique_ptr<DenyList>, kMaxTables> own_lists_;
  std::vector<std::unique_ptr<Rule>> rules_;  // by number
  std::vector<uint32_t> free_numbers_;
  std::array<uint32_t, 2> n_rules_{};  // by scope
  std::map<Tag, uint32_t> tags_;
  std::vector<Target> targets_;
  std::vector<uint32_t> free_targets_;
};

// For both scopes, or for none.
Result<void> change_both(Filters&, RuleSpec, bool is_add);

}  // namespace loom::session
