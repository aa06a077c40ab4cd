// What the C interface's endpoints say of a datagram beside its address: vppcom_endpt_t's app_tlvs,
// app_tlv_len bytes of TLVs that lie behind each other without padding, anywhere in memory.
#pragma once
#include "vcl/datagram_call.h"
#include "vcl/include/vcl/vppcom.h"
#include "vcl/session.h"

namespace loom::vcl {

// Of one to send; `source` is where out.source may point to. What has an unknown type is skipped.
// 0, or -EINVAL: the list makes no sense.
int take_tlvs(const vppcom_endpt_t& ep, DatagramOut& out, svm::Endpoint& source) noexcept;

// VPPCOM_ATTR_SET_ENDPT_TLVS and VPPCOM_ATTR_GET_ENDPT_TLVS: VPPCOM_ENDPT_TLV_*. 0 or a negative
// errno.
int ask_tlvs(Session& s, uint32_t wanted);
uint32_t asked_tlvs(const Session& s) noexcept;
// Whether there is room for those. Without any nobody looks at app_tlvs.
bool has_room_for_tlvs(const Session& s, const vppcom_endpt_t& ep) noexcept;
// Writes them for one that was received, where there is room; app_tlv_len becomes their length.
void give_tlvs(const Session& s, const DatagramIn& in, vppcom_endpt_t& ep) noexcept;

// VPPCOM_ATTR_SET_IP_PKTINFO: local_name() is then where the last datagram that was read went.
void ask_pktinfo(Session& s, bool on) noexcept;
bool asks_pktinfo(const Session& s) noexcept;
svm::Endpoint local_name(Session& s);

}  // namespace loom::vcl
