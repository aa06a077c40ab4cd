// Rules as the control thread changes them. Deny lists are in filter_sources.cc, what workers do
// with both in filter_packets.cc.
#include "session/filters.h"

#include <algorithm>

#include "session/impl.h"

namespace loom::session {
namespace {

std::size_t index_of(RuleScope scope) noexcept { return static_cast<std::size_t>(scope); }

std::string number_text(uint64_t n) { return std::to_string(n); }

}  // namespace

Filters::Filters(SessionLayer::Impl& layer)
    : layer_(layer),
      self_(std::make_shared<Filters*>(this)),
      per_worker_(layer.engine.n_workers()) {}

Filters::~Filters() {
  for (auto& listeners : target_listeners_) delete listeners.load(std::memory_order_relaxed);
}

FibDefer Filters::defer() {
  return [&engine = layer_.engine](std::function<void()> release) {
    engine.after_grace([release = std::move(release)] { release(); });
  };
}

void Filters::after_grace(std::function<void(Filters&)> fn) {
  layer_.engine.after_grace([weak = std::weak_ptr<Filters*>(self_), fn = std::move(fn)] {
    if (const auto self = weak.lock()) fn(**self);
  });
}

void Filters::recount() {
  uint64_t n = n_rules_[index_of(RuleScope::kGlobal)];
  for (const auto& list : own_lists_)
    if (list) n += list->size();
  n_ingress_.store(static_cast<uint32_t>(n), std::memory_order_relaxed);
  n_egress_.store(n_rules_[index_of(RuleScope::kLocal)], std::memory_order_relaxed);
}

// --- Tables

static_assert(Filters::kMaxTables >= kMaxNamespaces);

bool Filters::has_namespace(uint32_t appns) const {
  return appns < layer_.namespaces.size() && layer_.namespaces[appns];
}

// Rules of scope global are the FIB's, which namespaces may share.
Result<uint32_t> Filters::table_of(RuleScope scope, uint32_t appns, bool is_ip4) const {
  if (!has_namespace(appns))
    return error(Status::kNotFound, "no application namespace " + number_text(appns));
  if (scope == RuleScope::kLocal) return appns;
  const uint32_t fib = layer_.namespaces[appns]->fibs().of(is_ip4);
  if (fib == kNoIndex)
    return error(Status::kNotFound, "namespace '" + layer_.namespaces[appns]->id +
                                        "' has no routing table: its interface has gone");
  if (fib >= kMaxTables) return error(Status::kNoMemory, "too many routing tables for rules");
  return fib;
}

RuleTable* Filters::table(RuleScope scope, uint32_t table) const {
  return own_tables_[index_of(scope)][table].get();
}

Result<RuleTable*> Filters::open_table(RuleScope scope, uint32_t table) {
  auto& own = own_tables_[index_of(scope)][table];
  if (own) return own.get();
  for (auto& worker : per_worker_)
    if (!worker.hits) worker.hits = std::make_unique<std::atomic<uint64_t>[]>(kMaxRules);
  auto made = RuleTable::create(defer());
  if (!made) return made.error();
  own = std::move(*made);
  tables_[index_of(scope)][table].store(own.get(), std::memory_order_release);
  return own.get();
}

// --- Numbers

Result<uint32_t> Filters::take_number() {
  if (free_numbers_.empty()) {
    if (rules_.size() == kMaxRules)
      return error(Status::kNoMemory,
                   "there are " + number_text(kMaxRules) + " session rules already");
    rules_.emplace_back();
    return static_cast<uint32_t>(rules_.size() - 1);
  }
  const uint32_t number = free_numbers_.back();
  free_numbers_.pop_back();
  return number;
}

void Filters::release_number(uint32_t number) {
  rules_[number].reset();
  after_grace([number](Filters& f) {
    for (auto& worker : f.per_worker_) worker.hits[number].store(0, std::memory_order_relaxed);
    f.free_numbers_.push_back(number);
  });
}

// --- Targets of redirects

Result<uint32_t> Filters::take_code(uint32_t action) {
  if (action == kActionDrop) return kDenyCode;
  if (action == kActionAllow) return kAllowCode;
  const App* app = action < layer_.apps.size() ? layer_.apps[action].get() : nullptr;
  if (!app || app->detached)
    return error(Status::kNotFound, "no application " + number_text(action) + " to redirect to");
  for (uint32_t i = 0; i < targets_.size(); ++i)
    if (targets_[i].uses != 0 && targets_[i].serial == app->serial) {
      ++targets_[i].uses;
      return i + kFirstTargetCode;
    }
  if (free_targets_.empty()) {
    if (targets_.size() == kMaxTargets)
      return error(Status::kNoMemory, "session rules redirect to " + number_text(kMaxTargets) +
                                          " applications already");
    free_targets_.push_back(static_cast<uint32_t>(targets_.size()));
    targets_.emplace_back();
  }
  const uint32_t target = free_targets_.back();
  free_targets_.pop_back();
  targets_[target] = {action, app->serial, 1};
  publish_target(target);
  return target + kFirstTargetCode;
}

void Filters::release_code(uint32_t code) {
  if (code < kFirstTargetCode) return;
  const uint32_t target = code - kFirstTargetCode;
  if (--targets_[target].uses != 0) return;
  after_grace([target](Filters& f) {
    delete f.target_listeners_[target].exchange(nullptr);
    f.free_targets_.push_back(target);
  });
}

void Filters::publish_target(uint32_t target) {
  auto list = std::make_unique<TargetListeners>();
  for (uint32_t i = 0; i < layer_.n_listeners; ++i) {
    const Listener* l = layer_.listener(i);
    if (!l || l->is_going || l->app->serial != targets_[target].serial) continue;
    const bool ip4 = l->endpoints.local.is_ip4;
    list->push_back({.transport = l->transport,
                     .protocol = layer_.transports.get(l->transport)->ip_protocol,
                     .ip4 = ip4 || l->dual_stack,
                     .ip6 = !ip4,
                     .shares = l->options.reuseport,
                     .port = l->endpoints.local_port,
                     .generation = l->generation,
                     .index = i});
  }
  std::sort(list->begin(), list->end(),
            [](const auto& a, const auto& b) { return a.generation < b.generation; });
  const TargetListeners* old =
      target_listeners_[target].exchange(list.release(), std::memory_order_acq_rel);
  if (old) after_grace([old = std::shared_ptr<const TargetListeners>(old)](Filters&) {});
}

void Filters::listeners_changed(const App& app) {
  for (uint32_t i = 0; i < targets_.size(); ++i)
    if (targets_[i].uses != 0 && targets_[i].serial == app.serial) publish_target(i);
}

// --- Rules

Result<RuleSpec> Filters::checked(RuleSpec spec) const {
  const TransportOps* ops = layer_.transports.get(spec.transport);
  if (!ops) return error(Status::kNotFound, "no such transport");
  if (ops->ip_protocol == 0)
    return error(Status::kUnsupported, std::string("rules are not for ") + ops->name +
                                           ", whose connections are another transport's");
  if (!RuleTable::is_valid(spec.match))
    return error(Status::kInvalid, "a rule has two prefixes of one version of IP, not " +
                                       spec.match.local.str() + " and " + spec.match.remote.str());
  if (spec.tag.size() > kMaxTag)
    return error(Status::kInvalid, "a tag has at most " + number_text(kMaxTag) + " bytes");
  spec.match = RuleTable::normal(spec.match);
  spec.match.protocol = ops->ip_protocol;
  return spec;
}

Result<void> Filters::add(const RuleSpec& wanted) {
  const auto table = table_of(wanted.scope, wanted.appns, wanted.match.local.address.is_ip4);
  if (!table) return table.error();
  const auto spec = checked(wanted);
  if (!spec) return spec.error();
  if (spec->action == kActionNone) return error(Status::kInvalid, "a rule needs an action");
  const auto rules = open_table(spec->scope, *table);
  if (!rules) return rules.error();
  const auto known = (*rules)->find_exact(spec->match);
  const Tag tag{spec->scope, *table, spec->transport, spec->tag};
  if (!spec->tag.empty()) {
    const auto other = tags_.find(tag);
    if (other != tags_.end() && (!known || other->second != *known >> 32))
      return error(Status::kExists, "another rule has the tag '" + spec->tag + "'");
  }
  const auto code = take_code(spec->action);
  if (!code) return code.error();
  const auto number = known ? Result<uint32_t>(static_cast<uint32_t>(*known >> 32)) : take_number();
  const Status added =
      number ? (*rules)->add(spec->match, static_cast<uint64_t>(*number) << 32 | *code)
             : number.error().code;
  if (added != Status::kOk) {
    release_code(*code);
    if (!number) return number.error();
    if (!known) release_number(*number);
    return error(added, (*rules)->masks(spec->match.local.address.is_ip4) == RuleTable::kMaxMasks
                            ? "rules have " + number_text(RuleTable::kMaxMasks) +
                                  " combinations of prefix lengths and ports already"
                            : "no memory for another rule");
  }
  if (known) {
    Rule& old = *rules_[*number];
    release_code(old.code);
    tags_.erase({old.scope, *table, old.transport, old.tag});
  } else {
    ++n_rules_[index_of(spec->scope)];
  }
  std::vector<uint32_t> others;
  if (known) {
    others = std::move(rules_[*number]->others);
    std::erase(others, spec->appns);
    if (rules_[*number]->appns != spec->appns) others.push_back(rules_[*number]->appns);
  }
  rules_[*number] = std::make_unique<Rule>(Rule{*spec, *code, *table, std::move(others)});
  if (!spec->tag.empty()) tags_[tag] = *number;
  recount();
  review_links(layer_, spec->scope == RuleScope::kLocal ? spec->appns : kAllNamespaces);
  return {};
}

// Of what the namespace has added itself, in whatever table it was then. Looks at every rule.
template <class Is>
std::optional<uint32_t> Filters::find_own(const RuleSpec& wanted, Is&& is) const {
  for (uint32_t i = 0; i < rules_.size(); ++i) {
    const Rule* r = rules_[i].get();
    if (r && r->scope == wanted.scope && r->appns == wanted.appns &&
        r->transport == wanted.transport && is(*r))
      return i;
  }
  return std::nullopt;
}

Result<uint32_t> Filters::find(const RuleSpec& wanted) const {
  if (!has_namespace(wanted.appns))
    return error(Status::kNotFound, "no application namespace " + number_text(wanted.appns));
  if (!wanted.tag.empty()) {
    for (const bool is_ip4 : {true, false}) {
      const auto at = table_of(wanted.scope, wanted.appns, is_ip4);
      const auto tagged =
          at ? tags_.find({wanted.scope, *at, wanted.transport, wanted.tag}) : tags_.end();
      if (tagged != tags_.end()) return tagged->second;
    }
    const auto own = find_own(wanted, [&](const Rule& r) { return r.tag == wanted.tag; });
    if (own) return *own;
    if (!wanted.has_match)
      return error(Status::kNotFound, "no session rule has the tag '" + wanted.tag + "'");
  }
  const auto spec = checked(wanted);
  if (!spec) return spec.error();
  const auto at = table_of(wanted.scope, wanted.appns, spec->match.local.address.is_ip4);
  const RuleTable* rules = at ? table(wanted.scope, *at) : nullptr;
  const auto known = rules ? rules->find_exact(spec->match) : std::nullopt;
  const uint32_t number = known ? static_cast<uint32_t>(*known >> 32) : 0;
  if (known && rules_[number]->appns == wanted.appns) return number;
  const auto own = find_own(*spec, [&](const Rule& r) { return r.match == spec->match; });
  if (own) return *own;
  if (known) return number;
  return error(Status::kNotFound, "no such session rule");
}

Result<void> Filters::del(const RuleSpec& wanted) {
  const auto found = find(wanted);
  if (!found) return found.error();
  return del_number(*found);
}

Result<void> Filters::has(const RuleSpec& wanted) const {
  const auto found = find(wanted);
  return found ? Result<void>() : Result<void>(found.error());
}

Result<void> Filters::del_number(uint32_t number) {
  const Rule gone = *rules_[number];
  if (const Status s = table(gone.scope, gone.table)->del(gone.match); s != Status::kOk)
    return error(s, "the rule cannot be deleted");
  tags_.erase({gone.scope, gone.table, gone.transport, gone.tag});
  release_code(gone.code);
  release_number(number);
  --n_rules_[index_of(gone.scope)];
  recount();
  // It may have allowed some.
  review_links(layer_, gone.scope == RuleScope::kLocal ? gone.table : kAllNamespaces);
  return {};
}

void Filters::forget_namespace(uint32_t appns) {
  for (uint32_t i = 0; i < rules_.size(); ++i) {
    if (!rules_[i] || !is_of(*rules_[i], appns) || disown(*rules_[i], appns)) continue;
    Rule& r = *rules_[i];
    uint32_t heir = appns;
    for (const auto& ns : layer_.namespaces)
      if (ns && ns->index != appns && r.scope == RuleScope::kGlobal &&
          ns->fibs().of(r.match.local.address.is_ip4) == r.table) {
        heir = ns->index;
        break;
      }
    if (heir != appns)
      r.appns = heir;
    else
      (void)del_number(i);
  }
}

std::string Filters::use_of_table(uint32_t fib, bool is_ip4) const {
  if (fib >= kMaxTables) return {};
  if (own_lists_[fib] && own_lists_[fib]->size(is_ip4) != 0) return "a session deny list";
  for (const auto& r : rules_)
    if (r && r->scope == RuleScope::kGlobal && r->table == fib &&
        r->match.local.address.is_ip4 == is_ip4)
      return "a session rule";
  return {};
}

std::optional<RuleSpec> Filters::exact(const RuleSpec& wanted) const {
  const auto spec = checked(wanted);
  const auto at = table_of(wanted.scope, wanted.appns, wanted.match.local.address.is_ip4);
  const RuleTable* rules = spec && at ? table(wanted.scope, *at) : nullptr;
  const auto known = rules ? rules->find_exact(spec->match) : std::nullopt;
  if (!known) return std::nullopt;
  return *rules_[static_cast<uint32_t>(*known >> 32)];
}

Result<void> change_both(Filters& filters, RuleSpec spec, bool is_add) {
  const auto in = [&spec](RuleScope scope) -> const RuleSpec& {
    spec.scope = scope;
    return spec;
  };
  if (!is_add) {  // both are there, or neither goes
    if (auto there = filters.has(in(RuleScope::kLocal)); !there) return there;
    if (auto gone = filters.del(in(RuleScope::kGlobal)); !gone) return gone;
    return filters.del(in(RuleScope::kLocal));
  }
  // The local one first: what it replaces is of no other namespace.
  const auto before = filters.exact(in(RuleScope::kLocal));
  if (auto done = filters.add(in(RuleScope::kLocal)); !done) return done;
  auto done = filters.add(in(RuleScope::kGlobal));
  if (done) return done;
  if (auto undone = before ? filters.add(*before) : filters.del(in(RuleScope::kLocal)); !undone)
    return undone;
  return done;
}

const RuleSpec* Filters::rule(uint32_t number) const {
  return number < rules_.size() ? rules_[number].get() : nullptr;
}

bool Filters::has_target(uint32_t number) const {
  const uint32_t code = rules_[number]->code;
  if (code < kFirstTargetCode) return true;
  const Target& t = targets_[code - kFirstTargetCode];
  const App* app = t.app < layer_.apps.size() ? layer_.apps[t.app].get() : nullptr;
  return app && app->serial == t.serial && !app->detached;
}

uint64_t Filters::hits(uint32_t number) const {
  uint64_t n = 0;
  for (const auto& worker : per_worker_)
    if (worker.hits) n += worker.hits[number].load(std::memory_order_relaxed);
  return n;
}

uint64_t Filters::redirects_to_nobody() const {
  uint64_t n = 0;
  for (const auto& worker : per_worker_) n += worker.redirects_to_nobody;
  return n;
}

}  // namespace loom::session
