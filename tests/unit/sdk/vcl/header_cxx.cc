#include <vcl/vppcom.h>

#include <gtest/gtest.h>

#include "header_values.inc"

extern "C" int vppcom_from_c(void);

TEST(VppcomHeader, FunctionsHaveCLinkageInBothLanguages) {
  EXPECT_EQ(vppcom_from_c(), 5);
  EXPECT_EQ(vppcom_session_worker(0x02000005u), 2);
}

TEST(VppcomHeader, NamesOfProtocolsAndErrors) {
  uint8_t proto = 9;
  char name[] = "quic";
  EXPECT_EQ(vppcom_unformat_proto(&proto, name), VPPCOM_OK);
  EXPECT_EQ(proto, VPPCOM_PROTO_QUIC);
  char wrong[] = "sctp";
  EXPECT_EQ(vppcom_unformat_proto(&proto, wrong), VPPCOM_EINVAL);
  EXPECT_STREQ(vppcom_proto_str(VPPCOM_PROTO_DTLS), "DTLS");
  EXPECT_STREQ(vppcom_retval_str(VPPCOM_ECONNRESET), "ECONNRESET");
  EXPECT_STREQ(vppcom_retval_str(VPPCOM_OK), "VPPCOM_OK");
}
