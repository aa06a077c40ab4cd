// An end that the daemon keeps for whoever has bound it, until the last one that holds this lets
// go: a socket that is bound, its copies, and what becomes of it by listen() or connect(). After
// fork it is the parent's; what the child holds keeps nothing.
#pragma once
#include <cstdint>
#include <memory>

namespace loom::vcl {

class AppWorker;
class Attachment;

class BoundEnd {
 public:
  // Under the worker's mutex.
  BoundEnd(AppWorker&, std::shared_ptr<Attachment>, uint32_t number);
  BoundEnd(const BoundEnd&) = delete;
  BoundEnd& operator=(const BoundEnd&) = delete;
  // Takes the worker's mutex.
  ~BoundEnd();
  // As svm::ListenEvent::bound has it.
  uint32_t number() const noexcept { return number_; }

 private:
  AppWorker& worker_;
  const std::shared_ptr<Attachment> attachment_;
  const uint32_t app_worker_, number_;
};

}  // namespace loom::vcl
