// OpenSSL's clock for DTLS's retransmissions is gettimeofday: here it is the test's, once there is
// one.
#include <sys/time.h>

#include <ctime>

#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {
const TimeNs* openssl_now = nullptr;
}

extern "C" __attribute__((visibility("default"))) int gettimeofday(timeval* __restrict t,
                                                                   void* __restrict) noexcept {
  timespec real{};
  if (!loom::tls::openssl_now) ::clock_gettime(CLOCK_REALTIME, &real);
  const auto now = loom::tls::openssl_now ? *loom::tls::openssl_now
                                          : static_cast<loom::TimeNs>(real.tv_sec) * loom::kSecond +
                                                static_cast<loom::TimeNs>(real.tv_nsec);
  t->tv_sec = static_cast<time_t>(now / loom::kSecond);
  t->tv_usec = static_cast<suseconds_t>(now % loom::kSecond / 1000);
  return 0;
}
