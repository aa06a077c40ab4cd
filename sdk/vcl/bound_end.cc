#include "vcl/bound_end.h"

#include <mutex>
#include <utility>

#include "vcl/app_worker.h"

namespace loom::vcl {

BoundEnd::BoundEnd(AppWorker& worker, std::shared_ptr<Attachment> attachment, uint32_t number)
    : worker_(worker),
      attachment_(std::move(attachment)),
      app_worker_(attachment_->worker_index()),
      number_(number) {}

BoundEnd::~BoundEnd() {
  const std::lock_guard lock(worker_.mutex());
  if (attachment_->dead() || attachment_->worker_index() != app_worker_) return;
  worker_.send(*attachment_, Attachment::kListenerWorker, svm::ToDaemon::kUnlisten,
               svm::SessionEvent{number_, 0});
}

}  // namespace loom::vcl
