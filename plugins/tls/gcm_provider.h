// AES-GCM of libipsec-mb for OpenSSL. It works on 16 blocks at once where the CPU has VAES and
// AVX-512, and is four times as fast there as OpenSSL 3.0, which works on one or a few. OpenSSL
// stays what speaks TLS; only the cipher of its records is another provider's (provider(7)).
#pragma once

namespace loom::tls {

// The property query that prefers it.
inline constexpr char kFastGcm[] = "?provider=hostloom";

// Registers the provider with OpenSSL, once for the process, which keeps it; by the instructions
// that this CPU has, few or many. False: the plugin was built without libipsec-mb, or there is no
// memory. Control thread.
bool add_fast_gcm() noexcept;
// The same where this CPU gains by it; elsewhere nothing of the library runs. False: OpenSSL's own
// is used.
bool use_fast_gcm() noexcept;

// What a context is made with (SSL_CTX_new_ex): `fast`, the provider's AES-GCM where there is one;
// otherwise, and for everything else, OpenSSL's. That is also what everybody else of the process
// gets, who fetches ciphers and asks for no provider.
const char* gcm_properties(bool fast) noexcept;

}  // namespace loom::tls
