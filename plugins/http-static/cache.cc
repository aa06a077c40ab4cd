#include "cache.h"

#include <cinttypes>
#include <cstdio>

#include "date.h"
#include "media_type.h"

namespace loom::http {

Cache::Cache(Fd root, uint64_t limit, uint32_t max_age, Forget forget)
    : root_(std::move(root)), limit_(limit), max_age_(max_age), forget_(std::move(forget)) {}

std::shared_ptr<File> Cache::describe(std::string_view path, const FileVersion& version) const {
  auto f = std::make_shared<File>();
  f->path = path;
  f->version = version;
  char tag[64];
  std::snprintf(tag, sizeof tag, "\"%" PRIx64 "-%" PRIx64 "\"",
                static_cast<uint64_t>(version.modified_ns), version.size);
  f->etag = tag;
  const bool is_directory = path.empty() || path.back() == '/';
  f->fields = std::string("Content-Type: ") + media_type(is_directory ? "index.html" : path) +
              "\r\nLast-Modified: " + format_date(f->modified()) + "\r\nETag: " + f->etag +
              "\r\nAccept-Ranges: bytes\r\n";
  if (max_age_ != 0) f->fields += "Cache-Control: max-age=" + std::to_string(max_age_) + "\r\n";
  return f;
}

Found Cache::find(std::string_view path) {
  std::string name(path);
  if (name.empty() || name.back() == '/') name += "index.html";
  OpenedFile opened = open_below(root_.get(), name);
  const auto known = by_path_.find(path);
  if (known != by_path_.end()) {
    const FilePtr& file = *known->second;
    if (opened.refusal == 0 && opened.version == file->version)
      return {.file = file, .is_kept = true};
    drop(known->second);
  }
  if (opened.refusal == 301 && name.size() != path.size()) opened.refusal = 404;  // index.html/
  if (opened.refusal != 0) return {.refusal = opened.refusal};

  auto file = describe(path, opened.version);
  const uint64_t size = file->size();
  const bool is_whole = size <= kMostWhole && size + kFileCost <= limit_;
  const uint64_t cost = is_whole ? size + kFileCost : kOpenFileCost;
  const bool is_kept = make_room(cost);
  file->fd = opened.fd.release();
  if (is_whole && is_kept) {
    auto data = std::make_unique<std::byte[]>(size);
    if (!file->read(0, {data.get(), size})) return {.refusal = 503};  // it is being written
    file->data = std::move(data);
    Fd(std::exchange(file->fd, -1));
  }
  if (!is_kept && *loose_ >= kMostLoose) return {.refusal = 503};
  file->cost = is_kept ? cost : 1;
  file->memory = is_kept ? memory_ : loose_;
  *file->memory += file->cost;
  if (!is_kept) return {.file = std::move(file)};
  files_.push_back(file);
  by_path_.emplace(file->path, std::prev(files_.end()));
  return {.file = std::move(file), .is_kept = true};
}

// Second chance: what was used since the last time is passed over once.
bool Cache::make_room(uint64_t cost) {
  if (cost > limit_) return false;
  for (std::size_t looked = 0, most = 2 * files_.size();
       memory() + cost > limit_ && looked < most && !files_.empty(); ++looked) {
    if (files_.front()->was_used.exchange(false, std::memory_order_relaxed))
      files_.splice(files_.end(), files_, files_.begin());
    else
      drop(files_.begin());
  }
  return memory() + cost <= limit_;
}

void Cache::drop(std::list<FilePtr>::iterator it) {
  const FilePtr file = *it;
  by_path_.erase(file->path);
  files_.erase(it);
  ++dropped_;
  forget_(file);
}

}  // namespace loom::http
