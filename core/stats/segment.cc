#include "stats/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include <hostloom/check.h>

namespace loom {

using namespace stats;

namespace {

// Not where the daemon has it mapped: that is nobody's business. Any number would do.
constexpr uint64_t kBase = 1ull << 40;
constexpr uint64_t kHeaderBytes = 4096;
// VPP's Python client refuses a vector that ends exactly where the segment does.
constexpr uint64_t kTailBytes = 64;
constexpr uint32_t kFirstEntries = 1024;

std::size_t element_size(EntryType type) {
  return type == EntryType::kCombined ? sizeof(Combined) : sizeof(uint64_t);
}

// Readers look at any moment.
template <class T>
void store(T& to, T value) noexcept {
  __atomic_store_n(&to, value, __ATOMIC_RELAXED);
}

Error full(std::string_view name) {
  return error(Status::kNoMemory,
               "no room in the statistics segment for '" + std::string(name) + "'");
}

}  // namespace

Result<std::unique_ptr<StatsSegment>> StatsSegment::create(uint64_t size) {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  size = (size + page - 1) / page * page;
  const int fd = ::memfd_create("hostloom-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  void* memory = MAP_FAILED;
  const auto failed = [&](const char* what) {
    const int code = errno;
    if (memory != MAP_FAILED) ::munmap(memory, size);
    if (fd >= 0) ::close(fd);
    return error(code == ENOMEM   ? Status::kNoMemory
                 : code == EINVAL ? Status::kUnsupported
                                  : Status::kIo,
                 "statistics segment of " + std::to_string(size) + " bytes: " + what + ": " +
                     std::strerror(code));
  };
  if (fd < 0) return failed("memfd_create");
  if (::ftruncate(fd, static_cast<off_t>(size)) != 0) return failed("ftruncate");
  memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (memory == MAP_FAILED) return failed("mmap");
  // This mapping stays writable; whoever gets the fd can only read.
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
      0)
    return failed("F_ADD_SEALS");
  std::unique_ptr<StatsSegment> s(new StatsSegment(fd, static_cast<std::byte*>(memory), size));
  s->header().version = kSegmentVersion;
  s->header().base = kBase;
  s->header().epoch = 1;
  if (!s->make_vector(s->directory_, kFirstEntries, sizeof(Entry))) return full("the directory");
  s->set_length(s->directory_, 0);
  s->header().directory = s->pointer_to(s->directory_);
  for (const char* name : {"/sys/heartbeat", "/sys/last_stats_clear", "/sys/boottime"})
    if (const auto id = s->add_scalar(name); !id) return id.error();
  return s;
}

StatsSegment::StatsSegment(int fd, std::byte* memory, uint64_t size)
    : fd_(fd), memory_(memory), size_(size), heap_(kHeaderBytes, size - kTailBytes) {}

StatsSegment::~StatsSegment() {
  ::munmap(memory_, size_);
  ::close(fd_);
}

void StatsSegment::begin_change() noexcept {
  if (changes_++ != 0) return;
  store(header().in_progress, uint64_t{1});
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void StatsSegment::end_change() noexcept {
  if (--changes_ != 0) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  __atomic_store_n(&header().epoch, header().epoch + 1, __ATOMIC_RELEASE);
  __atomic_store_n(&header().in_progress, 0, __ATOMIC_RELEASE);
}

uint64_t StatsSegment::pointer_to(const Vector& v) const noexcept {
  return v.offset == 0 ? 0 : kBase + v.offset + sizeof(VectorHeader);
}

Entry& StatsSegment::slot(Id id) const noexcept {
  return reinterpret_cast<Entry*>(data(directory_))[id];
}

// --- Vectors.

// A block of its own, zeroed, of which `length` elements are in use.
bool StatsSegment::make_vector(Vector& v, uint32_t length, std::size_t element) {
  const uint64_t bytes = sizeof(VectorHeader) + uint64_t{length} * element;
  const auto offset = heap_.alloc(bytes);
  if (!offset) return false;
  const uint64_t block = SegmentHeap::block_size(bytes);
  v = {.offset = *offset,
       .bytes = bytes,
       .length = length,
       .capacity = static_cast<uint32_t>(
           std::min<uint64_t>((block - sizeof(VectorHeader)) / element, ~0u))};
  std::memset(memory_ + *offset, 0, block);
  auto* h = reinterpret_cast<VectorHeader*>(memory_ + *offset);
  *h = {.length = length, .header_size = 1, .alignment = 3, .spare = 0, .unused = 0};
  return true;
}

void StatsSegment::free_vector(Vector& v) {
  if (v.offset != 0) heap_.free(v.offset, v.bytes);
  v = {};
}

void StatsSegment::set_length(Vector& v, uint32_t length) noexcept {
  v.length = length;
  store(reinterpret_cast<VectorHeader*>(memory_ + v.offset)->length, length);
}

void StatsSegment::point_to(Vector& outer, uint32_t index, const Vector& inner) noexcept {
  store(reinterpret_cast<uint64_t*>(data(outer))[index], pointer_to(inner));
}

// --- The directory.

Result<StatsSegment::Id> StatsSegment::new_entry(std::string_view name, EntryType type) {
  if (name.empty() || name.size() >= kNameSize || name.find('\0') != name.npos)
    return error(Status::kInvalid, "'" + std::string(name) + "' is no name of 1 to " +
                                       std::to_string(kNameSize - 1) + " bytes");
  if (by_name_.contains(name))
    return error(Status::kExists, "there is a statistic '" + std::string(name) + "' already");
  Change change(*this);
  Id id;
  if (!free_ids_.empty()) {
    id = free_ids_.back();
    free_ids_.pop_back();
  } else {
    id = directory_.length;
    if (id == directory_.capacity) {
      Vector bigger;
      if (!make_vector(bigger, 2 * id, sizeof(Entry))) return full(name);
      std::memcpy(data(bigger), data(directory_), uint64_t{id} * sizeof(Entry));
      std::swap(bigger, directory_);
      free_vector(bigger);
      set_length(directory_, id);
      store(header().directory, pointer_to(directory_));
    }
    entries_.emplace_back();
    set_length(directory_, id + 1);
  }
  entries_[id] = {.type = type, .name = std::string(name), .value = 0, .outer = {}, .inner = {}};
  by_name_.emplace(name, id);
  Entry& e = slot(id);
  std::memset(&e, 0, sizeof e);
  e.type = type;
  std::memcpy(e.name, name.data(), name.size());
  return id;
}

Result<StatsSegment::Id> StatsSegment::add_scalar(std::string_view name) {
  return new_entry(name, EntryType::kScalar);
}

Result<StatsSegment::Id> StatsSegment::add_rows(std::string_view name, EntryType type,
                                                uint32_t rows, uint32_t columns) {
  Change change(*this);
  auto id = new_entry(name, type);
  if (!id) return id;
  Known& k = entries_[*id];
  bool ok = make_vector(k.outer, rows, sizeof(uint64_t));
  for (uint32_t r = 0; ok && r < rows; ++r) {
    Vector row;
    ok = make_vector(row, columns, element_size(type));
    if (!ok) break;
    point_to(k.outer, r, row);
    k.inner.push_back(row);
  }
  if (!ok) {
    remove(*id);
    return full(name);
  }
  store(slot(*id).value, pointer_to(k.outer));
  return id;
}

Result<StatsSegment::Id> StatsSegment::add_simple(std::string_view name, uint32_t rows,
                                                  uint32_t columns) {
  return add_rows(name, EntryType::kSimple, rows, columns);
}

Result<StatsSegment::Id> StatsSegment::add_combined(std::string_view name, uint32_t rows,
                                                    uint32_t columns) {
  return add_rows(name, EntryType::kCombined, rows, columns);
}

Result<StatsSegment::Id> StatsSegment::add_names(std::string_view name) {
  return add_rows(name, EntryType::kNames, 0, 0);
}

Result<StatsSegment::Id> StatsSegment::add_symlink(std::string_view name, Id target,
                                                   uint32_t column) {
  LOOM_DCHECK(target < entries_.size());
  Change change(*this);
  auto id = new_entry(name, EntryType::kSymlink);
  if (id) store(slot(*id).value, uint64_t{column} << 32 | target);
  return id;
}

void StatsSegment::remove(Id id) {
  if (id >= entries_.size() || entries_[id].type == EntryType::kEmpty) return;
  Change change(*this);
  Known& k = entries_[id];
  Entry& e = slot(id);
  std::memset(&e, 0, sizeof e);
  e.type = EntryType::kEmpty;
  for (Vector& v : k.inner) free_vector(v);
  free_vector(k.outer);
  by_name_.erase(k.name);
  k = {};
  free_ids_.push_back(id);
}

bool StatsSegment::widen_row(Vector& row, uint32_t columns, std::size_t element) {
  if (columns > row.capacity) {
    Vector wider;
    if (!make_vector(wider, columns, element)) return false;
    std::memcpy(data(wider), data(row), row.length * element);
    std::swap(wider, row);
    free_vector(wider);
  }
  set_length(row, columns);  // beyond the old length all is zero
  return true;
}

Result<void> StatsSegment::widen(Id id, uint32_t columns) {
  Known& k = entries_[id];
  LOOM_DCHECK(k.type == EntryType::kSimple || k.type == EntryType::kCombined);
  if (k.inner.empty() || columns <= k.inner[0].length) return {};
  Change change(*this);
  const uint32_t before = k.inner[0].length;
  for (uint32_t r = 0; r < k.inner.size(); ++r) {
    if (!widen_row(k.inner[r], columns, element_size(k.type))) {
      // Rows stay equally long. The longer ones keep their memory.
      for (uint32_t back = 0; back < r; ++back) set_length(k.inner[back], before);
      return full(k.name);
    }
    point_to(k.outer, r, k.inner[r]);
  }
  return {};
}

Result<void> StatsSegment::set_name(Id id, uint32_t index, std::string_view text) {
  Known& k = entries_[id];
  LOOM_DCHECK(k.type == EntryType::kNames);
  Change change(*this);
  if (index >= k.outer.length) {
    if (!widen_row(k.outer, index + 1, sizeof(uint64_t))) return full(k.name);
    store(slot(id).value, pointer_to(k.outer));
    while (k.inner.size() <= index) {
      Vector empty;
      if (!make_vector(empty, 1, 1)) {
        set_length(k.outer, static_cast<uint32_t>(k.inner.size()));
        return full(k.name);
      }
      point_to(k.outer, static_cast<uint32_t>(k.inner.size()), empty);
      k.inner.push_back(empty);
    }
  }
  Vector name;
  if (!make_vector(name, static_cast<uint32_t>(text.size()) + 1, 1)) return full(k.name);
  std::memcpy(data(name), text.data(), text.size());
  point_to(k.outer, index, name);
  free_vector(k.inner[index]);
  k.inner[index] = name;
  return {};
}

void StatsSegment::set_error_rows(Id id) {
  Change change(*this);
  store(header().errors, pointer_to(entries_[id].outer));
}

// --- Numbers.

void StatsSegment::set(Id id, uint64_t value) noexcept {
  LOOM_DCHECK(entries_[id].type == EntryType::kScalar);
  entries_[id].value = value;
  store(slot(id).value, value);
}

void StatsSegment::set(Id id, uint32_t row, uint32_t column, uint64_t value) noexcept {
  const Known& k = entries_[id];
  LOOM_DCHECK(k.type == EntryType::kSimple && row < k.inner.size() && column < k.inner[row].length);
  store(reinterpret_cast<uint64_t*>(data(k.inner[row]))[column], value);
}

void StatsSegment::set(Id id, uint32_t row, uint32_t column, Combined value) noexcept {
  const Known& k = entries_[id];
  LOOM_DCHECK(k.type == EntryType::kCombined && row < k.inner.size() &&
              column < k.inner[row].length);
  Combined& to = reinterpret_cast<Combined*>(data(k.inner[row]))[column];
  store(to.packets, value.packets);
  store(to.bytes, value.bytes);
}

StatsSegment::Id StatsSegment::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? kNone : it->second;
}

std::vector<StatsSegment::Listing> StatsSegment::list() const {
  std::vector<Listing> all;
  for (const auto& [name, id] : by_name_) {
    const Known& k = entries_[id];
    Listing l{.name = name,
              .type = k.type,
              .rows = static_cast<uint32_t>(k.inner.size()),
              .columns = k.type == EntryType::kNames || k.inner.empty() ? 0 : k.inner[0].length,
              .bytes = k.outer.offset ? SegmentHeap::block_size(k.outer.bytes) : 0};
    for (const Vector& v : k.inner) l.bytes += SegmentHeap::block_size(v.bytes);
    all.push_back(std::move(l));
  }
  return all;
}

}  // namespace loom
