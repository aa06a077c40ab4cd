// Packet trace and capture.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "graph/api.h"
#include "test_graph.h"
#include "tests/unit/core/api/direct_client.h"
#include "trace.api.h"

namespace loom {
namespace {

struct NumberRecord {
  uint32_t number;
};
enum Counter : uint16_t { kPassed, kUnlucky, kCounterCount };
constexpr CounterInfo kCounters[] = {
    {"passed", Severity::kInfo, "numbers other than 13"},
    {"unlucky", Severity::kError, "number 13"},
};

// Passes numbers on to "sink" but 13, which it drops.
void check_node(Worker&, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  std::array<uint16_t, kFrameSize> next;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const uint32_t number = number_of(*in[i]);
    next[i] = number == 13;
    rt.count(number == 13 ? kUnlucky : kPassed);
    if (number == 13) rt.set_error(*in[i], kUnlucky);
    if (in[i]->is_traced())
      if (auto* r = rt.trace<NumberRecord>(*in[i])) r->number = number;
  }
  rt.enqueue(in, next);
}
void format_number(const void* record, std::string& out) {
  out += "number " + std::to_string(static_cast<const NumberRecord*>(record)->number);
}

struct TraceTest : testing::Test {
  VirtualClock clock;
  std::unique_ptr<Engine> engine = make_engine(clock);
  Worker& w = engine->worker(0);
  Seen sink;
  NodeId check = kNoNode;
  TraceTest() {
    w.plugin_data[1] = &sink;
    must(engine->add_node(
        {.name = "input",
         .run =
             [](Worker& worker, NodeRuntime& rt, std::span<Buffer* const>) noexcept {
               if (!worker.plugin_data[2]) return;
               worker.plugin_data[2] = nullptr;
               Buffer* b[3];
               for (uint32_t i = 0; i < 3; ++i) b[i] = numbered_packet(worker, 12 + i);
               rt.enqueue_all(b, 0);
             },
         .kind = NodeKind::kInput,
         .next = {"check"}}));
    check = must(engine->add_node({.name = "check",
                                   .run = check_node,
                                   .counters = kCounters,
                                   .next = {"sink", "drop"},
                                   .trace_format = format_number}));
    must(engine->add_node({.name = "sink", .run = sink_node<1>, .counters = kSinkCounters}));
    must(engine->build());
  }
  void input_three() { w.plugin_data[2] = this; }
};

TEST_F(TraceTest, FollowsTheFirstPacketsOfAnInputNode) {
  must(engine->trace().add("input", 2));
  input_three();
  engine->step();
  const auto packets = engine->trace().packets(100);
  ASSERT_EQ(packets.size(), 2u);  // of three
  const auto& [worker, lucky] = packets[0];
  ASSERT_EQ(lucky.size(), 3u);
  EXPECT_EQ(lucky[0].node, "input");
  EXPECT_EQ(lucky[1].node, "check");
  EXPECT_EQ(lucky[1].detail, "number 12");
  EXPECT_EQ(lucky[1].length, 4u);
  EXPECT_EQ(lucky[1].time, clock.now);
  EXPECT_EQ(lucky[2].node, "sink");
  const auto& unlucky = packets[1].visits;
  ASSERT_EQ(unlucky.size(), 3u);
  EXPECT_EQ(unlucky[2].node, "drop");
  EXPECT_EQ(unlucky[2].detail, "check: unlucky");
  EXPECT_EQ(engine->trace().packets(1).size(), 1u);
}

TEST_F(TraceTest, FollowsPacketsFromTheMiddleOfTheGraph) {
  must(engine->trace().add("sink", 5));
  input_three();
  engine->step();
  const auto packets = engine->trace().packets(100);
  ASSERT_EQ(packets.size(), 2u);
  EXPECT_EQ(packets[0].visits.size(), 1u);
}

TEST_F(TraceTest, ClearForgetsAndStops) {
  must(engine->trace().add("input", 100));
  input_three();
  engine->step();
  engine->trace().clear();
  input_three();
  engine->step();
  EXPECT_TRUE(engine->trace().packets(100).empty());
  must(engine->trace().add("input", 1));
  input_three();
  engine->step();
  EXPECT_EQ(engine->trace().packets(100).size(), 1u);
}

TEST_F(TraceTest, AFullLogLosesAndCounts) {
  must(engine->trace().add("check", 10'000));
  must(engine->trace().add("check", 10'000));
  for (int i = 0; i < 40; ++i) {
    send_numbers(w, check, 500);
    engine->step();
  }
  const auto kept = engine->trace().packets(1'000'000).size();
  EXPECT_GT(kept, 5'000u);
  EXPECT_LT(kept, 20'000u);
  EXPECT_GT(engine->trace().lost(), 0u);
  EXPECT_EQ(buffers_in_use(*engine), 0u);
}

TEST_F(TraceTest, RefusesUnknownNodesAndCounts) {
  EXPECT_EQ(engine->trace().add("nobody", 1).error().code, Status::kNotFound);
  EXPECT_EQ(engine->trace().add("check", 0).error().code, Status::kInvalid);
  EXPECT_EQ(engine->trace().add("check", 10'001).error().code, Status::kInvalid);
}

std::vector<std::byte> file_bytes(const std::string& path) {
  std::vector<std::byte> bytes(1 << 16);
  const int fd = open(path.c_str(), O_RDONLY);
  const auto n = read(fd, bytes.data(), bytes.size());
  close(fd);
  bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  return bytes;
}
template <class T>
T read_at(const std::vector<std::byte>& bytes, std::size_t at) {
  T v{};
  LOOM_CHECK(at + sizeof v <= bytes.size());
  std::memcpy(&v, bytes.data() + at, sizeof v);
  return v;
}

TEST_F(TraceTest, CapturesDroppedPacketsToAPcapFile) {
  char path[] = "/tmp/hostloom-pcap-XXXXXX";
  close(mkstemp(path));
  EXPECT_FALSE(engine->pcap_enabled());
  must(engine->pcap().begin({.points = kPcapDrop, .max_packets = 2, .file = path}));
  EXPECT_TRUE(engine->pcap_enabled());
  EXPECT_EQ(
      engine->pcap().begin({.points = kPcapDrop, .max_packets = 1, .file = path}).error().code,
      Status::kExists);
  input_three();
  engine->step();
  for (int i = 0; i < 2; ++i) {
    clock.now += kMillisecond;
    input_three();
    engine->step();
  }
  EXPECT_EQ(engine->pcap().progress().captured, 2u);
  EXPECT_EQ(engine->pcap().progress().lost, 1u);
  EXPECT_EQ(must(engine->pcap().end()), 2u);
  EXPECT_FALSE(engine->pcap_enabled());
  EXPECT_EQ(engine->pcap().end().error().code, Status::kNotFound);

  const auto file = file_bytes(path);
  ASSERT_EQ(file.size(), 24u + 2 * (16 + 4));
  EXPECT_EQ(read_at<uint32_t>(file, 0), 0xa1b23c4du);  // nanoseconds
  EXPECT_EQ(read_at<uint16_t>(file, 4), 2);
  EXPECT_EQ(read_at<uint32_t>(file, 20), 1u);      // Ethernet
  EXPECT_EQ(read_at<uint32_t>(file, 24 + 8), 4u);  // captured
  EXPECT_EQ(read_at<uint32_t>(file, 24 + 12), 4u);
  EXPECT_EQ(read_at<uint32_t>(file, 24 + 16), 13u);
  const auto time = [&](std::size_t at) {
    return int64_t{read_at<uint32_t>(file, at)} * kSecond + read_at<uint32_t>(file, at + 4);
  };
  EXPECT_EQ(time(44) - time(24), kMillisecond);
  unlink(path);
}

TEST_F(TraceTest, CaptureRefusesWhatItCannotDo) {
  EXPECT_EQ(engine->pcap().begin({.points = 0, .max_packets = 1, .file = "/tmp/x"}).error().code,
            Status::kInvalid);
  EXPECT_EQ(
      engine->pcap().begin({.points = kPcapRx, .max_packets = 0, .file = "/tmp/x"}).error().code,
      Status::kInvalid);
  const auto no_folder =
      engine->pcap().begin({.points = kPcapRx, .max_packets = 1, .file = "/no/such/folder"});
  EXPECT_EQ(no_folder.error().code, Status::kIo);
  EXPECT_THAT(no_folder.error().message, testing::HasSubstr("/no/such/folder"));
}

struct TraceApiTest : TraceTest {
  ApiRegistry registry;
  test::DirectClient client{registry};
  std::string name = "hostloom-pcap-" + std::to_string(::getpid());
  TraceApiTest() {
    must(add_trace_api(registry, *engine, [](uint32_t index) { return index == 3; }));
  }
  ~TraceApiTest() override { ::unlink(("/tmp/" + name).c_str()); }
  int32_t on(api::PcapTraceOn request) {
    return client.call<api::PcapTraceOnReply>(std::move(request)).retval;
  }
  int32_t off() { return client.call<api::PcapTraceOffReply>(api::PcapTraceOff{}).retval; }
  int32_t add(const char* node, uint32_t n) {
    return client.call<api::PacketTraceAddReply>(api::PacketTraceAdd{.node = node, .packets = n})
        .retval;
  }
};

TEST_F(TraceApiTest, TracesAndTells) {
  EXPECT_EQ(add("nobody", 1), -6);
  EXPECT_EQ(add("", 1), -6);
  EXPECT_EQ(add("check", 0), kApiInvalidValue);
  EXPECT_EQ(add("check", 10'001), kApiInvalidValue);
  EXPECT_EQ(add("input", 2), 0);
  input_three();
  engine->step();
  auto all = client.dump<api::PacketTraceDetails>(api::PacketTraceDump{});
  ASSERT_EQ(all.size(), 6u);  // two packets through three nodes
  EXPECT_EQ(all[1].packet, 0u);
  EXPECT_EQ(all[1].node, "check");
  EXPECT_EQ(all[1].detail, "number 12");
  EXPECT_EQ(all[1].length, 4u);
  EXPECT_EQ(all[1].time, to_seconds(clock.now));
  EXPECT_EQ(all[5].packet, 1u);
  EXPECT_EQ(all[5].node, "drop");
  EXPECT_EQ(all[5].lost, 0u);
  EXPECT_EQ(client.dump<api::PacketTraceDetails>(api::PacketTraceDump{.max_packets = 1}).size(),
            3u);
  EXPECT_EQ(client.call<api::PacketTraceClearReply>(api::PacketTraceClear{}).retval, 0);
  EXPECT_TRUE(client.dump<api::PacketTraceDetails>(api::PacketTraceDump{}).empty());
}

TEST_F(TraceApiTest, CapturesToAFileInTmpAndCutsPackets) {
  EXPECT_EQ(off(), -6);
  EXPECT_EQ(on({.capture_drop = true,
                .max_packets = 2,
                .max_bytes_per_packet = 3,
                .sw_if_index = kNoIndex,
                .filename = name}),
            0);
  EXPECT_EQ(on({.capture_drop = true, .sw_if_index = kNoIndex, .filename = name}), -81);
  input_three();
  engine->step();
  EXPECT_EQ(off(), 0);
  const auto bytes = file_bytes("/tmp/" + name);
  ASSERT_EQ(bytes.size(), 24u + 16 + 3);
  EXPECT_EQ(read_at<uint32_t>(bytes, 16), 3u);      // snap length
  EXPECT_EQ(read_at<uint32_t>(bytes, 24 + 8), 3u);  // captured
  EXPECT_EQ(read_at<uint32_t>(bytes, 24 + 12), 4u);
}

TEST_F(TraceApiTest, RefusesWhatCannotBeCaptured) {
  const api::PcapTraceOn good{
      .capture_rx = true, .max_packets = 1, .sw_if_index = 3, .filename = name};
  const auto with = [&](auto change) {
    api::PcapTraceOn request = good;
    change(request);
    return on(request);
  };
  EXPECT_EQ(with([](auto& r) { r.capture_rx = false; }), kApiInvalidValue);
  EXPECT_EQ(with([](auto& r) { r.max_packets = 0; }), kApiInvalidValue);
  EXPECT_EQ(with([](auto& r) { r.max_packets = ~0u; }), kApiInvalidValue);
  EXPECT_EQ(with([](auto& r) { r.max_bytes_per_packet = 0; }), kApiInvalidValue);
  EXPECT_EQ(with([](auto& r) { r.max_bytes_per_packet = 65'536; }), kApiInvalidValue);
  EXPECT_EQ(with([](auto& r) { r.filter = true; }), -126);
  EXPECT_EQ(with([](auto& r) { r.error = "check/unlucky"; }), -126);
  EXPECT_EQ(with([](auto& r) { r.sw_if_index = 4; }), -2);
  for (const char* bad : {"../etc/x", "/etc/x", "a/b", ".", "..", "new\nline"})
    EXPECT_EQ(with([bad](auto& r) { r.filename = bad; }), kApiInvalidValue) << bad;
  const std::string target = "/tmp/" + name;
  ASSERT_EQ(::symlink("/dev/null", target.c_str()), 0);  // somebody else's trap is not followed
  EXPECT_EQ(on(good), -93);
  ::unlink(target.c_str());
  EXPECT_FALSE(engine->pcap_enabled());
  EXPECT_EQ(on(good), 0);
  EXPECT_EQ(off(), 0);
}

}  // namespace
}  // namespace loom
