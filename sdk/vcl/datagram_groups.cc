// Session: membership of groups. The daemon's answer is waited for; before the session is open what
// is asked is kept, and asked when it is.
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr size_t kMostLater = 512;

}  // namespace

int Session::ask_group(const svm::GroupEvent& asked) {
  {
    const std::lock_guard lock(mutex_);
    if (state() == State::kIdle) {
      if (groups_later_.size() == kMostLater) return -ENOBUFS;
      groups_later_.push_back(asked);
      return 0;
    }
  }
  svm::InfoEvent answer;
  return ask_group_now(asked, answer);
}

int Session::ask_group_now(const svm::GroupEvent& asked, svm::InfoEvent& answer) {
  const int e = ask_info(answer, [&](uint32_t context) {
    svm::GroupEvent g = asked;
    g.handle = handle_;
    g.context = context;
    worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kGroup, g);
  });
  return e == -ENETUNREACH ? -ENODEV : e;  // no such interface
}

int Session::set_group_filter(const svm::GroupEvent& about, bool excludes,
                              std::span<const svm::Endpoint> sources) {
  svm::GroupEvent g = about;
  g.op = static_cast<uint8_t>(GroupOp::kAddFilter);
  g.number = 0;
  for (const svm::Endpoint& source : sources) {
    g.source = source;
    if (const int e = ask_group(g); e != 0) return e;
    ++g.number;
  }
  g.op = static_cast<uint8_t>(excludes ? GroupOp::kExclude : GroupOp::kInclude);
  return ask_group(g);
}

int Session::read_group_filter(const svm::GroupEvent& about, uint32_t n, svm::FilterEvent& out) {
  svm::GroupEvent g = about;
  g.op = static_cast<uint8_t>(GroupOp::kReadFilter);
  g.number = static_cast<uint8_t>(n);
  svm::InfoEvent answer;
  const int e = ask_group_now(g, answer);
  if (e == 0) std::memcpy(&out, &answer, sizeof out);
  return e;
}

int Session::ask_groups_later() {
  std::vector<svm::GroupEvent> all;
  {
    const std::lock_guard lock(mutex_);
    all.swap(groups_later_);
  }
  int first = 0;
  for (const svm::GroupEvent& g : all)
    if (const int e = ask_group(g); first == 0) first = e;
  return first;
}

}  // namespace loom::vcl
