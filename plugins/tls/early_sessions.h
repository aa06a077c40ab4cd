// Sessions of a listener whose tickets may bring early data: OpenSSL keeps them, as each is good
// once, until it is used, or others need its place. Here they are in the order in which they
// expire, so that those of old leave in time and nobody has to look at all of them
// (SSL_CTX_flush_sessions does before OpenSSL 3.2, with the cache's lock held). Any thread.
//   cost  an allocation and two short locks a ticket
#pragma once
#include <openssl/ssl.h>

#include <mutex>

#include <hostloom/host.h>

namespace loom::tls {

class EarlySessions {
 public:
  explicit EarlySessions(TimeNs lifetime) noexcept : lifetime_(lifetime) {}
  ~EarlySessions();  // behind the context
  EarlySessions(const EarlySessions&) = delete;
  EarlySessions& operator=(const EarlySessions&) = delete;

  // Hears what the context's cache gets and gives away.
  bool attach(SSL_CTX*) noexcept;
  bool is_attached() const noexcept { return context_ != nullptr; }
  // Of those that have expired at that time of a steady clock so many leave the cache. How many
  // did.
  uint32_t drop_expired(TimeNs now, uint32_t most) noexcept;
  std::size_t size() noexcept;

 private:
  struct Entry {
    Entry *older, *newer;
    SSL_SESSION* session;  // a reference
    TimeNs due;
  };
  static int added(SSL*, SSL_SESSION*) noexcept;
  static void removed(SSL_CTX*, SSL_SESSION*) noexcept;
  bool add(SSL_SESSION*, TimeNs now) noexcept;
  SSL_SESSION* take(SSL_SESSION*) noexcept;
  SSL_SESSION* oldest_expired(TimeNs now) noexcept;

  const TimeNs lifetime_;
  SSL_CTX* context_ = nullptr;
  std::mutex mutex_;
  Entry *oldest_ = nullptr, *newest_ = nullptr;
  std::size_t size_ = 0;
};

// Has those of all listeners drop what has expired, while there are such listeners. A little in
// each turn of the control thread's loop.
class EarlySweep {
 public:
  static constexpr uint32_t kMostOfATurn = 64;
  EarlySweep() = default;
  ~EarlySweep() { stop(); }
  EarlySweep(const EarlySweep&) = delete;
  EarlySweep& operator=(const EarlySweep&) = delete;
  // A listener takes early data. `every`: at least that often.
  void start(TimeNs every);
  void stop() noexcept;
  void turn(TimeNs now) noexcept;
  bool is_running() const noexcept { return watch_ != 0; }

 private:
  void set(TimeNs first, TimeNs every) noexcept;
  int timer_ = -1;
  uint64_t watch_ = 0;
  TimeNs every_ = 0;
};

}  // namespace loom::tls
