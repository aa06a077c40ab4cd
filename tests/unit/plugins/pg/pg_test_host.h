// The packet generator with an interface pg0, 10.0.0.1/24 and 2001:db8::1/64, in virtual time.
#pragma once
#include <unistd.h>

#include <fstream>

#include "packet_text.h"
#include "pg.h"
#include "plugin_host.h"

namespace loom::pg {

struct PgHost {
  explicit PgHost(uint32_t n_workers = 1) : h(n_workers) {
    must(pg.streams.init());
    must(register_commands(h.host(), pg));
    must(h.engine->build());
    EXPECT_EQ(h.ok("create packet-generator interface pg0"), "pg0\n");
    index = h.host().find_interface("pg0");
    must(h.net->add_address(index, *IpPrefix::parse("10.0.0.1/24")));
    must(h.net->add_address(index, *IpPrefix::parse("2001:db8::1/64")));
    must(h.net->set_admin(index, true));
    h.run();
  }
  ~PgHost() {
    pg.stop();
    for (const auto& f : files) unlink(f.c_str());
  }
  // `packet-generator new` in one go, and enabled.
  void stream(const std::string& words) {
    h.ok("packet-generator new { name s " + words + " }");
    h.ok("packet-generator enable-stream s");
  }
  uint64_t sent() { return pg.streams.all().at("s")->n_sent; }
  std::string file(const std::string& name) {
    files.push_back(testing::TempDir() + "/pg_test_" + std::to_string(getpid()) + "_" + name);
    return files.back();
  }

  std::vector<std::string> files;
  std::unique_ptr<Pg> owned;  // outlives the workers, as in the daemon: they run while `h` ends
  PluginHost h;
  Pg& pg = *(owned = std::make_unique<Pg>(h.host()));
  IfIndex index = kNoIndex;
};

inline Bytes read_bytes(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(in), {});
}
inline void write_bytes(const std::string& file, const Bytes& bytes) {
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
}
inline void put_le32(Bytes& b, uint32_t v) {
  for (int i = 0; i < 4; ++i) b.push_back(static_cast<uint8_t>(v >> (8 * i)));
}
// A pcap file, little-endian, of these packets.
inline Bytes pcap_of(const std::vector<Bytes>& packets, uint32_t link_type = 1) {
  Bytes b;
  for (const uint32_t v : {0xa1b2c3d4u, 0x00040002u, 0u, 0u, 65535u, link_type}) put_le32(b, v);
  for (const Bytes& p : packets) {
    put_le32(b, 1);
    put_le32(b, 2);
    put_le32(b, static_cast<uint32_t>(p.size()));
    put_le32(b, static_cast<uint32_t>(p.size()));
    b = b + p;
  }
  return b;
}

}  // namespace loom::pg
