// Keys of a listener's session tickets (RFC 5077 section 4): made here, never stored, and changed
// once they have been in use for a lifetime. Those before are good for reading for one more, so a
// ticket is good for one lifetime at least and two at most.
//
// They belong to one listener: what a session was granted there, a client certificate say, is not
// granted elsewhere; nor under another name (RFC 6066 section 3), nor when that certificate has
// expired: then the handshake is a whole one. Any worker; a lock of a few instructions for each
// handshake with tickets.
#pragma once
#include <openssl/ssl.h>

#include <array>
#include <mutex>
#include <string_view>

#include <hostloom/types.h>

namespace loom::tls {

TimeNs steady_now() noexcept;

// Names of hosts, as a hello has them and a session keeps them; null: none.
bool is_same_name(std::string_view, const char* kept) noexcept;

class TicketKeys {
 public:
  struct Key {
    std::array<unsigned char, 16> name;
    std::array<unsigned char, 32> cipher, mac;
  };
  explicit TicketKeys(TimeNs lifetime) : lifetime_(lifetime) {}
  ~TicketKeys();
  TicketKeys(const TicketKeys&) = delete;
  TicketKeys& operator=(const TicketKeys&) = delete;

  // Has the context take its tickets' keys from here.
  bool attach(SSL_CTX*) noexcept;
  // The key to write with at that time of a steady clock. False: no randomness.
  bool writing(TimeNs now, Key& out) noexcept;
  // The key of that name, if there is one still. `is_old`: a new ticket is due.
  bool reading(TimeNs now, const unsigned char* name, Key& out, bool& is_old) noexcept;

 private:
  bool turn(TimeNs now) noexcept;

  std::mutex mutex_;
  const TimeNs lifetime_;
  TimeNs since_ = 0;  // when keys_[0] was made; 0: never
  Key keys_[2]{};     // to write with, and the one before
  bool has_previous_ = false;
};

}  // namespace loom::tls
