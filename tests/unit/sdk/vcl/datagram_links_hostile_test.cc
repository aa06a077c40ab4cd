// Links of datagram sessions whose other end writes what it likes.
#include <cstring>
#include <random>

#include "links_bed.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

TEST_F(DatagramLinks, AContradictionBreaksTheLinkAndNothingElse) {
  const std::vector<std::function<void(FakeDaemon::Pair&)>> lies = {
      [](auto& p) { p.send(std::string(10, 'x')); },  // no whole header
      [](auto& p) {
        DatagramHeader h{};
        h.length = 100;  // beyond what was published
        p.send_datagram(h, "short");
      },
      [](auto& p) {
        DatagramHeader h{};
        h.length = ~0u;
        p.send_datagram(h, std::string(200, 'x'));
      },
      [](auto& p) { p.to_app().producer.tail.store(FakeDaemon::Pair::kFifo + 1000); },
      [](auto& p) { p.to_app().producer.flags.store(svm::kFifoEof); },
      [](auto& p) { p.to_app().producer.flags.store(svm::kFifoReset); },
      [](auto& p) {
        p.send_datagram("lost");
        p.to_app().producer.base_chunk.store(svm::make_ref(77, 4096));
        p.to_app().consumer.chunk = 0;
      }};
  for (size_t i = 0; i < lies.size(); ++i) {
    Session& s = connect();
    lies[i](pair(i));
    (void)s.poll(POLLIN, true);
    (void)receive(s);
    EXPECT_EQ(receive(s).n, -EAGAIN) << i;
    EXPECT_EQ(s.state(), Session::State::kOpen) << i;
    EXPECT_EQ(send(s, "goes on"), 7) << i;
    inject("still here", pair(i).session);
    EXPECT_EQ(receive(s).bytes, "still here") << i;
    while (daemon->events(svm::ToDaemon::kLinkDone) == i) std::this_thread::yield();
  }
}

TEST_F(DatagramLinks, AnyBytes) {
  uint64_t bytes = 0, by_link = 0;
  for (uint64_t life = 0; life < 200; ++life) {
    std::mt19937_64 rng(life);
    Session& s = connect();
    auto& p = pair(life);
    for (int i = 0; i < 60; ++i) {
      if (rng() % 2) {
        DatagramHeader h{};
        const std::string payload(rng() % 5000, 'p');
        h.length = rng() % 8 ? static_cast<uint32_t>(payload.size()) : static_cast<uint32_t>(rng());
        p.send_datagram(h, payload);
      }
      svm::FifoShared& f = rng() % 2 ? p.from_app() : p.to_app();
      const uint64_t values[] = {0,
                                 rng(),
                                 rng() % 70'000,
                                 f.producer.tail.load() + rng() % 9 - 4,
                                 f.consumer.head.load() + rng() % 9 - 4,
                                 svm::make_ref(p.chunks->id(), (1 + rng() % 40) << 12),
                                 svm::make_ref(static_cast<uint32_t>(rng() % 200), 4096),
                                 f.producer.oldest_chunk};
      const uint64_t value = values[rng() % std::size(values)];
      void* where = nullptr;
      switch (rng() % 5) {
        case 0:
        case 1:
          where = reinterpret_cast<uint32_t*>(&f) + rng() % (sizeof f / 4 - 1);
          break;
        case 2:
          where = reinterpret_cast<uint32_t*>(p.shared) + rng() % 31;  // owners and counts
          break;
        case 3:
          where = reinterpret_cast<uint32_t*>(&p.row()) + rng() % 34;
          break;
        default:
          where = p.chunks->base() + ((1 + rng() % 40) << 12) + 4 * (rng() % 20);
          break;
      }
      if (rng() % 4 == 0) std::memcpy(where, &value, rng() % 2 ? 4 : 8);
      switch (rng() % 5) {
        case 0:
          ASSERT_NE(send(s, std::string(rng() % 8000, 's')), -EIO);
          break;
        case 1:
        case 2: {
          const Got g = receive(s, rng() % 3 ? 0 : MSG_PEEK, rng() % 6000);
          ASSERT_GE(g.n, -EAGAIN);
          ASSERT_LE(g.n, static_cast<ssize_t>(g.bytes.size()));
          for (const char c : g.bytes) bytes += c != 0;
          by_link += g.n > 0;
          break;
        }
        case 3:
          (void)s.poll(POLLIN | POLLOUT, rng() % 2);
          worker->process_events();
          break;
        default:
          (void)s.unread();
          break;
      }
      ASSERT_EQ(s.state(), Session::State::kOpen);
    }
    // Its own way stays.
    inject("here", p.session);
    bool found = false;
    for (int i = 0; i < 200 && !found; ++i) found = receive(s).bytes == "here";
    ASSERT_TRUE(found) << life;
    sessions.pop_back();
    s.unref();
  }
  EXPECT_GT(by_link, 300u);
  EXPECT_GT(bytes, 100'000u);
}

}  // namespace
}  // namespace loom::vcl
