// The memory that two applications share, as one of them maps it. For tests.
#pragma once
#include <memory>
#include <vector>

#include "tests/unit/core/session/test_app.h"

namespace loom::test {

struct PairMemory {
  std::vector<std::unique_ptr<svm::Segment>> segments;
  std::unique_ptr<svm::SegmentTable> table = std::make_unique<svm::SegmentTable>();
  std::unique_ptr<svm::AppArena> arena = std::make_unique<svm::AppArena>(*table);
  svm::CutThroughShared* shared = nullptr;

  // Asks for what `block` is in, and finds that there.
  void map(TestApp& app, svm::Ref block) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kGetSegment;
    r.pair = r.segment_id = svm::ref_segment(block);
    const auto reply = app.ask(r);
    EXPECT_EQ(reply.status, 0) << reply.message;
    for (uint32_t i = 0; i < reply.n_segments; ++i) {
      const auto& s = reply.segments[i];
      segments.push_back(svm::Segment::map(app.fds[i], s.id, s.kind, s.size).value());
      EXPECT_TRUE(table->add(*segments.back()));
      if (s.kind == svm::SegmentKind::kAppArena) {
        EXPECT_TRUE(arena->add_segment(*segments.back()));
      }
    }
    shared = table->resolve_as<svm::CutThroughShared>(block);
    EXPECT_NE(shared, nullptr);
  }
};

}  // namespace loom::test
