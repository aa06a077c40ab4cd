// The other end of a client's connection, as a test wants it: greets as a daemon does with a table
// of its choice, then hands every frame to the test's script, on a thread of its own.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace loom {

using Bytes = std::vector<uint8_t>;
Bytes operator+(Bytes a, const Bytes& b);
Bytes be16(unsigned v);
Bytes be32(uint32_t v);
Bytes text(std::string_view s);                      // u32 length, bytes
uint32_t number_at(const Bytes& b, std::size_t at);  // u32

class FakeDaemon {
 public:
  // A message without its frame; name is its entry of the table without the CRC.
  struct Message {
    std::string name;
    Bytes bytes;
    uint32_t context() const { return number_at(bytes, 6); }
  };
  using Script = std::function<void(FakeDaemon&, const Message&)>;
  static constexpr uint32_t kClientIndex = 0x77;

  // Entries as "show_version_51077d14"; their ids count up from 100. Serves connections one after
  // the other.
  FakeDaemon(std::vector<std::string> table, Script script);
  ~FakeDaemon();
  FakeDaemon(const FakeDaemon&) = delete;

  // Sends a message of the table: its id, then the fields.
  void send(std::string_view name, const Bytes& fields);
  void send_raw(const Bytes& bytes);
  void hang_up();

  std::string path;

 private:
  void serve();
  bool read(uint8_t* to, std::size_t n);

  std::string dir_;
  std::map<std::string, uint16_t, std::less<>> ids_;  // by name
  std::map<uint16_t, std::string> names_;
  std::vector<std::string> table_;
  Script script_;
  int listener_ = -1;
  std::atomic<int> peer_ = -1;  // tests send, too
  std::thread thread_;
};

}  // namespace loom
