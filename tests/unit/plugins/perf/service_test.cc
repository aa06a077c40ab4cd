// What a perf server makes of a stream's first bytes, and how it answers requests, whatever comes.
#include <gmock/gmock.h>

#include "pattern.h"
#include "perf_host.h"
#include "request.h"

namespace loom::perf {
namespace {

using Bytes = std::vector<std::byte>;

class PerfService : public PerfTest {
 protected:
  // Sends that to a perf server, piece by piece, ends, and gives what came back until its end.
  Bytes exchange(const std::vector<Bytes>& pieces) {
    must("perf server uri pipe://10.0.0.1/80 fifo-size 4k");
    AppOps ops;
    ops.name = "peer";
    ops.connected = [](Worker& w, SessionId id, Status s, void* context) noexcept {
      auto& t = *static_cast<PerfService*>(context);
      t.session = s == Status::kOk ? id : kNoSession;
      go_on(w, t);
    };
    ops.writable = [](Worker& w, SessionId, void* context) noexcept {
      go_on(w, *static_cast<PerfService*>(context));
    };
    ops.readable = [](Worker& w, SessionId id, void* context) noexcept {
      auto& t = *static_cast<PerfService*>(context);
      AppSession s(w, id);
      std::span<const std::byte> v[1];
      while (s.peek(v) != 0) {
        t.answer.insert(t.answer.end(), v[0].begin(), v[0].end());
        s.consume(static_cast<uint32_t>(v[0].size()));
      }
      if (!s.eof()) return;
      t.is_over = true;
      s.close();
    };
    const auto app = bed.layer->add_application(ops, {});
    EXPECT_TRUE(app);
    to_send = pieces;
    const auto to = *parse_app_uri("pipe://10.0.0.1/80");
    bed.engine->run_on_worker(
        0, [&](Worker& w) { EXPECT_TRUE(AppSession::connect(w, **app, to, this)); });
    pass(kSecond);
    EXPECT_TRUE(is_over);
    bed.layer->remove_application(**app);
    return answer;
  }
  uint64_t received() { return perf.servers.list()[0]->sum(&Counters::received); }

  static Bytes bytes(const void* p, std::size_t n) {
    const auto* b = static_cast<const std::byte*>(p);
    return {b, b + n};
  }
  static Bytes header(uint32_t request, uint32_t response) {
    const RequestHeader h = request_header(request, response);
    return bytes(&h, sizeof h);
  }

 private:
  // A piece a round, so that the server sees each on its own.
  static void go_on(Worker& w, PerfService& t) noexcept {
    AppSession s(w, t.session);
    if (t.to_send.empty()) return s.shutdown();
    Bytes& first = t.to_send.front();
    first.erase(first.begin(), first.begin() + s.write(first));
    if (first.empty()) t.to_send.erase(t.to_send.begin());
    s.want_writable();
  }

  SessionId session = kNoSession;
  std::vector<Bytes> to_send;
  Bytes answer;
  bool is_over = false;
};

TEST_F(PerfService, EachRequestIsAnswered) {
  const auto a = exchange({header(10, 7000), Bytes(10), Bytes(3), Bytes(7)});
  EXPECT_EQ(a.size(), 14'000u);
  EXPECT_TRUE(matches(kMarkSize, a));
  EXPECT_EQ(received(), 44u);
}

TEST_F(PerfService, ManyRequestsAtOnceAreAnsweredInTheirOrder) {
  Bytes all = header(1, 3);
  all.resize(all.size() + 2000);
  const auto a = exchange({all});
  EXPECT_EQ(a.size(), 6000u);
  EXPECT_TRUE(matches(kMarkSize, a));
}

TEST_F(PerfService, ARequestThatIsCutShortIsNotAnswered) {
  EXPECT_EQ(exchange({header(10, 5), Bytes(19)}).size(), 5u);
  EXPECT_EQ(received(), 43u);
}

TEST_F(PerfService, AHeaderMayComeInPieces) {
  const auto h = header(1, 9);
  std::vector<Bytes> pieces;
  for (const auto b : h) pieces.push_back({b});
  pieces.push_back(Bytes(1));
  EXPECT_EQ(exchange(pieces).size(), 9u);
}

TEST_F(PerfService, AHeaderCutShortIsTakenAsOrdinaryBytes) {
  auto h = header(1, 9);
  h.pop_back();
  EXPECT_TRUE(exchange({h}).empty());
  EXPECT_EQ(received(), 23u);
}

class PerfServiceSizes : public PerfService,
                         public testing::WithParamInterface<std::pair<uint32_t, uint32_t>> {};

TEST_P(PerfServiceSizes, OutOfTheirBoundsMakeItOrdinaryBytes) {
  EXPECT_TRUE(exchange({header(GetParam().first, GetParam().second), Bytes(100)}).empty());
  EXPECT_EQ(received(), 124u);
}

INSTANTIATE_TEST_SUITE_P(All, PerfServiceSizes,
                         testing::Values(std::pair{0u, 5u}, std::pair{5u, 0u}, std::pair{~0u, 5u},
                                         std::pair{5u, kMostMessage + 1}));

}  // namespace
}  // namespace loom::perf
