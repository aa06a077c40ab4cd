#include "graph/api.h"

#include "api/registry.h"
#include "graph/engine.h"
#include "trace.api.h"

namespace loom {
namespace {

constexpr int32_t kInvalidSwIfIndex = -2, kCannotCreatePcapFile = -93;
// Where VPP puts captures that are asked for by its API: a client names a file, not a place.
constexpr const char* kCaptureFolder = "/tmp/";

int32_t retval_of(const Result<void>& done) { return done ? 0 : api_retval(done.error().code); }

bool is_file_name(const std::string& name) {
  for (const char c : name)
    if (c == '/' || static_cast<unsigned char>(c) < 32 || c == 127) return false;
  return name != "." && name != "..";
}

int32_t begin_capture(Engine& engine, const std::function<bool(uint32_t)>& is_interface,
                      const api::PcapTraceOn& request) {
  if (request.filter || !request.error.empty()) return api_retval(Status::kUnsupported);
  if (request.sw_if_index != kNoIndex && !is_interface(request.sw_if_index))
    return kInvalidSwIfIndex;
  const std::string name = request.filename.empty() ? "rxtx.pcap" : request.filename;
  if (!is_file_name(name)) return kApiInvalidValue;
  const auto begun =
      engine.pcap().begin({.points = (request.capture_rx ? uint32_t{kPcapRx} : 0) |
                                     (request.capture_tx ? uint32_t{kPcapTx} : 0) |
                                     (request.capture_drop ? uint32_t{kPcapDrop} : 0),
                           .max_packets = request.max_packets,
                           .file = kCaptureFolder + name,
                           .interface = request.sw_if_index,
                           .max_bytes = request.max_bytes_per_packet});
  if (!begun && begun.error().code == Status::kIo) return kCannotCreatePcapFile;
  return retval_of(begun);
}

// The trace as it was when it was asked for.
struct TraceWalk {
  uint32_t context;
  std::vector<PacketTrace::Packet> packets;
  uint64_t lost;
  std::size_t packet = 0, visit = 0;  // next

  ApiStep next(ApiCall& call) {
    if (packet == packets.size()) return ApiStep::kEnd;
    auto& p = packets[packet];
    if (visit == p.visits.size()) {
      ++packet;
      visit = 0;
      return ApiStep::kSkip;
    }
    auto& v = p.visits[visit++];
    call.send(api::PacketTraceDetails{.context = context,
                                      .packet = static_cast<uint32_t>(packet),
                                      .worker = p.worker,
                                      .time = to_seconds(v.time),
                                      .node = std::move(v.node),
                                      .rx_if = v.rx_if,
                                      .tx_if = v.tx_if,
                                      .length = v.length,
                                      .lost = lost,
                                      .detail = std::move(v.detail)});
    return ApiStep::kItem;
  }
};

}  // namespace

Result<void> add_trace_api(ApiRegistry& registry, Engine& engine,
                           std::function<bool(uint32_t)> is_interface) {
  if (auto added = registry.add_module(api::kTraceModule); !added) return added;
  registry.handle<api::PcapTraceOn, api::PcapTraceOnReply>(
      [&engine, is_interface](ApiCall&, const api::PcapTraceOn& request) {
        return api::PcapTraceOnReply{.retval = begin_capture(engine, is_interface, request)};
      });
  registry.handle<api::PcapTraceOff, api::PcapTraceOffReply>(
      [&engine](ApiCall&, const api::PcapTraceOff&) {
        const auto written = engine.pcap().end();
        return api::PcapTraceOffReply{.retval = written ? 0 : api_retval(written.error().code)};
      });
  registry.handle<api::PacketTraceAdd, api::PacketTraceAddReply>(
      [&engine](ApiCall&, const api::PacketTraceAdd& request) {
        return api::PacketTraceAddReply{
            .retval = retval_of(engine.trace().add(request.node, request.packets))};
      });
  registry.handle<api::PacketTraceClear, api::PacketTraceClearReply>(
      [&engine](ApiCall&, const api::PacketTraceClear&) {
        engine.trace().clear();
        return api::PacketTraceClearReply{};
      });
  registry.walk<api::PacketTraceDump>([&engine](const api::PacketTraceDump& request) {
    return TraceWalk{request.context, engine.trace().packets(request.max_packets),
                     engine.trace().lost()};
  });
  return {};
}

}  // namespace loom
