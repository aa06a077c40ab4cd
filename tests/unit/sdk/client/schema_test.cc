// Loading *.api.json: the tree's own files, and files with one thing wrong with each.
#include "client/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace loom {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(Schema, TakesTheTreesOwnFiles) {
  const std::vector<std::string> folders = {HOSTLOOM_SOURCE "/api"};
  const auto schema = ApiSchema::from_files(folders);
  ASSERT_TRUE(schema) << schema.error().message;
  const SchemaMessage* show = (*schema)->find("show_version");
  ASSERT_TRUE(show);
  EXPECT_EQ(show->crc.value_or(0), 0x51077d14u);
  EXPECT_EQ(show->module, "vpe");
  EXPECT_EQ((*schema)->service("show_version")->reply, "show_version_reply");
  EXPECT_TRUE((*schema)->service("log_dump")->is_stream);
  EXPECT_EQ((*schema)->find("nothing"), nullptr);
  EXPECT_EQ((*schema)->types().at("timestamp").number, ApiNumber::kF64);
}

TEST(Schema, OneFileSeesTheTypesOfAnother) {
  const auto both = ApiSchema::from_json(
      R"([{"messages": [["m", ["u16", "_vl_msg_id"], ["vl_api_t_t", "t"], {"crc": "0x00000001"}]]},
          {"aliases": {"t": {"type": "u8"}}}, {"aliases": {"t": {"type": "u8"}}}])",
      "test");
  ASSERT_TRUE(both) << both.error().message;
  EXPECT_EQ((*both)->find("m")->fields.size(), 1u);
}

TEST(Schema, FilesThatAreNotThereAreNamed) {
  const std::vector<std::string> none = {"/tmp/hostloom-none.api.json"};
  EXPECT_EQ(ApiSchema::from_files(none).error().message,
            "/tmp/hostloom-none.api.json: cannot be read");
}

std::string refusal(const std::string& text) {
  const auto schema = ApiSchema::from_json(text, "bad.api.json");
  if (schema) return "taken";
  EXPECT_EQ(schema.error().code, Status::kMalformed);
  return schema.error().message;
}
// A message with the given fields, with types beside it.
std::string with_fields(const std::string& fields, const std::string& more = "\"x\": 0") {
  return R"({"messages": [["m", ["u16", "_vl_msg_id"], )" + fields +
         R"({"crc": "0x00000001"}]], )" + more + "}";
}

TEST(Schema, WhatIsWrongIsSaidWithFileMessageAndField) {
  const std::string m = "bad.api.json: message m, field ";
  EXPECT_EQ(refusal("{"), "bad.api.json: not JSON");
  EXPECT_EQ(refusal("3"), "bad.api.json: neither a description of messages nor an array");
  EXPECT_EQ(refusal(std::string(1 << 20, '[')), "bad.api.json: its JSON is nested too deeply");
  EXPECT_EQ(refusal("[3]"), "bad.api.json: not a JSON object");
  EXPECT_EQ(refusal(R"({"messages": 3})"), "bad.api.json: messages is not a list");
  EXPECT_THAT(refusal(R"({"messages": [[3]]})"), HasSubstr("messages: [3] is not [name, ...]"));
  EXPECT_EQ(refusal(R"({"aliases": []})"), "bad.api.json: aliases is not an object");
  EXPECT_EQ(refusal(R"({"messages": [["m", ["u16", "_vl_msg_id"], {"crc": "0xfoo"}]]})"),
            "bad.api.json: message m: crc \"0xfoo\" is not 0x and 8 hex digits");
  EXPECT_THAT(refusal(R"({"messages": [["m", ["u16", "_vl_msg_id"], {"crc": 7}]]})"),
              HasSubstr("message m: crc 7 is not"));
  EXPECT_EQ(refusal(R"({"messages": [["m", ["u32", "context"], {"crc": "0x00000001"}]]})"),
            m + "_vl_msg_id: must come first, as u16");
  EXPECT_EQ(refusal(with_fields(R"(["u33", "a"],)")), m + "a: unknown type \"u33\"");
  EXPECT_EQ(refusal(with_fields(R"(["vl_api_gone_t", "a"],)")),
            m + "a: unknown type \"vl_api_gone_t\"");
  EXPECT_EQ(refusal(with_fields(R"(["u8", "a"], ["u8", "a"],)")), m + "a: named twice");
  EXPECT_THAT(refusal(with_fields(R"(["u8"],)")), HasSubstr("[\"u8\"] is not [type, field, ...]"));
  EXPECT_THAT(refusal(with_fields(R"(["u8", "a", -1],)")), HasSubstr(m + "a: "));
  EXPECT_THAT(refusal(with_fields(R"(["u8", "a", 99999999],)")), HasSubstr(m + "a: "));
  EXPECT_THAT(refusal(with_fields(R"(["u64", "a", 1000000],)")),
              HasSubstr("longer than a message"));
  EXPECT_THAT(refusal(with_fields(R"(["u8", "a", 0, "n"],)")),
              HasSubstr(m + "a: its count is not"));
  EXPECT_THAT(refusal(with_fields(R"(["i8", "n"], ["u8", "a", 0, "n"],)")),
              HasSubstr("its count is not"));
  EXPECT_THAT(refusal(with_fields(R"(["u8", "n"], ["u8", "a", 0, "n"], ["u8", "b", 0, "n"],)")),
              HasSubstr(m + "b: its count is not"));
  EXPECT_THAT(refusal(with_fields(R"(["string", "a", 0, "n"],)")),
              HasSubstr("a string has no count"));
  EXPECT_THAT(refusal(with_fields(R"(["u8", "a", {"default": [1]}],)")), HasSubstr("default [1]"));
  EXPECT_THAT(refusal(with_fields(R"(["u8", "a", {"default": "many"}],)")),
              HasSubstr("not a number"));
  EXPECT_THAT(
      refusal(with_fields(R"(["vl_api_a_t", "a"],)",
                          R"("types": [["a", ["vl_api_b_t", "b"]], ["b", ["vl_api_a_t", "a"]]])")),
      HasSubstr("refer to each other in a circle"));
  EXPECT_THAT(refusal(with_fields("", R"("unions": [["u", ["string", "s", 0]]])")),
              HasSubstr("union u, field s: a union's member has a fixed size"));
  EXPECT_THAT(
      refusal(with_fields(R"(["u8", "n"], ["vl_api_e_t", "a", 0, "n"],)", R"("types": [["e"]])")),
      HasSubstr("an array of nothing"));
  EXPECT_THAT(refusal(with_fields("", R"("enums": [["e", ["A", 1], {"enumtype": "f64"}]])")),
              HasSubstr("enum e: enumtype \"f64\" is not an integer type"));
  EXPECT_THAT(refusal(with_fields("", R"("enums": [["e", ["A", "1"]]])")),
              HasSubstr("[\"A\",\"1\"] is not [NAME, number]"));
  EXPECT_THAT(
      refusal(with_fields("", R"("types": [["t", ["u8", "a"]]], "enums": [["t", ["A", 1]]])")),
      HasSubstr("t is defined differently in bad.api.json"));
  EXPECT_EQ(refusal(with_fields("", R"("services": {"m": {"reply": "gone"}})")),
            "bad.api.json: service m: unknown message 'gone'");
  EXPECT_THAT(refusal(with_fields("", R"("services": {"m": {"reply": "m", "stream_msg": "m"}})")),
              HasSubstr("starts with context, retval, cursor"));
}

// Each level would double what the level below takes: 2^35 bytes from a file of a kilobyte.
TEST(Schema, SizesDoNotGrowBeyondAMessage) {
  json types = json::array({json::array({"t0", {"u8", "a", 1024}})});
  for (int i = 1; i <= 25; ++i) {
    const std::string below = "vl_api_t" + std::to_string(i - 1) + "_t";
    types.push_back({"t" + std::to_string(i), {below, "a"}, {below, "b"}});
  }
  EXPECT_THAT(refusal(json({{"types", types}}).dump()), HasSubstr("longer than a message can be"));
}

// A chain of n types, the outermost by name first or last, which is also the order of looking.
std::string chain(int n, bool outermost_first) {
  json types = json::array();
  const auto name = [&](int i) {
    return "t" + std::to_string(outermost_first ? 999 - i : 100 + i);
  };
  for (int i = 0; i < n; ++i)
    types.push_back({name(i), {i == 0 ? "u8" : "vl_api_" + name(i - 1) + "_t", "a"}});
  return refusal(json({{"types", types}}).dump());
}

TEST(Schema, NestingIsBoundedInWhicheverOrderTypesStand) {
  for (const bool outermost_first : {true, false}) {
    EXPECT_EQ(chain(32, outermost_first), "taken");
    EXPECT_THAT(chain(33, outermost_first), HasSubstr("nested too deeply"));
    EXPECT_THAT(chain(800, outermost_first), HasSubstr("nested too deeply"));
  }
}

TEST(Schema, AliasesAndMessagesCountAsNesting) {
  json aliases = json::object({{"a100", {{"type", "u8"}}}});
  for (int i = 101; i < 140; ++i)
    aliases["a" + std::to_string(i)] = {{"type", "vl_api_a" + std::to_string(i - 1) + "_t"},
                                        {"length", i % 2}};
  EXPECT_THAT(refusal(json({{"aliases", aliases}}).dump()), HasSubstr("nested too deeply"));
  for (int i = 131; i < 140; ++i) aliases.erase("a" + std::to_string(i));
  const auto with_message = [&](const char* type) {
    return refusal(with_fields("[\"vl_api_" + std::string(type) + "_t\", \"a\"],",
                               "\"aliases\": " + aliases.dump()));
  };
  EXPECT_EQ(with_message("a130"), "taken");  // 31 aliases and the message
  aliases["a131"] = {{"type", "vl_api_a130_t"}};
  EXPECT_EQ(with_message("a130"), "taken");
  EXPECT_THAT(with_message("a131"), HasSubstr("message m: types are nested too deeply"));
}

// What is decoded doubles with each level, and the bytes that it is decoded from do not.
std::string doubled(const char* section, json innermost) {
  json types = json::array();
  const auto name = [](int i) { return "t" + std::to_string(100 + i); };
  json::array_t first = {name(0)};
  if (!innermost.is_null()) first.push_back(std::move(innermost));
  types.push_back(std::move(first));
  for (int i = 1; i < 30; ++i) {
    const std::string below = "vl_api_" + name(i - 1) + "_t";
    types.push_back({name(i), {below, "a"}, {below, "b"}});
  }
  return refusal(json({{section, types}}).dump());
}

TEST(Schema, ValuesDoNotMultiplyWithoutBytes) {
  EXPECT_THAT(doubled("unions", {"u8", "a"}), HasSubstr("has more than 65536 values"));
  EXPECT_THAT(doubled("types", nullptr), HasSubstr("has more than 65536 values"));
  EXPECT_THAT(refusal(with_fields(R"(["u16", "a", 70000],)")),
              HasSubstr("message m: has more than 65536 values"));
  EXPECT_THAT(refusal(R"({"aliases": {"a": {"type": "u16", "length": 70000}}})"),
              HasSubstr("alias a: has more than 65536 values"));
  EXPECT_EQ(refusal(with_fields(R"(["u8", "a", 1000000],)")), "taken");  // it is one text
  // Each byte of a message could be an element.
  json::array_t wide = {"u"};
  for (int i = 0; i < 100; ++i) wide.push_back({"u8", "m" + std::to_string(i)});
  EXPECT_THAT(refusal(with_fields(R"(["u32", "n"], ["vl_api_u_t", "a", 0, "n"],)",
                                  "\"unions\": " + json::array({wide}).dump())),
              HasSubstr("field a: its elements have too many values for their bytes"));
}

// Each is compared with those before it.
TEST(Schema, FieldsAndEnumeratorsAreBounded) {
  const auto some = [](const char* what, std::size_t n) {
    json::array_t body = {"t"};
    for (std::size_t i = 0; i < n; ++i) {
      const auto name = "n" + std::to_string(i);
      if (what == std::string("enums"))
        body.push_back({name, i});
      else
        body.push_back({"u8", name});
    }
    return refusal(json({{what, json::array({body})}}).dump());
  };
  for (const char* what : {"enums", "types", "unions"}) EXPECT_EQ(some(what, 1024), "taken");
  EXPECT_THAT(some("types", 1025), HasSubstr("type t: has more than 1024 fields"));
  EXPECT_THAT(some("unions", 1025), HasSubstr("union t: has more than 1024 fields"));
  EXPECT_THAT(some("enums", 1025), HasSubstr("enum t: has more than 1024 enumerators"));
}

// Every file that one changed byte makes is taken or refused, and never more than that.
TEST(Schema, DamagedFilesAreTakenOrRefused) {
  std::ifstream in(HOSTLOOM_SOURCE "/tests/unit/sdk/client/shapes.api.json");
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  ASSERT_FALSE(text.empty());
  int refused = 0, taken = 0;
  for (std::size_t i = 0; i < text.size(); i += 3) {
    std::string damaged = text;
    damaged[i] = static_cast<char>("[]{},0\"x"[i % 8]);
    (ApiSchema::from_json(damaged, "x") ? taken : refused)++;
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(taken, 0);
}

}  // namespace
}  // namespace loom
