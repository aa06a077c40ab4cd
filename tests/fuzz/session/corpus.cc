// What the fuzz target of sessions begins with: scripts of Fuzz::act (fuzz_session.cc).
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "fuzz.h"

namespace {

using Script = std::string;

Script bytes(std::initializer_list<int> values) {
  Script s;
  for (const int v : values) s.push_back(static_cast<char>(v));
  return s;
}

// The actions of Fuzz::act.
const Script kAttach = bytes({0, 0x50, 0}), kPump = bytes({2, 1});
Script listen(int who) { return bytes({6, who, 7, 1, 16}); }
Script connect(int who, int port) { return bytes({4, who, 1, port}); }
Script events(int who) { return bytes({10, who, 63}); }
Script accept(int who) { return bytes({12, who, 1}); }
Script write(int who, int session, int n) { return bytes({13, who, session, n}); }
Script read(int who, int session, int n) { return bytes({15, who, session, n}); }
Script request(int who, int type, int session) { return bytes({7, who, type, 5 + 8 * session}); }
Script get_pair(int who) { return bytes({3, who, 40, 3, 0, 0, 0}); }
Script aim(int who, int session, int fifo, int field, std::initializer_list<int> lie) {
  return bytes({18, who, session, fifo, field}) + bytes(lie);
}
// Of datagrams (datagram_acts.h). The session is not asked for by who has none.
// `lie`: two bytes for Fuzz::lie().
Script datagram_act(int act, int who, int session, std::initializer_list<int> rest,
                    std::initializer_list<int> lie = {0, 0}) {
  return bytes({24 + act, who}) + (session < 0 ? Script() : bytes({session})) + bytes(lie) +
         bytes(rest);
}
Script die(int who) { return bytes({22, who, 0}); }

// One application, a session with itself through the transport, bytes under way.
Script one_session() {
  return kAttach + listen(0) + kPump + events(0) + connect(0, 1) + kPump + events(0) + accept(0) +
         kPump + write(0, 0, 100) + kPump + read(0, 1, 50) + write(0, 0, 200) + kPump;
}
// Two, with a cut-through session.
Script cut_through() {
  return kAttach + kAttach + listen(0) + kPump + events(0) + connect(1, 1) + kPump + events(1) +
         get_pair(1) + accept(0) + get_pair(0) + write(1, 0, 100) + read(0, 0, 50) + kPump;
}

// Two, with a datagram session each that are linked, as both have gone on sending. `other`: 64 when
// the second one's is on the second worker.
Script linked(int other) {
  const int bound = 1, second = 1 + other;
  Script s = kAttach + kAttach + datagram_act(0, 0, -1, {bound, 0}) + kPump + events(0) +
             datagram_act(0, second, -1, {0, bound}) + kPump + events(1);
  for (int i = 0; i < 6; ++i)
    s += datagram_act(1, second, 0, {0, 4 + i, 0}) + kPump + events(0) + read(0, 0, 9);
  return s + datagram_act(3, second, 0, {0, 4}) + get_pair(second) + datagram_act(3, 0, 0, {0, 4}) +
         get_pair(0);
}

// Several lives in one input: a short one is tried at every length, which would be the same
// beginning again and again.
class Lives {
 public:
  // `kind`: with a network 1, of two workers 2 (fuzz_session.cc).
  Lives(const std::function<void(std::string_view)>& give, int kind)
      : give_(give), first_(bytes({kind})), input_(first_) {}
  ~Lives() {
    if (input_ != first_) give_(input_ + Script(512, 0));
  }
  void add(const Script& life) {
    input_ += life;
    if (input_.size() < 512) return;
    give_(input_);
    input_ = first_;
  }

 private:
  const std::function<void(std::string_view)>& give_;
  const Script first_;
  Script input_;
};

}  // namespace

void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  const Script again = write(0, 0, 200) + kPump + read(0, 1, 200) + kPump;
  // Of these two every beginning is an input: they die after each step.
  give(bytes({0}) + one_session() + again + request(0, 7, 0) + request(0, 8, 1) + kPump);
  give(bytes({1}) + cut_through() + request(1, 7, 0) + request(0, 8, 0) + kPump);
  {
    Lives own(give, 0), pair(give, 1);
    for (int field = 0; field < 16; ++field)
      for (int fifo = 0; fifo < 2; ++fifo) {
        // What session 0 writes, and what session 1 reads.
        own.add(one_session() + aim(0, 1 - fifo, fifo, field, {4, 1}) + again + request(0, 8, 0) +
                kPump + die(0));
        pair.add(cut_through() + aim(1, 0, fifo, field, {132, 1}) + write(1, 0, 9) + die(1) +
                 kPump + die(0));
      }
    for (int what = 0; what < 8; ++what)
      own.add(one_session() + bytes({20, 0, what, 1, 5}) + again + connect(0, 0) + kPump + die(0));
    for (int type = 0; type < 16; type += 2)
      own.add(one_session() + bytes({9, 0, 16 + type, 5}) + bytes({9, 0, 240 + type, 0}) + kPump +
              bytes({9, 0, 17 + type, 5}) + die(0));
    own.add(one_session() + bytes({21, 0}) + again + die(0));
    for (int op = 0; op < 7; ++op)
      pair.add(cut_through() + bytes({3, 0, op, 0, 0, 0, 0, 0}) +
               bytes({3, 1, op | 64, 9, 9, 1, 0, 4}) + die(0) + die(0));
  }
  give(bytes({1}) + linked(0) + request(1, 7, 0) + request(0, 8, 0) + kPump);
  for (const int other : {0, 64}) {
    Lives one(give, 1), two(give, 3), streams(give, 2);
    for (int act = 0; act < 8; ++act) {
      const Script life = linked(other) + datagram_act(3, other, 0, {0, act}, {0, 9}) + kPump +
                          datagram_act(3, 1 + other, 0, {0, act}, {1, 1}) +
                          datagram_act(1, 1 + other, 0, {0, 9, 0}) + datagram_act(2, 1, 0, {2, 1}) +
                          kPump + die(act % 2) + kPump + die(0);
      one.add(life);
      two.add(life);
    }
    for (int worker = 0; worker < 2; ++worker)
      streams.add(one_session() + request(64 * worker, 7, 0) + write(64 * worker, 0, 100) + kPump +
                  aim(64 * worker, 1, 1, 9, {4, 1}) + request(other, 8, 1) + kPump + die(0));
    Script unread = one_session();  // more than there is room for
    for (int i = 0; i < 8; ++i) unread += write(0, 0, 255) + write(0, 1, 255) + kPump;
    streams.add(unread + die(0));
    two.add(cut_through() + request(other, 7, 0) + kPump + die(1) + kPump + die(0));
  }
  Lives visits(give, 0);
  for (int how = 0; how < 16; ++how)
    visits.add(bytes({1, 1, how | 0xf0, 1, 2, 3}) + kAttach + bytes({1, how, 2, 0, 9, 200}) +
               kPump + die(0));
}
