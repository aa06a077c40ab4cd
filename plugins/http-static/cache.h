// The files of one server: what is in memory, and for how long. Control thread.
//
// Each worker keeps a shelf of entries of its own (server.h), by which it finds files without
// asking here. What the cache drops is taken off every shelf by `forget`, before memory is given
// to something else: files that exist, in the cache or only still being sent, never cost more than
// the limit together. What finds no room is opened, and read in pieces, for that request alone;
// how many of those there are at a time has a bound, too.
#pragma once
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "file.h"

namespace loom::http {

constexpr uint64_t kMostWhole = 1 << 20;   // bytes of a file that is read into memory
constexpr uint64_t kFileCost = 1024;       // what a file costs beside its bytes
constexpr uint64_t kOpenFileCost = 16384;  // an open one, so that descriptors have a bound too
constexpr uint64_t kMostLoose = 256;       // files that are open and not in the cache

struct Found {
  uint16_t refusal = 0;
  FilePtr file{};
  bool is_kept = false;  // in the cache: shelves may have it
};

class Cache {
 public:
  using Forget = std::function<void(const FilePtr&)>;
  Cache(Fd root, uint64_t limit, uint32_t max_age, Forget forget);

  // The file as it is now: from memory when it has not changed.
  Found find(std::string_view path);

  const std::list<FilePtr>& files() const { return files_; }
  uint64_t limit() const { return limit_; }
  uint64_t memory() const { return memory_->load(std::memory_order_relaxed); }
  uint64_t dropped() const { return dropped_; }  // to make room, or because they had changed

 private:
  std::shared_ptr<File> describe(std::string_view path, const FileVersion& version) const;
  bool make_room(uint64_t cost);
  void drop(std::list<FilePtr>::iterator file);

  Fd root_;
  const uint64_t limit_;
  const uint32_t max_age_;
  const Forget forget_;
  std::shared_ptr<MemoryUse> memory_ = std::make_shared<MemoryUse>(0);
  std::shared_ptr<MemoryUse> loose_ = std::make_shared<MemoryUse>(0);  // files, not bytes
  std::list<FilePtr> files_;  // what was not used since it was last looked at goes first
  std::unordered_map<std::string_view, std::list<FilePtr>::iterator> by_path_;  // keys: the files'
  uint64_t dropped_ = 0;
};

}  // namespace loom::http
