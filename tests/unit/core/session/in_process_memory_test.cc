// In-process applications: memory that runs out, comes, and goes back.
#include "tests/unit/core/session/in_process_bed.h"

namespace loom::test {
namespace {

TEST_F(InProcess, IdleSessionsHoldNoMemory) {
  open();
  std::vector<std::pair<SessionId, SessionId>> all{{near, far}};
  for (int i = 0; i < 50; ++i) {
    open();
    all.emplace_back(near, far);
  }
  uint64_t carved = 0;
  for (const auto& [c, s] : all) {
    client.write(c, pattern(4000));
    EXPECT_EQ(server.read(s).size(), 4000u);
    bed.pump(600 * kMillisecond);  // two looks at idle chunks
    if (carved == 0) carved = client.core().app_arena.carved_bytes();
  }
  EXPECT_EQ(server.core().arena.stats().chunk_bytes, 0u);
  // Each took the chunk that the one before had given back.
  EXPECT_EQ(client.core().app_arena.carved_bytes(), carved);
}

TEST(InProcessMemory, AWriterThatFoundNoneIsCalledWhenThereIsSome) {
  SessionConfig config;
  config.segment_size = config.add_segment_size = 64 << 10;  // 60 KB of chunks
  SessionBed bed(config);
  AppConfig large;
  large.rx_fifo_size = large.tx_fifo_size = 1 << 20;
  Recorder server(bed, "server", large), client(bed, "client", large);
  server.listen(80);
  bed.pipe.hold_acks = true;  // the tx fifo has to keep it all
  const SessionId near = client.connect(80);
  const std::string text = pattern(300'000);
  std::size_t sent = 0;
  const auto push = [&](AppSession s) {
    sent += s.write(std::as_bytes(std::span(text).subspan(sent)));
    if (sent < text.size()) s.want_writable();
  };
  client.on["writable"] = push;
  std::string got;
  push(client.session(near));
  EXPECT_LT(sent, text.size());
  for (int i = 0; i < 50 && got.size() < text.size(); ++i) {
    bed.pump();
    got += server.read(server.accepted);
  }
  EXPECT_EQ(got, text);
  EXPECT_GT(bed.counter("no-segment-memory"), 0u);
}

TEST(InProcessMemory, ASegmentIsAddedBeforeTheLastOneIsFull) {
  SessionConfig config;
  config.segment_size = 16 << 20;  // 4 spans, of which the first session takes one
  config.add_segment_size = 64 << 20;
  SessionBed bed(config);
  Recorder server(bed, "server"), client(bed, "client");
  server.listen(80);
  EXPECT_EQ(server.core().arena.n_segments(), 1u);
  for (int i = 0; i < 20; ++i) (void)client.connect(80);
  EXPECT_EQ(server.core().arena.n_segments(), 2u);  // once
  EXPECT_EQ(client.core().arena.n_segments(), 2u);
  EXPECT_EQ(bed.counter("no-segment-memory"), 0u);
}

TEST(InProcessMemory, PreallocatedSessionsAreThereBeforeTheFirst) {
  SessionConfig config;
  config.preallocated_sessions = 5000;
  SessionBed bed(config);
  EXPECT_GE(bed.layer->impl().workers[0]->pool.end(), 5000u);
}

TEST(InProcessMemory, SoIsOneThatHadAskedBeforeItRanOut) {
  SessionConfig config;
  config.segment_size = config.add_segment_size = 64 << 10;
  SessionBed bed(config);
  AppConfig large;
  large.rx_fifo_size = large.tx_fifo_size = 1 << 20;
  Recorder server(bed, "server", large), client(bed, "client", large);
  server.listen(80);
  bed.pipe.hold_acks = true;
  const SessionId near = client.connect(80);
  client.told();
  client.session(near).want_writable(1);
  const std::string text = pattern(300'000);
  EXPECT_LT(client.session(near).write(std::as_bytes(std::span(text))), text.size());
  bed.pump(5 * kMillisecond);
  EXPECT_EQ(client.told(), Strings{"writable"});
}

}  // namespace
}  // namespace loom::test
