// A session that may bring early data and whose place in the order there is no memory for: it stays
// in the cache until it is used or others need its place, and goes with the listener.
#include "looking.h"
#include "tls_bed.h"

namespace loom::tls {
namespace {

int (*added)(SSL*, SSL_SESSION*) = nullptr;
bool has_lacked = false;

int without_memory(SSL* ssl, SSL_SESSION* session) noexcept {
  news_until_one_fails = 1;
  const int is_ours = added(ssl, session);
  has_lacked = std::exchange(news_until_one_fails, 0) == 0;
  return is_ours;
}

TEST(TlsEarlySessionsMemory, OneWithoutAPlaceStaysInTheCacheAndMayBeUsed) {
  TlsBed bed([](Config& c) { c.early_data = 16'384; });
  ASSERT_EQ(bed.listen(443), 0);
  ServerContext& context = *shared().listeners.begin()->second->context;
  SSL_CTX* const c = context.ssl.get();
  added = SSL_CTX_sess_get_new_cb(c);
  SSL_CTX_sess_set_new_cb(c, without_memory);
  auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer first(Peer::Role::kClient);
  first.exchange(*bed.app, *link);
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_TRUE(has_lacked);
  first.feed(bed.app->read(*link));
  EXPECT_EQ(first.read(), "");
  bed.app->close(*far);
  const std::unique_ptr<SSL_SESSION, void (*)(SSL_SESSION*)> ticket(SSL_get1_session(first.ssl()),
                                                                    SSL_SESSION_free);
  SSL_set_shutdown(first.ssl(), SSL_SENT_SHUTDOWN);
  bed.app->push(svm::ToDaemon::kReset, link->handle);
  bed.bed.pump();
  EXPECT_EQ(SSL_CTX_sess_number(c), 1);
  EXPECT_EQ(context.early_sessions.size(), 0u);
  EXPECT_EQ(context.early_sessions.drop_expired(steady_now() + 7200 * kSecond, 100), 0u);
  EXPECT_EQ(SSL_CTX_sess_number(c), 1);
  SSL_CTX_sess_set_new_cb(c, added);
  auto again = bed.connect(443, test::PipeTransport::kProto);
  Peer second(Peer::Role::kClient);
  ASSERT_EQ(SSL_set_session(second.ssl(), ticket.get()), 1);
  second.exchange(*bed.app, *again);
  far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(bed.stat(kResumed), 1u);
  EXPECT_EQ(SSL_CTX_sess_number(c), 1);  // its successor
  EXPECT_EQ(context.early_sessions.size(), 1u);
}

}  // namespace
}  // namespace loom::tls
