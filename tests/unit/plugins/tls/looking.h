// What this program's memory holds when it is freed, by operator delete or by OpenSSL.
#pragma once

namespace loom::tls {

void look_before_free(const void*) noexcept;  // secrets_test.cc

}  // namespace loom::tls
