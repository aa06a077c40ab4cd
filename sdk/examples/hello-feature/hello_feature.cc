// A plugin in one file: the feature "hello-feature" on the arc ip4-unicast counts the IPv4 packets
// of the interfaces that it is enabled on, by protocol, and passes them on.
//   in    IPv4 packets, data at the IP header
//   out   the arc's next feature | drop (no whole header)
//
//   hello-feature enable tap0 | hello-feature disable tap0 | show errors
#include <hostloom/plugin.h>
#include <hostloom/wire.h>

namespace {

using namespace loom;

constexpr const char* kArc = "ip4-unicast";
constexpr const char* kNode = "hello-feature";

enum Next : uint16_t { kToDrop };
enum Counter : uint16_t { kTcp, kUdp, kOther, kTooShort, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"tcp", Severity::kInfo, "TCP packets seen"},
    {"udp", Severity::kInfo, "UDP packets seen"},
    {"other", Severity::kInfo, "packets of other protocols seen"},
    {"too-short", Severity::kError, "fewer than 20 bytes"},
};

// The decision for one packet. It runs on a worker: no allocation, no lock, no system call.
Verdict<uint16_t, Counter> look_at(Buffer& b) noexcept {
  if (b.len < sizeof(Ip4Header)) return {kToDrop, kTooShort};
  const auto* ip = reinterpret_cast<const Ip4Header*>(b.data);
  switch (ip->protocol) {
    case kProtoTcp:
      return {kNextFeature, kTcp};
    case kProtoUdp:
      return {kNextFeature, kUdp};
    default:
      return {kNextFeature, kOther};
  }
}

void run(Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint16_t, kFrameSize> next;
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (i + kPrefetchAhead < in.size()) in[i + kPrefetchAhead]->prefetch_data();
    const auto verdict = look_at(*in[i]);
    next[i] = verdict.next;
    ++counts[verdict.counter];
    if (verdict.next == kToDrop) [[unlikely]]
      rt.set_error(*in[i], verdict.counter);
  }
  rt.add_counters(counts);
  rt.enqueue(in, next);
}

const NodeInfo kInfo{.name = kNode, .run = run, .counters = kCounters, .next = {"drop"}};

// `hello-feature enable IFACE` and `... disable IFACE`: the context is null for disable.
Result<void> enable(Host& host, void* context, CliArgs& args, CliReply& reply) {
  const auto name = args.text("name of an interface");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  const IfIndex index = host.find_interface(std::string(*name).c_str());
  if (index == kNoIndex)
    return error(Status::kNotFound, "there is no interface '" + std::string(*name) + "'");
  const bool on = context != nullptr;
  if (auto r = host.enable_feature(kArc, kNode, index, on); !r) return r;
  reply.line("hello-feature " + std::string(on ? "enabled" : "disabled") + " on " +
             std::string(*name));
  return {};
}

Result<void> init(Host& host) {
  static char on;  // an address to tell enable from disable
  if (auto node = host.add_node(kInfo); !node) return node.error();
  // Before the lookup decides where the packet goes; "before" and "after" name other features.
  if (auto r = host.add_feature({.arc = kArc, .node = kNode}); !r) return r;
  if (auto r = host.add_cli_command({.path = "hello-feature enable",
                                     .syntax = "INTERFACE",
                                     .help = "Counts the IPv4 packets of an interface.",
                                     .context = &on,
                                     .run = enable});
      !r)
    return r;
  return host.add_cli_command({.path = "hello-feature disable",
                               .syntax = "INTERFACE",
                               .help = "Stops counting.",
                               .context = nullptr,
                               .run = enable});
}

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "hello-feature",
    .version = "1.0",
    .summary = "counts IPv4 packets by protocol",
    .init = init,
};
