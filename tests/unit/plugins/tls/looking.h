// What this program's memory holds when it is freed, by operator delete or by OpenSSL; how much of
// it is in use; and which of OpenSSL's allocations is to fail.
#pragma once
#include <atomic>
#include <cstddef>

namespace loom::tls {

void look_before_free(const void*) noexcept;     // secrets_test.cc
extern std::size_t allocations_until_one_fails;  // buffers_test.cc; 0: none does
// Likewise of operator new, by this thread.
extern thread_local std::size_t news_until_one_fails;  // secrets_test.cc
// Of both, of all threads.
extern std::atomic<std::size_t> blocks_in_use, bytes_in_use;  // secrets_test.cc
void count_allocated(void*) noexcept;
void count_freed(void*) noexcept;
extern thread_local std::size_t n_frees;  // so many operator delete has had of this thread

}  // namespace loom::tls
