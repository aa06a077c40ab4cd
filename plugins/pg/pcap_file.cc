#include "pcap_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace loom::pg {
namespace {

constexpr off_t kMostBytes = 64 << 20;
constexpr uint32_t kMicroseconds = 0xa1b2c3d4, kNanoseconds = 0xa1b23c4d;

struct Closer {
  int fd;
  ~Closer() {
    if (fd >= 0) close(fd);
  }
};

Result<std::vector<uint8_t>> read_file(const std::string& file) {
  const auto failed = [&](const std::string& why) { return error(Status::kIo, file + ": " + why); };
  const Closer in{open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (in.fd < 0) return failed(std::strerror(errno));
  struct stat st;
  if (fstat(in.fd, &st) != 0 || !S_ISREG(st.st_mode)) return failed("not a plain file");
  if (st.st_size > kMostBytes)
    return failed("it has more than " + std::to_string(kMostBytes) + " bytes");
  std::vector<uint8_t> bytes(static_cast<std::size_t>(st.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = read(in.fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(std::strerror(errno));
    if (n == 0) break;  // it has become shorter
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

Result<PcapContent> read_pcap(const std::string& file) {
  const auto refused = [&](const std::string& why) {
    return error(Status::kMalformed, file + ": " + why);
  };
  auto bytes = read_file(file);
  if (!bytes) return bytes.error();
  PcapContent c;
  c.bytes = std::move(*bytes);
  PcapFileHeader header;
  if (c.bytes.size() < sizeof header) return refused("shorter than a pcap file's header");
  std::memcpy(&header, c.bytes.data(), sizeof header);
  const auto is_magic = [](uint32_t m) { return m == kMicroseconds || m == kNanoseconds; };
  const bool is_swapped = is_magic(byteswap(header.magic));
  if (!is_swapped && !is_magic(header.magic)) return refused("not a pcap file");
  const auto number = [&](uint32_t v) { return is_swapped ? byteswap(v) : v; };
  c.link_type = number(header.link_type) & 0xffff;  // above: whether frames end with a checksum
  if (c.link_type != kLinkEthernet && c.link_type != kLinkRawIp)
    return refused("link type " + std::to_string(c.link_type) + " is neither Ethernet nor raw IP");
  for (std::size_t at = sizeof header; at != c.bytes.size();) {
    const auto bad_record = [&](const std::string& why) {
      return refused("record " + std::to_string(c.packets.size() + 1) + why);
    };
    PcapRecordHeader r;
    if (c.bytes.size() - at < sizeof r) return bad_record(" is cut off");
    std::memcpy(&r, c.bytes.data() + at, sizeof r);
    at += sizeof r;
    const uint32_t length = number(r.captured);
    if (length == 0 || length > kMostPacket)
      return bad_record(" has " + std::to_string(length) + " bytes, not 1 to " +
                        std::to_string(kMostPacket));
    if (c.bytes.size() - at < length) return bad_record(" is cut off");
    c.packets.push_back({static_cast<uint32_t>(at), length});
    at += length;
  }
  if (c.packets.empty()) return refused("no packets");
  return c;
}

Result<int> create_file(const std::string& file) {
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                      S_IRUSR | S_IWUSR);
  const auto failed = [&](Status code, const std::string& why) {
    if (fd >= 0) close(fd);
    return error(code, file + ": " + why);
  };
  if (fd < 0) return failed(Status::kIo, std::strerror(errno));
  struct stat st;
  if (fstat(fd, &st) != 0) return failed(Status::kIo, std::strerror(errno));
  if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
    return failed(Status::kPermission, "not a plain file of this user's alone");
  if (fchmod(fd, S_IRUSR | S_IWUSR) != 0 || ftruncate(fd, 0) != 0)
    return failed(Status::kIo, std::strerror(errno));
  return fd;
}

Result<void> write_all(int fd, const void* bytes, std::size_t n, const std::string& file) {
  const auto* at = static_cast<const char*>(bytes);
  while (n != 0) {
    const ssize_t done = write(fd, at, n);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return error(Status::kIo, file + ": write: " + std::strerror(errno));
    at += done;
    n -= static_cast<std::size_t>(done);
  }
  return {};
}

}  // namespace loom::pg
