#include "api/registry.h"

#include <gtest/gtest.h>

#include "codec_test.api.h"
#include "memclnt.api.h"
#include "vlib.api.h"
#include "vpe.api.h"

namespace loom {
namespace {

TEST(ApiRegistry, NumbersAreConsecutiveFromFifteen) {
  ApiRegistry r;
  ASSERT_TRUE(r.add_module(api::kMemclntModule));
  ASSERT_TRUE(r.add_module(api::kCodecTestModule));
  EXPECT_EQ(r.id_of(api::SockclntCreate::kInfo), 15);
  EXPECT_EQ(r.id_of(api::SockclntCreateReply::kInfo), 16);
  EXPECT_EQ(r.id_of(api::Everything::kInfo), 15 + api::kMemclntModule.messages.size());
  EXPECT_EQ(r.modules()[1].first_id, r.id_of(api::Everything::kInfo));
}

TEST(ApiRegistry, NamesAreUnique) {
  ApiRegistry r;
  ASSERT_TRUE(r.add_module(api::kVpeModule));
  EXPECT_EQ(r.add_module(api::kVpeModule).error().code, Status::kExists);
  const ApiModule other{"other", {1, 0, 0}, api::kVpeModule.messages, "{}"};
  EXPECT_EQ(r.add_module(other).error().message,
            "API message 'show_version' of module 'other' is in module 'vpe' already");
  EXPECT_EQ(r.entries().size(), api::kVpeModule.messages.size());
}

TEST(ApiRegistry, TableNamesCarryTheCrcAndAreCut) {
  EXPECT_EQ(api_table_name({"show_version", 0x51077d14}), "show_version_51077d14");
  EXPECT_EQ(api_table_name({"x", 0x1}), "x_00000001");
  EXPECT_EQ(
      api_table_name({"a_name_that_goes_on_and_on_until_it_is_longer_than_it_should_be", 1}).size(),
      63u);
}

// The CRCs that clients compiled against VPP look for.
TEST(ApiRegistry, MessagesOfVppsLayoutCarryItsCrc) {
  EXPECT_EQ(api_table_name(api::SockclntCreate::kInfo), "sockclnt_create_455fb9c4");
  EXPECT_EQ(api_table_name(api::SockclntCreateReply::kInfo), "sockclnt_create_reply_35166268");
  EXPECT_EQ(api_table_name(api::ControlPing::kInfo), "control_ping_51077d14");
  EXPECT_EQ(api_table_name(api::ControlPingReply::kInfo), "control_ping_reply_f6b0b8ca");
  EXPECT_EQ(api_table_name(api::ShowVersionReply::kInfo), "show_version_reply_c919bde1");
  EXPECT_EQ(api_table_name(api::CliInband::kInfo), "cli_inband_f8377302");
  EXPECT_EQ(api_table_name(api::CliInbandReply::kInfo), "cli_inband_reply_05879051");
}

TEST(ApiRegistry, AMessageHasOneHandlerAndOfItsLayout) {
  ApiRegistry r;
  ASSERT_TRUE(r.add_module(api::kCodecTestModule));
  const ApiHandler handler = api_reply_handler<api::Everything, api::EverythingReply>(
      [](ApiCall&, const api::Everything& m, void*) { return api::EverythingReply{.retval = m.a}; },
      nullptr);
  ASSERT_TRUE(r.add_handler(handler));
  EXPECT_EQ(r.add_handler(handler).error().message,
            "API message 'everything' has a handler already");
  ApiMessageInfo info = api::Everything::kInfo;
  ++info.crc;
  ApiHandler other = handler;
  other.request = &info;
  EXPECT_EQ(r.add_handler(other).error().message,
            "API message 'everything' has another layout than its handler");
  other.request = &api::ShowVersion::kInfo;
  EXPECT_EQ(r.add_handler(other).error().message, "API message 'show_version' is in no module");
}

TEST(ApiRegistry, ARemovedModuleLeavesItsNumbersUnused) {
  ApiRegistry r;
  ASSERT_TRUE(r.add_module(api::kMemclntModule));
  ASSERT_TRUE(r.add_module(api::kCodecTestModule));
  const uint16_t first = r.id_of(api::Everything::kInfo);
  r.remove_module(api::kCodecTestModule);
  EXPECT_EQ(r.id_of(api::Everything::kInfo), 0);
  EXPECT_TRUE(r.find(first)->is_removed);
  ASSERT_TRUE(r.add_module(api::kCodecTestModule));
  EXPECT_EQ(r.id_of(api::Everything::kInfo), first + 4);
  EXPECT_EQ(r.module_of(api::Everything::kInfo), &api::kCodecTestModule);
  EXPECT_EQ(r.find(14), nullptr);
  EXPECT_EQ(r.find(static_cast<uint16_t>(first + 8)), nullptr);
}

TEST(ApiRegistry, StatusesHaveReturnCodes) {
  EXPECT_EQ(api_retval(Status::kOk), 0);
  for (int s = 1; s <= static_cast<int>(Status::kMalformed); ++s)
    EXPECT_LT(api_retval(static_cast<Status>(s)), 0) << s;
}

}  // namespace
}  // namespace loom
