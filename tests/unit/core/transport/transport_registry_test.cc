#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "transport/registry.h"

namespace loom {
namespace {

using ::testing::HasSubstr;

TransportOps transport(const char* name, uint8_t proto) {
  TransportOps t;
  t.name = name;
  t.proto = proto;
  t.connect = [](Worker&, SessionId, Endpoints&, const SocketOptionsView&, ConnId*) noexcept {
    return Status::kOk;
  };
  t.send_window = [](Worker&, ConnId, uint32_t) noexcept { return SendWindow{}; };
  t.push_headers = [](Worker&, ConnId, std::span<Buffer* const>) noexcept {};
  t.close = [](Worker&, ConnId, bool) noexcept {};
  t.abort = [](Worker&, ConnId) noexcept {};
  return t;
}

TEST(TransportRegistry, FindsByIdNameAndProtocol) {
  TransportRegistry r;
  const auto tcp = r.add(transport("tcp", 0));
  const auto udp = r.add(transport("udp", 1));
  ASSERT_TRUE(tcp && udp);
  EXPECT_EQ(*tcp, 0);
  EXPECT_EQ(*udp, 1);
  EXPECT_STREQ(r.get(*udp)->name, "udp");
  EXPECT_EQ(r.find_proto(1), *udp);
  EXPECT_EQ(r.find_name("tcp"), *tcp);
  EXPECT_EQ(r.find_proto(7), kNoTransport);
  EXPECT_EQ(r.find_name("sctp"), kNoTransport);
  EXPECT_EQ(r.get(kNoTransport), nullptr);
  EXPECT_EQ(r.end_id(), 2);
}

TEST(TransportRegistry, RefusesTakenNamesAndProtocols) {
  TransportRegistry r;
  ASSERT_TRUE(r.add(transport("tcp", 0)));
  EXPECT_EQ(r.add(transport("tcp", 5)).error().code, Status::kExists);
  const auto same_proto = r.add(transport("mine", 0));
  EXPECT_EQ(same_proto.error().code, Status::kExists);
  EXPECT_EQ(same_proto.error().message, "transport 'mine': protocol number 0 is taken by 'tcp'");
}

TEST(TransportRegistry, RefusesATableThatLacksWhatItsKindNeeds) {
  TransportRegistry r;
  TransportOps t = transport("t", 9);
  t.push_headers = nullptr;
  EXPECT_THAT(r.add(t).error().message, HasSubstr("'t' lacks push_headers"));
  t.tx_kind = TxKind::kInternal;  // such a transport moves its bytes itself
  EXPECT_THAT(r.add(t).error().message, HasSubstr("'t' lacks tx_ready"));
  t.tx_ready = [](Worker&, ConnId, uint32_t) noexcept {};
  EXPECT_TRUE(r.add(t));
  t.open_listener = [](SessionId, const SocketOptionsView&, ConnId*) noexcept {
    return Status::kOk;
  };
  EXPECT_THAT(r.add(t).error().message, HasSubstr("'t' lacks close_listener"));
  t = transport("u", 10);
  t.connect = nullptr;
  EXPECT_THAT(r.add(t).error().message, HasSubstr("lacks connect or listen"));
  t = transport("v", 11);
  t.listen = [](Worker&, SessionId, const Endpoints&, const SocketOptionsView&, ConnId*) noexcept {
    return Status::kOk;
  };
  EXPECT_THAT(r.add(t).error().message, HasSubstr("lacks unlisten"));
  EXPECT_EQ(r.add(transport("", 12)).error().code, Status::kInvalid);
}

TEST(TransportRegistry, ATransportOfDatagramsNeedsOtherEntries) {
  TransportRegistry r;
  TransportOps t = transport("d", 1);
  t.tx_kind = TxKind::kDatagram;
  t.send_window = nullptr;
  t.push_headers = nullptr;
  EXPECT_THAT(r.add(t).error().message, HasSubstr("'d' lacks push_datagrams"));
  t.push_datagrams = [](Worker&, ConnId, std::span<Buffer* const>, const Datagram*) noexcept {};
  EXPECT_TRUE(r.add(t));
  t = transport("e", 2);
  t.tx_kind = TxKind::kDatagram;
  t.connect = nullptr;
  t.listen = [](Worker&, SessionId, const Endpoints&, const SocketOptionsView&, ConnId*) noexcept {
    return Status::kOk;
  };
  t.unlisten = [](Worker&, ConnId) noexcept {};
  EXPECT_THAT(r.add(t).error().message, HasSubstr("lacks connect"));
}

TEST(TransportRegistry, CallsOnlyWhatAnOlderTableCovers) {
  TransportRegistry r;
  TransportOps old = transport("old", 3);
  const std::size_t size = offsetof(TransportOps, set_options);
  std::memset(reinterpret_cast<char*>(&old) + size, 0xab, sizeof old - size);
  old.struct_size = size;
  const auto id = r.add(old);
  ASSERT_TRUE(id);
  EXPECT_EQ(r.get(*id)->set_options, nullptr);
  EXPECT_EQ(r.get(*id)->describe, nullptr);
  EXPECT_NE(r.get(*id)->abort, nullptr);
  TransportOps tiny = transport("tiny", 4);
  tiny.struct_size = 8;
  EXPECT_EQ(r.add(tiny).error().code, Status::kInvalid);
}

TEST(TransportRegistry, ANewerTableIsCutToWhatWeKnow) {
  struct Newer : TransportOps {
    void* more[4] = {};
  } newer;
  static_cast<TransportOps&>(newer) = transport("newer", 5);
  newer.struct_size = sizeof newer;
  TransportRegistry r;
  const auto id = r.add(newer);
  ASSERT_TRUE(id);
  EXPECT_EQ(r.get(*id)->struct_size, sizeof(TransportOps));
}

TEST(TransportRegistry, ARemovedTransportIsNotFoundAndItsIdNotReused) {
  TransportRegistry r;
  const auto id = r.add(transport("tcp", 0));
  r.remove(*id);
  EXPECT_EQ(r.get(*id), nullptr);
  EXPECT_EQ(r.find_proto(0), kNoTransport);
  const auto again = r.add(transport("tcp", 0));
  ASSERT_TRUE(again);
  EXPECT_NE(*again, *id);
}

TEST(TransportRegistry, AFullRegistryRefuses) {
  TransportRegistry r;
  std::vector<std::string> names;
  for (std::size_t i = 0; i <= TransportRegistry::kMaxTransports; ++i)
    names.push_back("t" + std::to_string(i));
  for (std::size_t i = 0; i < TransportRegistry::kMaxTransports; ++i)
    ASSERT_TRUE(r.add(transport(names[i].c_str(), static_cast<uint8_t>(i))));
  EXPECT_EQ(r.add(transport(names.back().c_str(), 99)).error().code, Status::kNoMemory);
}

}  // namespace
}  // namespace loom
