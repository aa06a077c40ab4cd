// Steps of handshakes by the threads of the pool (crypto_pool.h). While one is under way OpenSSL's
// object and all that it refers to are the job's: the connection has none, and may end. It reads a
// copy of what had come from the peer, and what it writes is sent when it is back, so fifos and the
// order of bytes are the worker's alone.
//
//   hand_over --> [held] --> queue --> thread --> finish (crypto_share.h)
//
// A connection that ends leaves its job behind: one that has not begun never does, and what is
// left of either is freed on the worker.
//   cost  two allocations and a copy of the peer's flight, a lock, a wake-up of each side
#include <openssl/err.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "bio.h"
#include "hello.h"
#include "tls.h"

namespace loom::tls {

struct HandshakeJob : CryptoStep {
  Connection* owner = nullptr;  // worker; null: it has ended
  SSL* ssl = nullptr;
  BIO* online = nullptr;  // that `ssl` has otherwise; a reference
  std::shared_ptr<const void> context, wanted;
  std::vector<std::byte> in;   // what had come ...
  std::size_t taken = 0;       // ... of which so much was read
  std::vector<std::byte> out;  // what is to be sent
  bool reads_early = false;    // still
  Step step;
  std::size_t n_first = 0;
  std::byte first[kFirstEarly];  // early data; what comes behind it waits in the fifo, or in `ssl`

  ~HandshakeJob() {
    SSL_free(ssl);
    BIO_free(online);
  }
};

namespace {

constexpr std::size_t kMostCopied = 64 << 10;  // bytes for one step
// To find a hello's certificate by its name takes a look at each, of up to 100 names.
constexpr std::size_t kMostSites = 8;

HandshakeJob& job_of(BIO* b) noexcept { return *static_cast<HandshakeJob*>(BIO_get_data(b)); }

int read_copy(BIO* b, char* to, std::size_t most, std::size_t* got) noexcept {
  HandshakeJob& j = job_of(b);
  BIO_clear_retry_flags(b);
  *got = std::min(most, j.in.size() - j.taken);
  if (*got == 0) {
    BIO_set_retry_read(b);
    return 0;
  }
  std::memcpy(to, j.in.data() + j.taken, *got);
  j.taken += *got;
  return 1;
}

int keep_output(BIO* b, const char* from, std::size_t size, std::size_t* taken) noexcept {
  BIO_clear_retry_flags(b);
  *taken = append(job_of(b).out, std::as_bytes(std::span(from, size))) ? size : 0;
  return *taken == size;
}

long control_copy(BIO*, int command, long, void*) noexcept { return command == BIO_CTRL_FLUSH; }

// False: no memory, and nothing has changed.
bool go_offline(Connection& c, HandshakeJob& j) noexcept {
  static BIO_METHOD* const method =
      make_bio_method("hostloom handshake", {read_copy, keep_output, control_copy});
  try {
    j.in.resize(std::min<std::size_t>(c.below().unread(), kMostCopied));
  } catch (const std::bad_alloc&) {
    return false;
  }
  j.in.resize(copy_unread(c, j.in));
  BIO* const online = SSL_get_rbio(c.ssl);
  if (BIO_up_ref(online) != 1) return false;
  j.online = online;
  return attach_bio(c.ssl, method, &j);
}

// The connection is as if the step had been the worker's. False: there was no memory for what could
// not be sent.
bool go_online(Connection& c, HandshakeJob& j) noexcept {
  c.ssl = std::exchange(j.ssl, nullptr);
  c.context = std::move(j.context);
  c.wanted = std::move(j.wanted);
  BIO* const online = std::exchange(j.online, nullptr);
  SSL_set_bio(c.ssl, online, online);  // one reference for both
  SSL_set_app_data(c.ssl, &c);
  c.reads_early = j.reads_early;
  consume(c, j.taken);
  return send_below(c, j.out);
}

// On a thread of the pool: looks at the job alone.
void run(CryptoPool::Job& job) noexcept {
  auto& j = static_cast<HandshakeJob&>(job);
  if (j.reads_early) {
    ERR_clear_error();
    const int done = SSL_read_early_data(j.ssl, j.first, sizeof j.first, &j.n_first);
    if (done == SSL_READ_EARLY_DATA_SUCCESS) return;
    j.n_first = 0;
    if (done == SSL_READ_EARLY_DATA_ERROR) {
      j.step = outcome_of(j.ssl, 0);
      return;
    }
    j.reads_early = false;
  }
  j.step = take_step(j.ssl);
}

// TLS 1.2: its ticket has come in the step, when there was nobody to keep it.
void keep_ticket(Connection& c) noexcept {
  if (c.is_server || SSL_version(c.ssl) >= TLS1_3_VERSION || SSL_session_reused(c.ssl)) return;
  SSL_SESSION* const s = SSL_get1_session(c.ssl);
  if (s && keep_session(c.ssl, s) != 1) SSL_SESSION_free(s);
}

void go_on(Connection& c, HandshakeJob& j) noexcept {
  if (!go_online(c, j)) {
    ++c.at->stats[kHandshakesFailed];
    return fail(c, ResetReason::kNoMemory);
  }
  if (j.n_first != 0) return early_came(c, std::span(j.first).first(j.n_first));
  if (j.step.done == 1) keep_ticket(c);
  stepped(c, j.step);
}

// What a step has come to. The job is gone on return.
void finish(Worker& w, CryptoStep& step) noexcept {
  const std::unique_ptr<HandshakeJob> j(&static_cast<HandshakeJob&>(step));
  --tls_worker(w).stats[kCryptoUnderWay];
  if (Connection* const c = j->owner) {
    c->job = nullptr;
    return go_on(*c, *j);
  }
  SSL_free(std::exchange(j->ssl, nullptr));
  retired().let_go(w, j->context);
  retired().let_go(w, j->wanted);
}

// Whether the key exchange of TLS 1.3 is done: not yet when the hello was asked for again.
bool has_peer_key(SSL* ssl) noexcept {
  EVP_PKEY* key = nullptr;
  if (SSL_get_peer_tmp_key(ssl, &key) != 1) return false;
  EVP_PKEY_free(key);
  return true;
}

// Of a server: a step that is dearer to hand over than to do. There is no private key in it, no key
// exchange of many bits, no chain to check, and no certificate to be found among many.
bool is_quick(const Connection& c) noexcept {
  if (SSL_in_before(c.ssl)) {
    if (static_cast<const ServerContext*>(c.context.get())->sites.size() > kMostSites) return false;
    std::byte hello[kMostHello];
    return resumes_quickly(std::span(hello).first(copy_unread(c, hello)));
  }
  // The peer's last flight.
  if (SSL_version(c.ssl) < TLS1_3_VERSION) return SSL_session_reused(c.ssl) == 1;
  const bool has_no_chain =
      SSL_session_reused(c.ssl) == 1 || SSL_get_verify_mode(c.ssl) == SSL_VERIFY_NONE;
  return has_no_chain && has_peer_key(c.ssl);
}

}  // namespace

int key_is_next(SSL* ssl, void*) noexcept {
  auto* const c = static_cast<Connection*>(SSL_get_app_data(ssl));
  return c && c->at->share.has_threads() ? -1 : 1;  // a thread has none
}

bool hand_over(Connection& c) noexcept {
  TlsWorker& t = *c.at;
  if (c.is_server && c.upper != kNoSession) return false;  // early data goes on here
  if (!t.share.has_threads()) return false;
  const bool begins = !c.is_server && SSL_in_before(c.ssl);
  if (!begins && c.below().unread() == 0) return false;
  // What would be a thread's again with each part of a record waits for all of it; `readable` comes
  // with more. Of what OpenSSL has begun it alone knows how much that is.
  if (!begins && !c.below().ended() && SSL_has_pending(c.ssl) == 0 && !has_record(c)) return true;
  // What is quick, too, once it would wait for the next round here, and not for others there.
  const bool has_time = !t.slice.is_used_up(t.w.now) || !t.share.has_room();
  if (c.is_server && has_time && is_quick(c)) return false;
  hand_over_now(c);
  return true;
}

void hand_over_now(Connection& c) noexcept {
  TlsWorker& t = *c.at;
  if (!t.share.has_room()) {
    ++t.stats[kCryptoHeld];
    c.go_on = [](Held& h) noexcept { handshake(static_cast<Connection&>(h)); };
    return t.share.hold(c);
  }
  std::unique_ptr<HandshakeJob> j(new (std::nothrow) HandshakeJob);
  if (!j || !go_offline(c, *j)) {
    ++t.stats[kHandshakesFailed];
    return fail(c, ResetReason::kNoMemory);
  }
  j->run = run;
  j->finish = finish;
  j->owner = &c;
  SSL_set_app_data(c.ssl, nullptr);
  j->ssl = std::exchange(c.ssl, nullptr);
  j->context = std::move(c.context);
  j->wanted = std::move(c.wanted);
  j->reads_early = c.reads_early;
  ++t.stats[kCryptoSteps];
  ++t.stats[kCryptoUnderWay];
  c.job = j.release();
  t.share.submit(*c.job);
}

void take_back(Connection& c) noexcept {
  CryptoShare& share = c.at->share;
  if (c.is_held()) share.unhold(c);
  HandshakeJob* const j = std::exchange(c.job, nullptr);
  if (!j) return;
  j->owner = nullptr;
  if (share.take_back(*j)) ++c.at->stats[kCryptoTakenBack];
}

}  // namespace loom::tls
