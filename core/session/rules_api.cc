// Messages session_rule_* and session_sdl_*.
#include "session/rules_api.h"

#include "api/registry.h"
#include "session.api.h"

namespace loom::session {
namespace {

constexpr int32_t kInvalidNamespace = -128;

// An unknown family or a length beyond it comes out as a prefix that is too long.
IpPrefix from_api(const api::Prefix& p) {
  IpPrefix prefix;
  prefix.length = p.len;
  prefix.address.is_ip4 = p.address.af == api::AddressFamily::kAddressIp4;
  prefix.address.bits.bytes = p.address.un.raw;
  if (prefix.address.is_ip4)
    std::fill(prefix.address.bits.bytes.begin() + 4, prefix.address.bits.bytes.end(), uint8_t{0});
  else if (p.address.af != api::AddressFamily::kAddressIp6)
    prefix.length = 255;
  return prefix;
}

api::Prefix to_api(const IpPrefix& p) {
  api::Prefix to;
  to.address.af =
      p.address.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6;
  to.address.un.raw = p.address.bits.bytes;
  to.len = p.length;
  return to;
}

int32_t retval_of(const Result<void>& done) { return done ? 0 : api_retval(done.error().code); }

int32_t add_del(Impl& l, const api::SessionRuleAddDel& m) {
  if (!l.filters->has_namespace(m.appns_index)) return kInvalidNamespace;
  RuleSpec spec{.appns = m.appns_index,
                .transport = l.transports.find_proto(static_cast<uint8_t>(m.transport_proto)),
                .match = {.local = from_api(m.lcl),
                          .remote = from_api(m.rmt),
                          .local_port = m.lcl_port,
                          .remote_port = m.rmt_port},
                .action = m.action_index,
                .tag = m.tag};
  const auto change = [&](RuleScope scope) {
    spec.scope = scope;
    return m.is_add ? l.filters->add(spec) : l.filters->del(spec);
  };
  switch (m.scope) {
    case api::SessionRuleScope::kSessionRuleScopeApiGlobal:
      return retval_of(change(RuleScope::kGlobal));
    case api::SessionRuleScope::kSessionRuleScopeApiLocal:
      return retval_of(change(RuleScope::kLocal));
    case api::SessionRuleScope::kSessionRuleScopeApiBoth:
      return retval_of(change_both(*l.filters, spec, m.is_add));
  }
  return kApiInvalidValue;
}

int32_t add_del(Impl& l, const api::SessionSdlAddDelV2& m) {
  if (!l.filters->has_namespace(m.appns_index)) return kInvalidNamespace;
  if (m.is_add) {
    std::vector<DenyEntry> entries;
    entries.reserve(m.r.size());
    for (const auto& r : m.r) entries.push_back({from_api(r.rmt), r.action_index, r.tag});
    return retval_of(l.filters->add_sources(m.appns_index, entries));
  }
  std::vector<IpPrefix> prefixes;
  prefixes.reserve(m.r.size());
  for (const auto& r : m.r) prefixes.push_back(from_api(r.rmt));
  return retval_of(l.filters->del_sources(m.appns_index, prefixes));
}

api::SessionSdlDelTagReply del_tag(Impl& l, const api::SessionSdlDelTag& m) {
  if (!l.filters->has_namespace(m.appns_index)) return {.retval = kInvalidNamespace};
  const auto gone = l.filters->del_sources_with(m.appns_index, m.tag);
  if (!gone) return {.retval = api_retval(gone.error().code)};
  return {.count = static_cast<uint32_t>(*gone)};
}

// One session_sdl_v3_dump under way.
struct SourceWalk {
  Impl& layer;
  uint32_t context;
  uint32_t fib = 0;
  std::optional<IpPrefix> last{};

  // Whose table of that version it is.
  std::vector<uint32_t> namespaces(bool is_ip4) const {
    std::vector<uint32_t> found;
    for (const auto& ns : layer.namespaces)
      if (ns && ns->fibs().of(is_ip4) == fib) found.push_back(ns->index);
    return found;
  }

  ApiStep next(ApiCall& call) {
    std::optional<DenyEntry> entry;
    for (; fib < Filters::kMaxTables; ++fib, last.reset()) {
      const DenyList* list = layer.filters->list(fib);
      if (list && (entry = list->next(last))) break;
    }
    if (!entry) return ApiStep::kEnd;
    last = entry->prefix;
    call.send(api::SessionSdlV3Details{.context = context,
                                       .rmt = to_api(entry->prefix),
                                       .action_index = entry->action,
                                       .tag = std::move(entry->tag),
                                       .appns_index = namespaces(entry->prefix.address.is_ip4)});
    return ApiStep::kItem;
  }
};

}  // namespace

void add_rule_handlers(ApiRegistry& registry, Impl& l) {
  registry.handle<api::SessionRuleAddDel, api::SessionRuleAddDelReply>(
      [&l](ApiCall&, const api::SessionRuleAddDel& m) {
        return api::SessionRuleAddDelReply{.retval = add_del(l, m)};
      });
  registry.dump<api::SessionRulesV2Dump, api::SessionRulesV2Details>(
      [&l](const api::SessionRulesV2Dump&, uint64_t& cursor, api::SessionRulesV2Details& d) {
        if (cursor >= l.filters->n_numbers()) return ApiStep::kEnd;
        const auto number = static_cast<uint32_t>(cursor++);
        const RuleSpec* rule = l.filters->rule(number);
        if (!rule) return ApiStep::kSkip;
        d.transport_proto =
            static_cast<api::TransportProto>(l.transports.get(rule->transport)->proto);
        d.lcl = to_api(rule->match.local);
        d.rmt = to_api(rule->match.remote);
        d.lcl_port = rule->match.local_port;
        d.rmt_port = rule->match.remote_port;
        d.action_index = rule->action;
        d.scope = rule->scope == RuleScope::kGlobal
                      ? api::SessionRuleScope::kSessionRuleScopeApiGlobal
                      : api::SessionRuleScope::kSessionRuleScopeApiLocal;
        d.tag = rule->tag;
        d.appns_index = l.filters->namespaces_of(number);
        return ApiStep::kItem;
      });
  registry.handle<api::SessionSdlAddDelV2, api::SessionSdlAddDelV2Reply>(
      [&l](ApiCall&, const api::SessionSdlAddDelV2& m) {
        return api::SessionSdlAddDelV2Reply{.retval = add_del(l, m)};
      });
  registry.handle<api::SessionSdlDelTag, api::SessionSdlDelTagReply>(
      [&l](ApiCall&, const api::SessionSdlDelTag& m) { return del_tag(l, m); });
  registry.walk<api::SessionSdlV3Dump>([&l](const api::SessionSdlV3Dump& request) {
    return SourceWalk{l, request.context};
  });
}

}  // namespace loom::session
