// Messages to JSON and back, with the bytes written out by hand from INTEROP's rules: packed,
// big-endian.
#include "client/json_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "client/json_client.h"
#include "client/json_excerpt.h"
#include "client/retval.h"
#include "fake_daemon.h"

namespace loom {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class JsonCodec : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<std::string> files = {HOSTLOOM_SOURCE
                                            "/tests/unit/sdk/client/shapes.api.json"};
    auto loaded = ApiSchema::from_files(files);
    ASSERT_TRUE(loaded) << loaded.error().message;
    schema = *loaded;
  }
  // What stands behind client_index 1 and context 2.
  Bytes encoded(const char* message, const json& values) {
    std::vector<std::byte> out;
    ApiWriter w(out);
    const auto done = encode_json(*schema->find(message), values, {1, 2, {}}, w);
    EXPECT_TRUE(done) << done.error().message;
    Bytes bytes;
    for (const std::byte b : out) bytes.push_back(std::to_integer<uint8_t>(b));
    EXPECT_GE(bytes.size(), 8u);
    EXPECT_EQ(Bytes(bytes.begin(), bytes.begin() + 8), be32(1) + be32(2));
    return Bytes(bytes.begin() + 8, bytes.end());
  }
  std::string refusal(const char* message, const json& values) {
    std::vector<std::byte> out;
    ApiWriter w(out);
    const auto done = encode_json(*schema->find(message), values, {1, 2, {}}, w);
    if (done) return "taken";
    EXPECT_EQ(done.error().code, Status::kInvalid);
    return done.error().message;
  }
  Result<json> decode(const char* message, const Bytes& behind_context,
                      EnumStyle style = EnumStyle::kNames) {
    const Bytes bytes = be32(1) + be32(2) + behind_context;
    return decode_json(*schema->find(message), std::as_bytes(std::span(bytes)), style);
  }
  json decoded(const char* message, const Bytes& behind_context,
               EnumStyle style = EnumStyle::kNames) {
    auto value = decode(message, behind_context, style);
    EXPECT_TRUE(value) << value.error().message;
    return value ? *value : json();
  }
  std::string malformed(const char* message, const Bytes& behind_context) {
    const auto value = decode(message, behind_context);
    if (value) return "taken";
    EXPECT_EQ(value.error().code, Status::kMalformed);
    return value.error().message;
  }
  std::shared_ptr<const ApiSchema> schema;
};

TEST_F(JsonCodec, Numbers) {
  const json values = {{"a", 255},  {"b", 65535}, {"c", 0xffffffffu}, {"d", 0xffffffffffffffffu},
                       {"e", -128}, {"f", -2},    {"g", -3},          {"h", -4},
                       {"i", 1.0},  {"j", true}};
  const Bytes wire = Bytes{0xff} + be16(0xffff) + be32(~0u) + be32(~0u) + be32(~0u) + Bytes{0x80} +
                     be16(0xfffe) + be32(0xfffffffd) + be32(~0u) + be32(0xfffffffc) +
                     Bytes{0x3f, 0xf0, 0, 0, 0, 0, 0, 0} + Bytes{1};
  EXPECT_EQ(encoded("numbers", values), wire);
  EXPECT_EQ(decoded("numbers", wire), values);
  EXPECT_EQ(encoded("numbers", nullptr), Bytes(1 + 2 + 4 + 8 + 1 + 2 + 4 + 8 + 8 + 1));
  EXPECT_EQ(refusal("numbers", {{"a", 256}}), "a: 256 is outside of 0..255");
  EXPECT_EQ(refusal("numbers", {{"a", -1}}), "a: -1 is outside of 0..255");
  EXPECT_EQ(refusal("numbers", {{"e", 128}}), "e: 128 is outside of -128..127");
  EXPECT_EQ(refusal("numbers", {{"b", "7"}}), "b: \"7\" is not an integer");
  EXPECT_EQ(refusal("numbers", {{"b", 1.5}}), "b: 1.5 is not an integer");
  EXPECT_EQ(refusal("numbers", {{"j", "yes"}}), "j: \"yes\" is neither true nor false");
  EXPECT_EQ(refusal("numbers", {{"zz", 1}}), "zz: there is no such field");
  EXPECT_EQ(refusal("numbers", json::array()), ": [] is not an object");
}

TEST_F(JsonCodec, Strings) {
  EXPECT_EQ(encoded("strings", {{"fixed", "seven77"}, {"open", "ab"}}),
            (Bytes{'s', 'e', 'v', 'e', 'n', '7', '7', 0} + text("ab")));
  EXPECT_EQ(refusal("strings", {{"fixed", "eight888"}}),
            "fixed: \"eight888\" is longer than 7 bytes");
  EXPECT_THAT(refusal("strings", {{"open", std::string("a\0b", 3)}}), HasSubstr("zero byte"));
  EXPECT_EQ(decoded("strings", Bytes{'a', 0, 'x', 0, 0, 0, 0, 0} + text("\xc3\xbc")),
            json({{"fixed", "a"}, {"open", "\xc3\xbc"}}));
  // Not UTF-8: replaced, so that the value can be written.
  const json odd = decoded("strings", Bytes(8) + text("a\xff"));
  EXPECT_EQ(odd["open"], "a\xef\xbf\xbd");
  EXPECT_EQ(malformed("strings", Bytes(8) + be32(3) + Bytes{'a', 'b'}),
            "a strings that does not decode: field open: beyond the message's end");
}

TEST_F(JsonCodec, AddressesAreText) {
  const json values = {{"ip4", "10.0.0.1"},          {"ip6", "fd00::1"},
                       {"mac", "02:fe:00:0a:00:01"}, {"any", "10.1.2.3"},
                       {"prefix", "fd00::/8"},       {"interface", "10.88.0.2/24"},
                       {"net4", "10.0.0.0/8"},       {"net6", "::/0"}};
  const Bytes fd00{0xfd, 0}, one = Bytes(13) + Bytes{1};
  const Bytes wire = Bytes{10, 0, 0, 1} + fd00 + one + Bytes{2, 0xfe, 0, 10, 0, 1} + Bytes{0} +
                     Bytes{10, 1, 2, 3} + Bytes(12) + Bytes{1} + fd00 + Bytes(14) + Bytes{8} +
                     Bytes{0} + Bytes{10, 88, 0, 2} + Bytes(12) + Bytes{24} +
                     Bytes{10, 0, 0, 0, 8} + Bytes(17);
  EXPECT_EQ(encoded("addresses", values), wire);
  EXPECT_EQ(decoded("addresses", wire), values);
  EXPECT_EQ(encoded("addresses", {{"prefix", "10.0.0.1"}})[4 + 16 + 6 + 17 + 17], 32);
  EXPECT_EQ(refusal("addresses", {{"ip4", "10.0.0"}}), "ip4: \"10.0.0\" is not an IPv4 address");
  EXPECT_EQ(refusal("addresses", {{"ip4", "::1"}}), "ip4: \"::1\" is not an IPv4 address");
  EXPECT_EQ(refusal("addresses", {{"any", 7}}), "any: 7 is not text");
  EXPECT_EQ(refusal("addresses", {{"mac", "02:fe:00:0a:00"}}),
            "mac: \"02:fe:00:0a:00\" is not a MAC address");
  EXPECT_THAT(refusal("addresses", {{"mac", "02:fe:00:0a:00:01:"}}),
              HasSubstr("not a MAC address"));
  EXPECT_EQ(refusal("addresses", {{"net4", "10.0.0.0/33"}}),
            "net4: \"10.0.0.0/33\" is not an IPv4 prefix");
  EXPECT_EQ(refusal("addresses", {{"prefix", "::/x"}}), "prefix: \"::/x\" is not an IP prefix");
  Bytes odd = wire;
  odd[26] = 2;  // any's family
  EXPECT_EQ(malformed("addresses", odd),
            "a addresses that does not decode: field any: address family 2 is neither 0 (IPv4) nor "
            "1 (IPv6)");
  odd = wire;
  odd[26 + 17 + 17] = 129;
  EXPECT_THAT(malformed("addresses", odd), HasSubstr("prefix length 129 is above 128"));
}

TEST_F(JsonCodec, EnumsAndFlags) {
  const Bytes wire = be32(7) + be32(3) + Bytes{5};
  const json names = {
      {"color", "COLOR_BLUE"}, {"status", {"UP", "LINK"}}, {"options", {"OPTION_A", "OPTION_C"}}};
  const json numbers = {{"color", 7}, {"status", 3}, {"options", 5}};
  EXPECT_EQ(decoded("choices", wire), names);
  EXPECT_EQ(decoded("choices", wire, EnumStyle::kNumbers), numbers);
  for (const json& values : {names, numbers}) EXPECT_EQ(encoded("choices", values), wire);
  EXPECT_EQ(
      encoded("choices",
              {{"color", "COLOR_BLUE"}, {"status", "UP | LINK"}, {"options", "OPTION_A|OPTION_C"}}),
      wire);
  // A newer daemon has more of them.
  EXPECT_EQ(decoded("choices", be32(8) + be32(9) + Bytes{0}),
            json({{"color", 8}, {"status", {"UP", 8}}, {"options", json::array()}}));
  EXPECT_EQ(refusal("choices", {{"color", "COLOR_PINK"}}),
            "color: \"COLOR_PINK\" is none of color: COLOR_RED, COLOR_BLUE");
  EXPECT_THAT(refusal("choices", {{"color", json::array({"COLOR_RED"})}}),
              HasSubstr("not a name or number"));
  EXPECT_THAT(refusal("choices", {{"options", 256}}), HasSubstr("outside of 0..255"));
  EXPECT_THAT(refusal("choices", {{"options", json::array({json::array()})}}),
              HasSubstr("not a flag"));
}

TEST_F(JsonCodec, Unions) {
  const json values = {
      {"either", {{"pair", {{"a", 1}, {"b", -1}}}}},
      {"chosen", {{"af", "ADDRESS_IP4"}, {"other", 9}, {"un", {{"ip4", "1.2.3.4"}}}}},
      {"bare", "::1"}};
  const Bytes wire =
      be16(1) + be16(0xffff) + Bytes{0, 9, 1, 2, 3, 4} + Bytes(12) + Bytes(15) + Bytes{1};
  EXPECT_EQ(encoded("unions", values), wire);
  const json back = decoded("unions", wire);
  EXPECT_EQ(back["either"],
            json({{"small", 1}, {"pair", {{"a", 1}, {"b", -1}}}, {"raw", "0001ff"}}));
  EXPECT_EQ(back["chosen"], values["chosen"]);  // the discriminator says which
  EXPECT_EQ(back["bare"], json({{"ip4", "0.0.0.0"}, {"ip6", "::1"}}));
  EXPECT_EQ(encoded("unions", {{"either", {{"small", 0x102}}}}).size(), wire.size());
  EXPECT_THAT(refusal("unions", {{"either", back["either"]}}),
              HasSubstr("with one member of either"));
  EXPECT_EQ(refusal("unions", {{"either", {{"huge", 1}}}}),
            "either.huge: either has no such member");
  EXPECT_EQ(refusal("unions", {{"either", {{"pair", {{"a", -1}}}}}}),
            "either.pair.a: -1 is outside of 0..65535");
}

TEST_F(JsonCodec, Arrays) {
  const json values = {{"mtu", {9000, 0, 0, 0}},
                       {"key", "0a0b0c"},
                       {"raw", "ff"},
                       {"trees",
                        {{{"pairs", {{{"a", 1}, {"b", 2}}}}, {"label", "x"}},
                         {{"pairs", json::array()}, {"label", ""}}}}};
  const Bytes wire = be32(9000) + Bytes(12) + Bytes{10, 11, 12} + be16(1) + Bytes{0xff} + Bytes{2} +
                     Bytes{1} + be16(1) + be16(2) + text("x") + Bytes{0} + text("");
  EXPECT_EQ(encoded("arrays", values), wire);
  EXPECT_EQ(decoded("arrays", wire), values);
  EXPECT_EQ(encoded("arrays", {{"mtu", {9000}}, {"key", {10, 11, 12}}, {"raw", {255}}}),
            (be32(9000) + Bytes(12) + Bytes{10, 11, 12} + be16(1) + Bytes{0xff} + Bytes{0}));
  EXPECT_EQ(refusal("arrays", {{"mtu", {1, 2, 3, 4, 5}}}),
            "mtu: [1,2,3,4,5] has more than 4 elements");
  EXPECT_EQ(refusal("arrays", {{"mtu", {1, -1}}}), "mtu[1]: -1 is outside of 0..4294967295");
  EXPECT_EQ(refusal("arrays", {{"key", "0a0b0c0d"}}), "key: \"0a0b0c0d\" has more than 3 bytes");
  EXPECT_EQ(refusal("arrays", {{"key", "0g"}}), "key: \"0g\" is not pairs of hex digits");
  EXPECT_EQ(refusal("arrays", {{"key", "0"}}), "key: \"0\" is not pairs of hex digits");
  EXPECT_EQ(refusal("arrays", {{"n_raw", 1}}), "n_raw: follows from the length of raw");
  EXPECT_EQ(refusal("arrays", {{"trees", {{{"pairs", {{{"a", "?"}}}}}}}}),
            "trees[0].pairs[0].a: \"?\" is not an integer");
  EXPECT_EQ(refusal("arrays", {{"trees", 3}}), "trees: 3 is not a list");
  EXPECT_EQ(refusal("arrays", {{"trees", json(300, json::object())}}),
            "n_trees: 300 elements are too many");
  // A count of what is not there costs nothing.
  EXPECT_THAT(malformed("arrays", Bytes(19) + be16(0xffff) + Bytes{1}),
              HasSubstr("beyond the message's end"));
}

TEST_F(JsonCodec, FieldsThatAreMissingHaveTheirDefault) {
  EXPECT_EQ(encoded("defaults", json::object()),
            (Bytes{1} + be32(~0u) + Bytes{0x3f, 0xf8, 0, 0, 0, 0, 0, 0} + be32(7) + be16(0x1f) +
             Bytes{0}));
  EXPECT_EQ(encoded("defaults", {{"is_add", false}, {"sw_if_index", 3}})[0], 0);
}

// Python, for one, takes no text that ends within a character.
TEST(JsonExcerpt, IsCutBetweenCharacters) {
  EXPECT_EQ(json_excerpt(std::string(78, 'x')), '"' + std::string(78, 'x') + '"');
  EXPECT_EQ(json_excerpt(std::string(79, 'x')), '"' + std::string(76, 'x') + "...");
  for (const std::string character : {"\u00fc", "\u20ac", "\U0001f9f5"})
    for (std::size_t before = 0; before < character.size(); ++before) {
      std::string text(before, 'x');
      while (text.size() + character.size() <= 76) text += character;
      EXPECT_EQ(json_excerpt(text + character + character), '"' + text + "...") << before;
    }
}

TEST_F(JsonCodec, HostileBytesDecodeOrAreRefused) {
  std::mt19937 random(4711);
  std::size_t good = 0, bad = 0;
  for (const auto& [name, message] : schema->messages()) {
    for (int i = 0; i < 3000; ++i) {
      std::vector<std::byte> bytes(random() % 120);
      const bool is_mostly_zero = i % 2 != 0;  // gets further
      for (auto& b : bytes) b = std::byte(is_mostly_zero && random() % 8 ? 0 : random());
      const auto value = decode_json(message, bytes);
      (value ? good : bad)++;
      if (value) {
        EXPECT_FALSE(value->dump().empty());  // valid text throughout
      }
    }
    // Whatever a message lacks at its end is noticed.
    std::vector<std::byte> whole;
    ApiWriter w(whole);
    ASSERT_TRUE(encode_json(message, nullptr, {1, 2, {}}, w));
    EXPECT_TRUE(decode_json(message, whole));
    for (std::size_t n = 0; n < whole.size(); ++n)
      EXPECT_FALSE(decode_json(message, std::span(whole).first(n))) << name << " " << n;
  }
  EXPECT_GT(good, 0u);
  EXPECT_GT(bad, 0u);
}

TEST(JsonClient, RequestsByName) {
  const std::vector<std::string> files = {HOSTLOOM_SOURCE "/tests/unit/sdk/client/things.api.json"};
  const auto schema = ApiSchema::from_files(files);
  ASSERT_TRUE(schema) << schema.error().message;
  uint32_t dump_context = 0;
  FakeDaemon daemon(
      {"control_ping_51077d14", "control_ping_reply_f6b0b8ca", "thing_set_00000001",
       "thing_set_reply_00000002", "thing_dump_00000003", "thing_details_00000004",
       "thing_get_00000005", "thing_get_reply_00000006", "thing_event_00000009"},
      [&](FakeDaemon& d, const FakeDaemon::Message& m) {
        if (m.name == "thing_set") {
          d.send("thing_event", be32(0) + be32(1) + be32(2) + text("event"));
          d.send("thing_set_reply", be32(m.context()) + be32(static_cast<uint32_t>(-6)) +
                                        be32(number_at(m.bytes, 10)));
        }
        if (m.name == "thing_dump") dump_context = m.context();
        if (m.name == "control_ping") {
          d.send("thing_details", be32(dump_context) + be32(1) + text("one"));
          d.send("control_ping_reply", be32(m.context()) + Bytes(12));
        }
        if (m.name == "thing_get") {
          const uint32_t cursor = number_at(m.bytes, 10);
          d.send("thing_details", be32(m.context()) + be32(cursor) + text("t"));
          const bool is_first = cursor == ~0u;  // where one begins when the caller does not say
          d.send("thing_get_reply", be32(m.context()) +
                                        be32(is_first ? static_cast<uint32_t>(-165) : 0) +
                                        be32(is_first ? 7 : ~0u));
        }
      });
  auto client = Client::connect(daemon.path);
  ASSERT_TRUE(client) << client.error().message;
  JsonClient api(std::move(*client), *schema);
  std::vector<json> events;
  ASSERT_TRUE(api.on_event("thing_event", [&](json e) { events.push_back(std::move(e)); }));
  const auto set = api.request("thing_set", {{"index", 3}, {"name", "n"}});
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(set->reply, json({{"retval", -6}, {"index", 3}}));
  EXPECT_STREQ(api_retval_name(-6), "NO_SUCH_ENTRY");
  EXPECT_EQ(api_retval_name(-1'000), nullptr);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0], json({{"pid", 1}, {"index", 2}, {"name", "event"}}));
  const auto dump = api.request("thing_dump");
  ASSERT_TRUE(dump) << dump.error().message;
  ASSERT_EQ(dump->details.size(), 1u);
  EXPECT_EQ(dump->details[0], json({{"index", 1}, {"name", "one"}}));
  const auto get = api.request("thing_get");
  ASSERT_TRUE(get) << get.error().message;
  EXPECT_EQ(get->details.size(), 2u);
  EXPECT_EQ(get->details[1]["index"], 7);
  EXPECT_EQ(get->reply["retval"], 0);
  EXPECT_THAT(api.request("thing_burn").error().message,
              HasSubstr("the API has no message thing_burn"));
  EXPECT_THAT(api.request("thing_details").error().message,
              HasSubstr("not a request with an answer"));
  // A file that leaves the CRC to the generator describes, but cannot be spoken by.
  const auto bare = ApiSchema::from_json(
      R"({"messages": [["ask", ["u16", "_vl_msg_id"], ["u32", "client_index"], ["u32", "context"]],
                       ["ask_reply", ["u16", "_vl_msg_id"], ["u32", "context"]]],
          "services": {"ask": {"reply": "ask_reply"}}})",
      "bare");
  ASSERT_TRUE(bare) << bare.error().message;
  const auto x = json_exchange(*bare, "ask", nullptr, {}, {});
  ASSERT_FALSE(x);
  EXPECT_THAT(x.error().message, HasSubstr("ask has no crc in the description of module bare"));
  EXPECT_EQ(api.request("thing_set", {{"index", "x"}}).error().message,
            "thing_set: index: \"x\" is not an integer");
  // In the schema, not in this daemon.
  EXPECT_EQ(api.request("want_thing_events").error().code, Status::kUnsupported);
}

}  // namespace
}  // namespace loom
