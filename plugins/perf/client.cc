#include "client.h"

#include <utility>

#include "connection.h"

namespace loom::perf {

Result<void> Run::start(Done done) {
  name_ = "perf client " + std::to_string(number_);
  AppOps ops;
  ops.name = name_.c_str();
  set_callbacks(ops);
  AppConfig fifos;
  fifos.rx_fifo_size = fifos.tx_fifo_size = config_.fifo_size;
  const uint32_t n = host_.n_workers();
  counters_ = std::vector<Counters>(n);
  parts_ = std::vector<Part>(n);
  for (uint32_t i = 0; i < n; ++i) {
    Part& p = parts_[i];
    p.run = this;
    p.config = &config_;
    p.counters = &counters_[i];
    p.share = config_.n_clients / n + (i < config_.n_clients % n);
    p.connections.reserve(p.share);
  }
  const auto app = host_.add_application(ops, fifos);
  if (!app) return app.error();
  app_ = *app;
  done_ = std::move(done);
  parts_left_ = n;
  for (uint32_t i = 0; i < n; ++i)
    host_.run_on_worker(i, [&](Worker& w) {
      parts_[i].app = app_;
      parts_[i].worker = &w;
      begin(parts_[i]);
    });
  return {};
}

void Run::stop() {
  const auto keep = shared_from_this();
  for (Part& p : parts_)
    if (!is_over()) host_.run_on_worker(p.worker->index, [&](Worker&) { perf::stop(p); });
}

void Run::part_done(Part& part) noexcept {
  part.worker->post_to_control(
      [](void* arg) {
        const std::unique_ptr<std::shared_ptr<Run>> run(static_cast<std::shared_ptr<Run>*>(arg));
        (*run)->on_part_done();
      },
      new std::shared_ptr<Run>(shared_from_this()));
}

void Run::on_part_done() {
  if (--parts_left_ != 0) return;
  host_.remove_application(std::exchange(app_, nullptr));
  outcome_ = outcome_of(parts_);
  if (const auto done = std::exchange(done_, nullptr)) done(*this);
}

Result<void> Run::success() const {
  const Totals& t = outcome_.totals;
  if (t.mismatched != 0)
    return error(Status::kMalformed, std::to_string(t.mismatched) + " of " +
                                         std::to_string(config_.n_clients) +
                                         " connections got other bytes back than they sent");
  if (t.connections != 0) return {};
  const Status why = outcome_.failure;
  return error(why == Status::kOk ? Status::kClosed : why,
               "no connection to " + config_.uri + ": " +
                   (why == Status::kOk ? "stopped" : status_name(why)));
}

uint64_t Run::sum(Counter what) const noexcept {
  uint64_t n = 0;
  for (const auto& c : counters_) n += (c.*what).load(std::memory_order_relaxed);
  return n;
}

}  // namespace loom::perf
