// What an application wants of one endpoint (hostloom/endpoint_settings.h), read and checked.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "config.h"
#include "pem.h"

namespace loom::tls {

struct Settings {
  std::vector<KeyPair> pairs;  // the first is for clients that ask for no name, or for another's
  std::string server_name;
  std::string alpn;   // ProtocolNameList without its length; valid
  std::string trust;  // PEM; "": the configuration's
  std::optional<Verify> verify;
  std::string profile;                 // by name; "": none, but what the stanza says
  std::optional<uint32_t> early_data;  // bytes, of a listener; none: the configuration's
  std::string digest;                  // SHA-256 of all of them; "": nothing is wanted
};

// `number`: SocketOptionsView::settings; 0: nothing is wanted. What makes no sense is refused.
Result<Settings> settings_of(Host&, uint32_t number);
// Of the configuration's files, in their order.
Result<std::vector<KeyPair>> read_own_pairs(const Config&);

}  // namespace loom::tls
