#include "lookup.h"

#include <cstring>
#include <new>

#include "connection.h"

namespace loom::http {

// Belongs to the control thread from the moment it is posted, but for `connection`.
struct Lookup {
  std::shared_ptr<Server> server;
  uint32_t worker = 0;
  Connection* connection = nullptr;  // the worker's; null: it is gone
  std::unique_ptr<char[]> path;      // null: a piece is to be read
  uint32_t path_size = 0;
  FilePtr file;
  uint64_t at = 0;
  uint32_t n = 0;
};

namespace {

void find(const Lookup& l) {
  Server& s = *l.server;
  Found found;
  std::unique_ptr<Entry> entry;
  try {
    found = s.cache.find({l.path.get(), l.path_size});
    if (found.file) entry = std::make_unique<Entry>(Entry{.file = found.file});
  } catch (const std::bad_alloc&) {  // whoever waits is answered all the same
    found = {.refusal = 503};
  }
  s.host.run_on_worker(l.worker, [&](Worker& w) {
    if (!l.connection) return;
    Entry* e = entry.get();
    if (e && found.is_kept) {
      Shelf& shelf = s.part(w).shelf;
      if (Entry* there = shelf.find(e->file->path))
        e = there;  // the cache has one file of a path, and shelves have only what it has
      else
        shelf.add(*entry.release());
      e->checked = w.now;
    } else {
      (void)entry.release();
    }
    if (e) ++e->users;
    looked_up(w, *l.connection, found.refusal, e);
  });
}

void read(const Lookup& l) {
  const std::unique_ptr<std::byte[]> bytes(new (std::nothrow) std::byte[l.n]);
  const std::span<std::byte> piece(bytes.get(), bytes ? l.n : 0);
  const bool is_good = bytes && l.file->read(l.at, piece);
  l.server->host.run_on_worker(l.worker, [&](Worker& w) {
    if (l.connection) piece_read(w, *l.connection, is_good, piece);
  });
}

void run(void* arg) {
  const std::unique_ptr<Lookup> l(static_cast<Lookup*>(arg));
  if (l->server->is_gone) return;
  l->path ? find(*l) : read(*l);
}

bool post(Worker& w, Connection& c, std::unique_ptr<Lookup> l) noexcept {
  l->server = c.server->shared_from_this();
  l->worker = w.index;
  l->connection = &c;
  c.lookup = l.release();
  w.post_to_control(run, c.lookup);
  return true;
}

}  // namespace

bool start_lookup(Worker& w, Connection& c, std::string_view path) noexcept {
  std::unique_ptr<Lookup> l(new (std::nothrow) Lookup);
  if (!l) return false;
  l->path.reset(new (std::nothrow) char[path.size() + 1]);
  if (!l->path) return false;
  std::memcpy(l->path.get(), path.data(), path.size());
  l->path_size = static_cast<uint32_t>(path.size());
  return post(w, c, std::move(l));
}

bool start_read(Worker& w, Connection& c, uint64_t at, uint32_t n) noexcept {
  std::unique_ptr<Lookup> l(new (std::nothrow) Lookup);
  if (!l) return false;
  l->file = c.entry->file;
  l->at = at;
  l->n = n;
  return post(w, c, std::move(l));
}

void abandon(Lookup& l) noexcept { l.connection = nullptr; }

void give_back(Worker& w, Entry& e) noexcept {
  if (--e.users != 0 || e.is_listed) return;
  w.post_to_control([](void* arg) { delete static_cast<Entry*>(arg); }, &e);
}

}  // namespace loom::http
