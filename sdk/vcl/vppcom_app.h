// What the C API keeps per process: the workers, and the tables that lead from handles to sessions.
//
// A handle is the worker's index in the upper 8 bits and the session's index, smallest free first,
// in the lower 24.
#pragma once
#include <sys/types.h>

#include <memory>
#include <queue>
#include <vector>

#include "vcl/app_worker.h"
#include "vcl/include/vcl/vppcom.h"
#include "vcl/object_table.h"

namespace loom::vcl {

struct VppcomWorker {
  explicit VppcomWorker(const Config& config, const std::string& name) : core(config, name) {}

  AppWorker core;
  ObjectTable table;
  std::mutex mutex;  // free indices
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> free;
  uint32_t next = 0;
  bool registered = true;

  // Takes the reference over. The index, or -ENOMEM.
  int insert(Object* o);
  // The object with the table's reference, out of the table.
  Held<Object> remove(uint32_t index);
  void close_all();
};

constexpr uint32_t kMaxVppcomWorkers = 64;
constexpr uint32_t make_vppcom_handle(uint32_t worker, uint32_t index) noexcept {
  return worker << 24 | index;
}
constexpr uint32_t vppcom_worker_of(uint32_t handle) noexcept { return handle >> 24; }
constexpr uint32_t vppcom_index_of(uint32_t handle) noexcept { return handle & 0xffffff; }

// nullptr: no such worker, or there is no application.
VppcomWorker* vppcom_worker(uint32_t index) noexcept;
// The calling thread's; a thread that has not registered uses worker 0.
uint32_t vppcom_current() noexcept;
Held<Object> vppcom_object(uint32_t handle);
Held<Session> vppcom_session(uint32_t handle);
// errno values of the stack as the C API documents them.
int vppcom_error(ssize_t negative_errno) noexcept;

svm::Endpoint to_endpoint(const vppcom_endpt_t& ep) noexcept;
void from_endpoint(const svm::Endpoint& e, vppcom_endpt_t& ep) noexcept;

}  // namespace loom::vcl
