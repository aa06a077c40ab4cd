// What an application wants of a transport beyond SocketOptionsView: certificates, names,
// protocols.
//
// One settings object is a row of fields, each a type, a length, and bytes. The host keeps it under
// a number, for the application that gave it, and does not look inside; the application names the
// number when it listens or connects (SocketOptionsView::settings), and the transport reads it
// (Host::endpoint_settings). It comes from outside: a reader believes no length.
#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace loom {

constexpr std::size_t kMostSettingsBytes = 128 << 10;

// Numbers are part of the contract: append only. A reader passes over those it does not know.
enum class Setting : uint32_t {
  kCertificate = 1,  // PEM: the certificate, then its chain
  kPrivateKey = 2,   // PEM
  kPair = 3,         // u32: the number of settings whose kCertificate and kPrivateKey these take
  kServerName = 4,   // client: the name to ask for and to find in the certificate
  kAlpn = 5,    // RFC 7301 ProtocolNameList without its length: each name behind a byte of length
  kVerify = 6,  // u32: ask the peer for its certificate: 0 no, 1 if it has one, 2 it must have
  kTrust = 7,   // PEM: certificates that are believed, instead of the host's
  kEarlyData = 8,  // u32, server: bytes that it takes of a client before the handshake is done
  kProfile = 9,    // the name of versions, ciphers and groups that the host has been told
};

// What a transport says of an open session beyond ConnectionInfo (TransportOps::property). Texts
// without an end mark.
enum class SessionProperty : uint32_t {
  kVersion = 1,          // "TLSv1.3"
  kCipher = 2,           // "TLS_AES_256_GCM_SHA384"
  kAlpn = 3,             // the protocol that was agreed on; "": none
  kServerName = 4,       // that the client has asked for; "": none
  kPeerCertificate = 5,  // DER; "": the peer has shown none
  kIsResumed = 6,        // u32
  kIsVerified = 7,       // u32: the peer's certificate was asked for, and is good
  // u32: of a server, its first bytes came before the handshake was done, and somebody else may
  // have sent them a second time (RFC 8446 section 8): 0 no, 1 yes, and it is not done yet, 2 it is
  kEarlyData = 8,
};

// String: std::string, or SecretString (hostloom/secret.h) for what holds keys.
template <class String>
void add_setting(String& to, Setting type, std::string_view value) {
  const uint32_t head[2] = {static_cast<uint32_t>(type), static_cast<uint32_t>(value.size())};
  to.append(reinterpret_cast<const char*>(head), sizeof head);
  to.append(value);
}
template <class String>
void add_setting(String& to, Setting type, uint32_t value) {
  add_setting(to, type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}
inline uint32_t number_setting(std::string_view value) noexcept {  // 0 when it is none
  uint32_t n = 0;
  if (value.size() == sizeof n) std::memcpy(&n, value.data(), sizeof n);
  return n;
}

// Calls fn(Setting, std::string_view) for each field. False: the bytes are not a settings object.
template <class F>
bool read_settings(std::string_view bytes, F&& fn) {
  while (!bytes.empty()) {
    uint32_t head[2];
    if (bytes.size() < sizeof head) return false;
    std::memcpy(head, bytes.data(), sizeof head);
    bytes.remove_prefix(sizeof head);
    if (head[1] > bytes.size()) return false;
    fn(static_cast<Setting>(head[0]), bytes.substr(0, head[1]));
    bytes.remove_prefix(head[1]);
  }
  return true;
}

}  // namespace loom
