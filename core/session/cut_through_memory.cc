// The memory of pairs of applications: made when one first connects to the other, reaped when no
// session is left in it. Control thread.
#include <cerrno>
#include <cstring>
#include <utility>

#include "session/cut_through.h"
#include "session/impl.h"

namespace loom::session {
namespace {

constexpr uint64_t kBlocksSize = 64ull << 20;  // blocks and bells: 100,000 sessions and more
// Of a pair, that one end may ask for: what it takes leaves the other one's. AppArena::kMaxSegments
// has room for both.
constexpr uint32_t kMaxArenasOfEnd = 16;

Result<void> take_segment(CutThroughPair& pair, uint32_t end, uint64_t size) {
  return take_segment(pair.memory[end], pair.descriptors, pair.address_space, size);
}

void give_back_segment(CutThroughPair& pair, uint32_t end, uint64_t size) noexcept {
  give_back_segment(pair.memory[end], pair.descriptors, pair.address_space, size);
}

struct PairTask {
  Impl* layer;
  App *caller, *callee;
  uint64_t caller_serial, callee_serial, process_serial;
  uint32_t app_worker, worker;
  WithPair then;
};

Result<CutThroughPair*> make_pair(Impl& layer, App& caller, App& callee, uint32_t worker) {
  FairShare& places = layer.shares.pairs;
  auto pair = std::make_unique<CutThroughPair>();
  pair->place.begin(places);
  if (!places.has(caller.n_pairs, 1) || !pair->place.take(1))
    return no_share("peers", caller.n_pairs);
  pair->apps[0] = &caller;
  pair->apps[1] = &callee;
  pair->worker = worker;
  pair->memory[0].begin(caller.ns);
  pair->memory[1].begin(callee.ns);
  pair->descriptors.begin(layer.shares.descriptors);
  pair->address_space.begin(layer.shares.address_space);
  if (auto taken = take_segment(*pair, 0, kBlocksSize); !taken) return taken.error();
  auto blocks = svm::Segment::create(kBlocksSize, svm::SegmentKind::kDaemonArena);
  if (!blocks) return blocks.error();
  if (!pair->arena.add_segment(std::move(*blocks)))
    return error(Status::kNoMemory, "no room for a segment");
  if (auto arena = add_pair_arena(*pair, 0); !arena) return arena.error();
  pair->taker = &caller;
  ++caller.n_pairs;
  layer.pairs.push_back(std::move(pair));
  return layer.pairs.back().get();
}

void connect_when_made(const PairTask& t) {
  Impl& layer = *t.layer;
  if (!note_come(layer, t.caller, t.caller_serial) || layer.stopped) return;
  const bool has_callee = is_alive(layer, t.callee, t.callee_serial);
  CutThroughPair* pair = nullptr;
  Status status = Status::kRefused;
  if (has_callee) {
    for (const auto& p : layer.pairs)
      if (p->worker == t.worker && p->has(*t.caller) && p->has(*t.callee) &&
          (p->apps[0] == p->apps[1]) == (t.caller == t.callee))
        pair = p.get();
    if (!pair) {
      auto made = make_pair(layer, *t.caller, *t.callee, t.worker);
      if (made) {
        pair = *made;
      } else {
        status = made.error().code;
        if (!std::exchange(t.caller->ns->is_short, true))
          layer.log(LogLevel::kWarn, "no memory for sessions between '" + t.caller->name +
                                         "' and '" + t.callee->name + "': " + made.error().message);
      }
    }
  }
  layer.engine.run_on_worker(t.worker, [&](Worker& w) {
    SessionWorker& sw = of(w);
    AppWorker* a = t.caller->live[t.app_worker].load(std::memory_order_acquire);
    if (pair) sw.pairs[CutThroughKey(*t.caller, *t.callee)] = pair;
    // Another process may have its number by now.
    if (a && a->serial == t.process_serial) t.then(sw, *a, pair ? Status::kOk : status);
    flush(sw);
  });
}

// No connect finds it any more. On its worker.
void hide_pair(SessionWorker& sw, const CutThroughPair& pair) {
  std::erase_if(sw.pairs, [&](const auto& entry) { return entry.second == &pair; });
}

void destroy_pair(Impl& layer, std::size_t at) {
  CutThroughPair* pair = layer.pairs[at].get();
  layer.engine.run_on_worker(pair->worker, [&](Worker& w) { hide_pair(of(w), *pair); });
  // The applications may keep it mapped for a while.
  const auto clear = [](const svm::Segment& s) { s.give_back(0, s.size()); };
  for (const auto& s : pair->app_arenas) clear(*s);
  clear(pair->arena.segment(0));
  if (pair->taker) --pair->taker->n_pairs;
  layer.pairs[at] = std::move(layer.pairs.back());
  layer.pairs.pop_back();
}

}  // namespace

Status ask_pair(SessionWorker& sw, AppWorker& a, App& callee, WithPair then) {
  note_posted(*a.app);
  sw.worker->post_to_control(
      [](void* arg) {
        const std::unique_ptr<PairTask> task(static_cast<PairTask*>(arg));
        connect_when_made(*task);
      },
      new PairTask{sw.layer, a.app, &callee, a.app->serial, callee.serial, a.serial, a.index,
                   sw.worker->index, std::move(then)});
  return Status::kOk;
}

CutThroughPair* find_pair(SessionLayer::Impl& layer, const App& app, uint32_t id) {
  for (const auto& pair : layer.pairs)
    if (pair->has(app) && pair->arena.segment(0).id() == id) return pair.get();
  return nullptr;
}

Result<svm::Segment*> add_pair_arena(CutThroughPair& pair, uint32_t end) {
  if (pair.arenas_asked[end] >= kMaxArenasOfEnd)
    return error(Status::kNoMemory, "the application has the " + std::to_string(kMaxArenasOfEnd) +
                                        " segments that it may ask for of two applications'");
  const uint64_t size = pair.apps[end]->add_segment_size;
  if (auto taken = take_segment(pair, end, size); !taken) return taken.error();
  auto s = svm::Segment::create(size, svm::SegmentKind::kAppArena);
  if (!s) {
    give_back_segment(pair, end, size);
    return s.error();
  }
  pair.app_arenas.push_back(std::move(*s));
  svm::Segment& segment = *pair.app_arenas.back();
  if (!pair.app_segments.add(segment) || !pair.app_arena.add_segment(segment)) {
    pair.app_segments.remove(segment.id());
    pair.app_arenas.pop_back();
    give_back_segment(pair, end, size);
    return error(Status::kNoMemory, "no room for another segment");
  }
  ++pair.arenas_asked[end];
  return &segment;
}

Result<const Waker*> doorbell(CutThroughPair& pair, uint32_t end, uint32_t worker) {
  const App* app = end > 1 ? nullptr : pair.apps[end];
  if (worker >= svm::kMaxAppWorkers || !app || !app->workers[worker])
    return error(Status::kInvalid,
                 "no worker " + std::to_string(worker) + " at end " + std::to_string(end));
  Waker& bell = pair.doorbells[end][worker];
  if (bell) return &bell;
  if (!pair.descriptors.take(2)) return no_share("descriptors", pair.descriptors.count());
  bell = Waker::open();
  if (!bell) {
    pair.descriptors.give_back(2);
    return error(Status::kIo, std::string("socketpair: ") + std::strerror(errno));
  }
  return &bell;
}

void forget_pairs(Impl& layer, App& app) {
  for (std::size_t i = layer.pairs.size(); i-- > 0;) {
    CutThroughPair& pair = *layer.pairs[i];
    if (!pair.has(app)) continue;
    // The other application's sessions may still be open.
    layer.engine.run_on_worker(pair.worker, [&](Worker& w) { hide_pair(of(w), pair); });
    // What it asked for stays its namespace's until the pair goes: dying spends nobody's quota.
    for (App*& end : pair.apps)
      if (end == &app) end = nullptr;
    if (pair.taker == &app) pair.taker = nullptr;
    if ((!pair.apps[0] && !pair.apps[1]) || pair.n_links.load(std::memory_order_acquire) == 0)
      destroy_pair(layer, i);
  }
}

bool reap_pairs(Impl& layer) {
  bool has_changed = false;
  for (std::size_t i = layer.pairs.size(); i-- > 0;) {
    CutThroughPair& pair = *layer.pairs[i];
    const bool idle = pair.n_links.load(std::memory_order_acquire) == 0;
    if (idle && pair.was_idle) {
      // A connect may have come meanwhile: it is the worker that knows.
      bool unused = false;
      layer.engine.run_on_worker(pair.worker, [&](Worker& w) {
        unused = pair.n_links.load(std::memory_order_relaxed) == 0;
        if (unused) hide_pair(of(w), pair);
      });
      if (unused) {
        destroy_pair(layer, i);
        has_changed = true;
        continue;
      }
    }
    has_changed |= std::exchange(pair.was_idle, idle) != idle;
    if (pair.arena.wants_give_back()) has_changed |= pair.arena.give_back() != 0;
    has_changed |= pair.app_arena.give_back() != 0;
  }
  return has_changed;
}

}  // namespace loom::session
