// Rules of scope global go with the namespaces that have added them. Control thread.
#include <algorithm>

#include "session/impl.h"

namespace loom::session {

bool Filters::is_of(const Rule& r, uint32_t appns) noexcept {
  return r.appns == appns || std::find(r.others.begin(), r.others.end(), appns) != r.others.end();
}

std::vector<uint32_t> Filters::namespaces_of(uint32_t number) const {
  const Rule& r = *rules_[number];
  std::vector<uint32_t> all(r.others.rbegin(), r.others.rend());
  all.insert(all.begin(), r.appns);
  return all;
}

// False: nobody else has added it.
bool Filters::disown(Rule& r, uint32_t appns) noexcept {
  std::erase(r.others, appns);
  if (r.appns != appns) return true;
  if (r.others.empty()) return false;
  r.appns = r.others.back();
  r.others.pop_back();
  return true;
}

// Puts rule `number` into table `to`, too, or finds what is the same there.
Result<Filters::Move> Filters::copy_rule(uint32_t number, uint32_t appns, uint32_t to) {
  if (to >= kMaxTables) return error(Status::kNoMemory, "too many routing tables for rules");
  const auto rules = open_table(RuleScope::kGlobal, to);
  if (!rules) return rules.error();
  const Rule& r = *rules_[number];
  if (const auto known = (*rules)->find_exact(r.match)) {
    const auto there = static_cast<uint32_t>(*known >> 32);
    if (rules_[there]->code != r.code || rules_[there]->tag != r.tag)
      return error(Status::kExists, "a session rule for " + r.match.remote.str() +
                                        " in that routing table does something else, or has "
                                        "another tag");
    return Move{number, there, to, Move::kJoins};
  }
  const Tag tag{r.scope, to, r.transport, r.tag};
  if (!r.tag.empty() && tags_.contains(tag))
    return error(Status::kExists,
                 "a session rule in that routing table has the tag '" + r.tag + "'");
  Move move{number, number, to, Move::kGoes};
  if (r.appns != appns || !r.others.empty()) {  // others keep it where it is
    const auto taken = take_number();
    if (!taken) return taken.error();
    move.there = *taken;
    move.kind = Move::kCopied;
  }
  if ((*rules)->add(r.match, static_cast<uint64_t>(move.there) << 32 | r.code) != Status::kOk) {
    if (move.kind == Move::kCopied) release_number(move.there);
    return error(Status::kNoMemory, "no room for a session rule in that routing table");
  }
  if (move.kind == Move::kCopied) {
    if (r.code >= kFirstTargetCode) ++targets_[r.code - kFirstTargetCode].uses;
    rules_[move.there] = std::make_unique<Rule>(r);
    rules_[move.there]->appns = appns;
    rules_[move.there]->others.clear();
    rules_[move.there]->table = to;
    ++n_rules_[static_cast<std::size_t>(RuleScope::kGlobal)];
  }
  if (!r.tag.empty()) tags_[tag] = move.there;
  return move;
}

void Filters::undo(const Move& move) {
  if (move.kind == Move::kJoins) return;
  if (move.kind == Move::kCopied) return (void)del_number(move.there);
  const Rule& r = *rules_[move.number];
  (void)table(RuleScope::kGlobal, move.to)->del(r.match);
  tags_.erase({r.scope, move.to, r.transport, r.tag});
}

void Filters::finish(const Move& move, uint32_t appns) {
  Rule& r = *rules_[move.number];
  if (move.kind == Move::kGoes) {
    (void)table(RuleScope::kGlobal, r.table)->del(r.match);
    tags_.erase({r.scope, r.table, r.transport, r.tag});
    r.table = move.to;
    return;
  }
  Rule& there = *rules_[move.there];
  if (!is_of(there, appns)) there.others.push_back(appns);
  if (!disown(r, appns)) (void)del_number(move.number);
}

// What is added is added to all new tables before it leaves the old ones: nothing that is denied
// passes meanwhile.
Result<void> Filters::namespace_moved(uint32_t appns, Moving how) {
  std::vector<Move> moves;
  std::size_t n_stay = 0;
  Error why;
  const FibPair fibs = layer_.namespaces[appns]->fibs();
  const std::size_t end = rules_.size();  // those that are added here are behind it, or in place
  for (uint32_t i = 0; i < end; ++i) {
    const Rule* r = rules_[i].get();
    if (!r || r->scope != RuleScope::kGlobal || !is_of(*r, appns)) continue;
    const uint32_t to = fibs.of(r->match.local.address.is_ip4);
    if (to == kNoIndex || to == r->table) continue;  // without a table, it stays where it was
    auto move = copy_rule(i, appns, to);
    if (move) {
      moves.push_back(*move);
      continue;
    }
    if (n_stay++ == 0) why = move.error();
    if (how == Moving::kAll) break;
  }
  const bool none = n_stay != 0 && how == Moving::kAll;
  for (const Move& move : moves) none ? undo(move) : finish(move, appns);
  recount();
  if (!moves.empty()) review_links(layer_);
  if (n_stay == 0) return {};
  if (none) return why;
  return error(why.code, std::to_string(n_stay) + " of " + std::to_string(n_stay + moves.size()) +
                             " stay in the old routing table: " + why.message);
}

}  // namespace loom::session
