// Steps of DTLS handshakes by the threads of the pool, as those of TLS are (handover.cc): of a step
// with one datagram, OpenSSL's object and all that it refers to are the job's, what it writes is
// sent when it is back, and the time of a flight begins then.
//
// What else comes meanwhile is looked at afterwards, in order: a client's waits in its own fifo
// below; a listener's is all peers', so a copy is kept here, up to a bound, or it is dropped, and
// the peer's timer brings it again. Nothing of a connection is sent again meanwhile: when it is
// back its timer is what the step has made of it. Cookies are the worker's, and so is a client's
// first flight, in which there is no key.
//   cost  as handover.cc, and a copy of what is kept
#include <algorithm>
#include <new>

#include "dtls.h"
#include "tls.h"

namespace loom::tls::dtls {

struct HandshakeJob : CryptoStep {
  Connection* owner = nullptr;  // worker; null: it has ended
  SSL* ssl = nullptr;
  std::shared_ptr<const void> context, wanted;
  Wire wire;  // that `ssl` has meanwhile
  Datagram from;
  std::vector<std::byte> in;
  std::vector<std::vector<std::byte>> out;
  Step step;

  ~HandshakeJob() { SSL_free(ssl); }
};

namespace {

using State = Connection::State;

// With what a vector and malloc have besides.
std::size_t cost_of(std::span<const std::byte> datagram) noexcept {
  return sizeof(KeptDatagram) + 32 + datagram.size();
}

// On a thread of the pool: looks at the job alone.
void run(CryptoPool::Job& job) noexcept {
  auto& j = static_cast<HandshakeJob&>(job);
  j.step = take_step(j.ssl);
}

// The connection is as if the step had been the worker's.
void go_online(Connection& c, HandshakeJob& j) noexcept {
  c.ssl = std::exchange(j.ssl, nullptr);
  c.context = std::move(j.context);
  c.wanted = std::move(j.wanted);
  move_wire(c.ssl, c.wire);
  c.wire.wait_us = j.wire.wait_us;
  c.wire.due = j.wire.due;
  if (j.wire.was_set)
    c.wire.retransmit_at = j.wire.retransmit_at == 0 ? 0 : c.at->w.now + j.wire.retransmit_at;
  for (const auto& datagram : j.out) send_below(c.wire, datagram);
  c.at->stats[kUnsent] += j.wire.n_lost;
}

void hold(Connection& c) noexcept;

void take_next_kept(Connection& c) noexcept {
  const KeptDatagram next = std::move(c.kept.front());
  c.kept.erase(c.kept.begin());
  c.at->kept -= cost_of(next.bytes);
  input(c, next.from, next.bytes);
}

// What has come meanwhile, as far as it need not wait again.
void take_kept(Connection& c) noexcept {
  while (!c.kept.empty() && !is_away(c)) {
    if (c.state == State::kHandshake && tls_worker(c.at->w).share.first_held())
      return hold(c);  // it is their turn
    take_next_kept(c);
  }
  if (is_away(c) || c.state == State::kEnding) return;
  c.kept = {};  // its memory, too
  if (!c.is_server) c.below().want_readable();
}

void hold(Connection& c) noexcept {
  ++c.at->stats[kCryptoHeld];
  c.go_on = [](Held& h) noexcept {
    auto& mine = static_cast<Connection&>(h);
    if (mine.kept.empty())
      look_at(mine, mine.wire.to);  // it begins, with what OpenSSL has seen of it
    else
      take_next_kept(mine);
    take_kept(mine);
    settle(mine);
  };
  tls_worker(c.at->w).share.hold(c);
}

// False: it is dropped.
bool keep(Connection& c, const Datagram& from, std::span<const std::byte> datagram) noexcept {
  DtlsWorker& t = *c.at;
  const std::size_t cost = cost_of(datagram);
  std::size_t mine = cost;
  for (const KeptDatagram& k : c.kept) mine += cost_of(k.bytes);
  bool is_kept = mine <= kMostKept && t.kept + cost <= kMostKeptOfAll;
  if (is_kept) try {
      c.kept.push_back({from, {datagram.begin(), datagram.end()}});
      t.kept += cost;
    } catch (const std::bad_alloc&) {
      is_kept = false;
    }
  ++t.stats[is_kept ? kPutOff : kPutOffDropped];
  return is_kept;
}

// What a step has come to. The job is gone on return.
void finish_step(Worker& w, CryptoStep& step) noexcept {
  const std::unique_ptr<HandshakeJob> j(&static_cast<HandshakeJob&>(step));
  --dtls_worker(w).stats[kCryptoUnderWay];
  if (!j->owner) {
    SSL_free(std::exchange(j->ssl, nullptr));
    retired().let_go(w, j->context);
    retired().let_go(w, j->wanted);
    return;
  }
  Connection& c = *j->owner;
  c.job = nullptr;
  go_online(c, *j);
  stepped(c, j->step, j->from);
  take_kept(c);
  settle(c);
}

}  // namespace

bool hand_over(Connection& c, const Datagram& from) noexcept {
  CryptoShare& share = tls_worker(c.at->w).share;
  const bool begins = !c.is_server && SSL_in_before(c.ssl);
  if (begins || !share.has_threads()) return false;
  std::unique_ptr<HandshakeJob> j(new (std::nothrow) HandshakeJob);
  try {
    if (j) j->in.assign(c.wire.in.begin(), c.wire.in.end());
  } catch (const std::bad_alloc&) {
    j.reset();
  }
  if (!j) {
    ++c.at->stats[kPutOffDropped];
    return true;
  }
  j->run = run;
  j->finish = finish_step;
  j->owner = &c;
  j->from = from;
  j->wire.wait_us = c.wire.wait_us;
  j->wire.due = c.wire.due;
  j->wire.in = j->in;
  j->wire.out = &j->out;
  move_wire(c.ssl, j->wire);
  j->ssl = std::exchange(c.ssl, nullptr);
  j->context = std::move(c.context);
  j->wanted = std::move(c.wanted);
  ++c.at->stats[kCryptoSteps];
  ++c.at->stats[kCryptoUnderWay];
  c.job = j.release();
  share.submit(*c.job);
  return true;
}

bool keep_for_later(Connection& c, const Datagram& from,
                    std::span<const std::byte> datagram) noexcept {
  if (c.state != State::kHandshake) return false;
  CryptoShare& share = tls_worker(c.at->w).share;
  if (!is_away(c) && (share.has_room() || !share.has_threads())) return false;
  const bool is_kept = datagram.empty() || keep(c, from, datagram);
  if (is_kept && !is_away(c)) hold(c);
  return true;
}

void take_back(Connection& c) noexcept {
  CryptoShare& share = tls_worker(c.at->w).share;
  if (c.is_held()) share.unhold(c);
  HandshakeJob* const j = std::exchange(c.job, nullptr);
  if (!j) return;
  j->owner = nullptr;
  if (share.take_back(*j)) ++c.at->stats[kCryptoTakenBack];
}

void drop_kept(Connection& c) noexcept {
  for (const KeptDatagram& k : c.kept) c.at->kept -= cost_of(k.bytes);
  c.kept.clear();
}

}  // namespace loom::tls::dtls
