// Whom one believes: stores of trusted certificates and of lists of what is revoked. Made on the
// control thread, with all that files have to say: looking somebody up reads none.
#pragma once
#include "config.h"
#include "pem.h"

namespace loom::tls {

// Of the configuration: its file or folder, or the system's, and its list.
Result<StorePtr> make_store(const Config&);
// Of a text that an application has brought; what `host` has lists of is refused here, too.
Result<StorePtr> store_of(const std::string& pem, X509_STORE* host);

}  // namespace loom::tls
