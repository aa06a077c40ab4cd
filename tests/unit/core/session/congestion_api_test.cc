// Congestion controllers over the binary API: listed, the default, that of one connection.
#include "tests/unit/core/session/session_api_bed.h"

namespace loom::test {
namespace {

TEST_F(SessionApiTest, ControllersAreListedAndTheDefaultIsSet) {
  const auto set = [&](const char* name) {
    return client.call<api::CcSetDefaultReply>(api::CcSetDefault{.name = name}).retval;
  };
  EXPECT_STREQ(controllers.default_ops()->name, "plain");
  EXPECT_EQ(set("fancy"), 0);
  EXPECT_STREQ(controllers.default_ops()->name, "fancy");
  EXPECT_EQ(set("fanc"), kNoSuchEntry);
  EXPECT_EQ(set(""), kNoSuchEntry);
  EXPECT_EQ(set("a-name-of-exactly-16"), kNoSuchEntry);
  EXPECT_STREQ(controllers.default_ops()->name, "fancy");
  const auto all = client.dump<api::CcDetails>(api::CcDump{});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].name, "plain");
  EXPECT_FALSE(all[0].is_default);
  EXPECT_EQ(all[1].name, "fancy");
  EXPECT_TRUE(all[1].is_default);
  EXPECT_EQ(all[1].summary, "for this test");
}

TEST_F(SessionApiTest, TheControllerOfOneConnectionIsSet) {
  const auto bound = app.listen(80);
  auto a = app.connect(80);
  auto b = app.accept();
  const auto set = [&](uint64_t handle, const char* name) {
    return client
        .call<api::CcSetConnectionReply>(
            api::CcSetConnection{.session_handle = handle, .name = name})
        .retval;
  };
  EXPECT_EQ(set(a->handle, "fancy"), 0);
  EXPECT_EQ(bed.pipe.end(0).congestion, "fancy");
  EXPECT_EQ(bed.pipe.end(1).congestion, "");
  EXPECT_EQ(set(a->handle, "vegas"), kNoSuchEntry);
  EXPECT_EQ(set(a->handle, ""), kNoSuchEntry);
  EXPECT_EQ(set(a->handle ^ uint64_t{1} << 40, "plain"), kInvalidSessionId);
  EXPECT_EQ(set(bound.handle, "plain"), kUnsupported);
  EXPECT_EQ(bed.pipe.end(0).congestion, "fancy");
}

}  // namespace
}  // namespace loom::test
