// The runtime directory: sockets, and the lock that keeps a second daemon out.
#pragma once
#include <optional>
#include <string>

#include <hostloom/status.h>

namespace loom {

// Holds DIR/hostloom.lock while it lives; the kernel drops the lock with the process, however it
// ends.
class RuntimeDir {
 public:
  // Makes the directory (mode 0755 and that group, for root; 0700 for others) and takes the lock.
  // kInUse names the process that has it; kPermission: the directory belongs to another user.
  static Result<RuntimeDir> open(const std::string& path, std::optional<uint32_t> gid);
  RuntimeDir(RuntimeDir&& o) noexcept;
  RuntimeDir& operator=(RuntimeDir&&) = delete;
  ~RuntimeDir();
  const std::string& path() const { return path_; }

 private:
  RuntimeDir(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_;
};

// Writes the process id to a file of its own; removed by the destructor.
class PidFile {
 public:
  static Result<PidFile> write(const std::string& path);
  PidFile(PidFile&& o) noexcept;
  PidFile& operator=(PidFile&&) = delete;
  ~PidFile();

 private:
  explicit PidFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace loom
