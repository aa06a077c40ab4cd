#include "pcap_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "pcap_format.h"

namespace pcap_file {
namespace {

using namespace loom;

constexpr off_t kMostBytes = 256 << 20;

Result<std::vector<std::byte>> read_file(const std::string& file) {
  const auto failed = [&](const std::string& why) {
    return error(Status::kIo, "capture '" + file + "' is not read: " + why);
  };
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return failed(std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return failed("it is not a regular file");
  if (st.st_size > kMostBytes)
    return failed("it has more than " + std::to_string(kMostBytes) + " bytes");
  std::vector<std::byte> bytes(static_cast<std::size_t>(st.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = read(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(std::strerror(errno));
    if (n == 0) break;  // it became shorter
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

Result<Capture> read_capture(const std::string& file) {
  const auto refused = [&](const std::string& why) {
    return error(Status::kMalformed, "capture '" + file + "' is refused: " + why);
  };
  auto bytes = read_file(file);
  if (!bytes) return bytes.error();
  Capture c;
  c.bytes = std::move(*bytes);
  FileHeader header;
  if (c.bytes.size() < sizeof header) return refused("it is shorter than a file header");
  std::memcpy(&header, c.bytes.data(), sizeof header);
  const auto is_magic = [](uint32_t m) {
    return m == kMagicMicroseconds || m == kMagicNanoseconds;
  };
  const bool swapped = is_magic(byteswap(header.magic));
  if (!swapped && !is_magic(header.magic)) return refused("it is no pcap file");
  const auto number = [&](uint32_t v) { return swapped ? byteswap(v) : v; };
  // The upper bits of the field say whether frames end with a checksum; ours must not.
  if (number(header.link_type) != kLinkTypeEthernet)
    return refused("link type " + std::to_string(number(header.link_type)) + " is not Ethernet");
  for (std::size_t at = sizeof header; at != c.bytes.size();) {
    const std::string record = "record " + std::to_string(c.frames.size() + 1);
    RecordHeader r;
    if (c.bytes.size() - at < sizeof r) return refused(record + " is cut off");
    std::memcpy(&r, c.bytes.data() + at, sizeof r);
    at += sizeof r;
    const uint32_t length = number(r.length);
    if (length < kLeastFrame || length > kMostFrame)
      return refused(record + " has " + std::to_string(length) + " bytes, not " +
                     std::to_string(kLeastFrame) + " to " + std::to_string(kMostFrame));
    if (c.bytes.size() - at < length) return refused(record + " is cut off");
    c.frames.push_back({static_cast<uint32_t>(at), length});
    at += length;
  }
  return c;
}

}  // namespace pcap_file
