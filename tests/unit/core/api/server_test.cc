// The server on a real socket: against bytes written by hand from the protocol's description, and
// against clients that break it.
#include "api/server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <algorithm>
#include <random>

#include "api/unanswered.h"
#include "codec_test.api.h"
#include "server_bed.h"
#include "stream_test.api.h"

namespace loom {
namespace {

TEST_F(ApiServerTest, SpeaksTheProtocolByteForByte) {
  start();
  RawClient c(path_);
  c.create();
  EXPECT_EQ(c.ids.at("sockclnt_create_455fb9c4"), 15u);
  EXPECT_EQ(c.ids.at("sockclnt_create_reply_35166268"), 16u);

  ASSERT_TRUE(c.send(c.request("show_version_51077d14", 0xabcd)));
  Bytes m = c.receive();
  ASSERT_EQ(m.size(), 2u + 4 + 4 + 32 * 3 + 256);
  EXPECT_EQ(number(m, 0, 2), c.ids.at("show_version_reply_c919bde1"));
  EXPECT_EQ(number(m, 2, 4), 0xabcdu);
  EXPECT_EQ(number(m, 6, 4), 0u);
  EXPECT_STREQ(reinterpret_cast<char*>(&m[10]), "hostloom");
  EXPECT_STREQ(reinterpret_cast<char*>(&m[42]), "1.2.3");

  ASSERT_TRUE(c.send(c.request("cli_inband_f8377302", 9, be32(6) + text("say hi", 6))));
  m = c.receive();
  EXPECT_EQ(number(m, 0, 2), c.ids.at("cli_inband_reply_05879051"));
  EXPECT_EQ(number(m, 6, 4), 0u);
  EXPECT_EQ(number(m, 10, 4), 9u);
  EXPECT_EQ(std::string(m.begin() + 14, m.end()), "said  hi\n");

  ASSERT_TRUE(c.send(c.request("control_ping_51077d14", 3)));
  m = c.receive();
  EXPECT_EQ(number(m, 0, 2), c.ids.at("control_ping_reply_f6b0b8ca"));
  EXPECT_EQ(number(m, 14, 4), static_cast<uint32_t>(::getpid()));

  ASSERT_TRUE(c.send(c.request("sockclnt_delete_8ac76db6", 4, be32(c.client_index))));
  m = c.receive();
  EXPECT_EQ(number(m, 0, 2), c.ids.at("sockclnt_delete_reply_8f38b1ee"));
  EXPECT_TRUE(c.is_closed_by_server());
}

// What the server has of a request when it looks at the next one.
struct SeenRequest {
  const std::byte* at = nullptr;
  std::size_t size = 0;
};
SeenRequest last_secret;
std::string left_of_secret;

TEST_F(ApiServerTest, SecretsOfARequestAreClearedOnceItIsAnswered) {
  ASSERT_TRUE(registry_.add_module(api::kStreamTestModule));
  ApiHandler lock;
  lock.request = &api::ItemLock::kInfo;
  lock.secret = api::ItemLock::kSecret;
  lock.begin = [](const ApiHandler&, ApiCall&, const std::byte* in, std::size_t n,
                  void**) noexcept {
    last_secret = {in, n};
    return ApiOutcome::kAnswered;
  };
  ASSERT_TRUE(registry_.add_handler(lock));
  registry_.handle<api::ItemSet, api::ItemSetReply>([](ApiCall&, const api::ItemSet&) {
    left_of_secret = to_hex({last_secret.at + 8, last_secret.size - 8});
    return api::ItemSetReply{};
  });
  start();
  RawClient c(path_);
  c.create();
  const auto named = [&](const ApiMessageInfo& m) { return api_table_name(m); };
  const Bytes both =
      c.request(named(api::ItemLock::kInfo).c_str(), 1,
                be32(0x11111111) + text("abcdefg", 8) + be32(5) + be32(6) + be32(0x22222222)) +
      c.request(named(api::ItemSet::kInfo).c_str(), 2, be32(1));
  ASSERT_TRUE(c.send(both));  // in one piece: the second is looked at behind the first
  (void)c.receive();
  EXPECT_EQ(on_server([] { return left_of_secret; }),
            "11111111" + std::string(32, '0') + "22222222");
}

TEST_F(ApiServerTest, RequestsMayComeInAnyPiecesAndAreAnsweredInOrder) {
  start();
  RawClient c(path_);
  c.create();
  Bytes all;
  for (uint32_t i = 0; i < 50; ++i) all = all + c.request("control_ping_51077d14", i);
  for (std::size_t at = 0; at < all.size(); at += 7)
    ASSERT_TRUE(c.send(Bytes(all.begin() + static_cast<long>(at),
                             all.begin() + static_cast<long>(std::min(at + 7, all.size())))));
  for (uint32_t i = 0; i < 50; ++i) EXPECT_EQ(number(c.receive(), 2, 4), i);
}

TEST_F(ApiServerTest, UnknownAndShortMessagesAreCountedLoggedOnceAndSurvived) {
  start();
  RawClient c(path_);
  c.create();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(c.send(frame(be16(60000) + be32(1) + be32(2))));
    ASSERT_TRUE(c.send(frame({1})));                                              // half an id
    ASSERT_TRUE(c.send(frame(be16(c.ids.at("cli_inband_f8377302")) + be32(1))));  // no context
  }
  // Long enough for a context, and so answered.
  ASSERT_TRUE(c.send(c.request("cli_inband_f8377302", 6, be32(1000) + text("say", 3))));
  Bytes m = c.receive();
  EXPECT_EQ(number(m, 2, 4), 6u);
  EXPECT_EQ(static_cast<int32_t>(number(m, 6, 4)), -7);
  ASSERT_TRUE(c.send(c.request("control_ping_51077d14", 8)));
  EXPECT_EQ(number(c.receive(), 2, 4), 8u);
  EXPECT_EQ(counters().unknown, 3u);
  EXPECT_EQ(counters().malformed, 7u);
  EXPECT_THAT(log(), testing::UnorderedElementsAre(testing::HasSubstr("unknown message 60000"),
                                                   testing::HasSubstr("malformed message")));
}

TEST_F(ApiServerTest, ARequestThatNobodyAnswersGetsItsReplyAndUnimplemented) {
  ASSERT_TRUE(registry_.add_module(api::kCodecTestModule));
  start();
  RawClient c(path_);
  c.create();
  const std::string name = api_table_name(api::NobodyAnswers::kInfo);
  for (uint32_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(c.send(c.request(name.c_str(), 1000 + i, {9})));
    const Bytes m = c.receive();
    ASSERT_GE(m.size(), 2u);
    EXPECT_EQ(number(m, 0, 2), c.ids.at(api_table_name(api::NobodyAnswersReply::kInfo)));
    ApiReader in(std::as_bytes(std::span(m)).subspan(2));
    api::NobodyAnswersReply reply;
    decode(in, reply);
    EXPECT_TRUE(in.ok());
    EXPECT_EQ(in.remaining(), 0u);
    EXPECT_EQ(reply, (api::NobodyAnswersReply{.context = 1000 + i, .retval = -9}));
  }
  // No context to answer to; and what is for clients only.
  ASSERT_TRUE(c.send(frame(be16(c.ids.at(name)) + be32(1) + Bytes(3))));
  ASSERT_TRUE(c.send(c.request("control_ping_reply_f6b0b8ca", 4)));
  ASSERT_TRUE(c.send(c.request("control_ping_51077d14", 8)));
  EXPECT_EQ(number(c.receive(), 2, 4), 8u);
  EXPECT_EQ(counters().unknown, 5u);
  EXPECT_THAT(log(), testing::ElementsAre(testing::AllOf(testing::HasSubstr("(nobody_answers)"),
                                                         testing::HasSubstr("unimplemented"))));
}

TEST_F(ApiServerTest, AnUnusableDescriptionMakesNoAnswerAndNoHarm) {
  // Each is valid JSON but the first; none says what the reply looks like.
  static constexpr const char* kTexts[] = {
      "{",
      "[]",
      R"({"services": {"odd": 1}})",
      R"({"services": [1], "messages": 3})",
      R"({"services": {"odd": {"reply": 5}}, "messages": [["odd"], ["odd_reply"]]})",
      R"({"services": {"odd": {"reply": "odd_reply"}}, "messages": [["odd", ["u16", "_vl_msg_id"],
          ["u32", "client_index"], ["u32", "context"]], ["odd_reply", ["u16", "_vl_msg_id"],
          ["u32", "context"], ["i32", "retval"], ["vl_api_loop_t", "x"]]],
          "types": [["loop", ["vl_api_loop_t", "x"]]]})"};
  static constexpr ApiMessageInfo kMessages[] = {{"odd", 1}, {"odd_reply", 2}};
  for (const char* text : kTexts) {
    ApiRegistry registry;
    const ApiModule module{"odd", {1, 0, 0}, kMessages, text};
    ASSERT_TRUE(registry.add_module(module));
    EXPECT_EQ(UnansweredRequests(registry).find(registry.id_of(kMessages[0])), nullptr) << text;
  }
}

TEST(UnansweredRequests, ParseDescriptionsOnceUntilTheModulesChange) {
  static constexpr ApiMessageInfo kOne[] = {{"a", 1}, {"a_reply", 2}, {"b", 3}, {"b_reply", 4}};
  static constexpr ApiMessageInfo kTwo[] = {{"c", 5}, {"c_reply", 6}};
  const auto text = [](const std::vector<std::string>& names) {
    std::string services, messages;
    for (const auto& n : names) {
      const std::string comma = services.empty() ? "" : ",";
      services += comma + '"' + n + R"(": {"reply": ")" + n + R"(_reply"})";
      messages += comma + R"([")" + n + R"(", ["u16", "_vl_msg_id"], ["u32", "context"]], [")" + n +
                  R"(_reply", ["u16", "_vl_msg_id"], ["u32", "context"], ["i32", "retval"]])";
    }
    return R"({"services": {)" + services + R"(}, "messages": [)" + messages + "]}";
  };
  std::string one = text({"a", "b"});
  const std::string two = text({"c"});
  ApiRegistry registry;
  const ApiModule first{"first", {1, 0, 0}, kOne, one.c_str()};
  ASSERT_TRUE(registry.add_module(first));
  UnansweredRequests unanswered(registry);
  EXPECT_NE(unanswered.find(registry.id_of(kOne[0])), nullptr);
  one[0] = '!';  // whoever parses it again finds nothing
  EXPECT_NE(unanswered.find(registry.id_of(kOne[2])), nullptr);
  // As many modules, but others.
  registry.remove_module(first);
  const ApiModule second{"second", {1, 0, 0}, kTwo, two.c_str()};
  ASSERT_TRUE(registry.add_module(second));
  EXPECT_NE(unanswered.find(registry.id_of(kTwo[0])), nullptr);
}

TEST_F(ApiServerTest, AClientThatReadsNoneOfTheseAnswersLosesItsConnection) {
  ASSERT_TRUE(registry_.add_module(api::kCodecTestModule));
  start({.queued_bytes = 10'000});
  RawClient c(path_);
  c.create();
  const std::string name = api_table_name(api::NobodyAnswers::kInfo);
  Bytes all;
  for (int i = 0; i < 1000; ++i) all = all + c.request(name.c_str(), 1, {9});
  while (c.send(all)) {}
  EXPECT_EQ(counters().slow_readers, 1u);
}

TEST_F(ApiServerTest, TheCommandInSharedMemoryIsRefusedAndTheLogSaysWhatToUseOnce) {
  start();
  RawClient c(path_);
  c.create();
  for (uint32_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(c.send(c.request("cli_23bfbfff", i, be32(0) + be32(0xdead0000))));
    EXPECT_EQ(c.receive(), be16(c.ids.at("cli_reply_06d68297")) + be32(i) +
                               be32(static_cast<uint32_t>(-9)) + Bytes(8));
  }
  EXPECT_EQ(counters().unknown, 0u);
  EXPECT_THAT(on_server([] { return said; }),
              testing::ElementsAre(testing::HasSubstr("cli_inband")));
}

TEST_F(ApiServerTest, NothingIsAnsweredBeforeCreate) {
  start();
  RawClient c(path_);
  ASSERT_TRUE(c.send(frame(be16(40) + be32(0) + be32(1))));
  c.create();
  ASSERT_TRUE(c.send(c.request("control_ping_51077d14", 8)));
  EXPECT_EQ(number(c.receive(), 2, 4), 8u);
  EXPECT_EQ(counters().unregistered, 1u);
}

TEST_F(ApiServerTest, AFrameThatIsTooLongOrEmptyEndsTheConnection) {
  start();
  for (const uint32_t length : {0u, kMaxApiMessage + 1, 0x7fffffffu, 0xffffffffu}) {
    RawClient c(path_);
    c.create();
    ASSERT_TRUE(c.send(Bytes(8) + be32(length) + Bytes(4) + Bytes(10)));
    EXPECT_TRUE(c.is_closed_by_server()) << length;
  }
  EXPECT_EQ(counters().bad_frames, 4u);
  EXPECT_EQ(n_clients(), 0u);
}

TEST_F(ApiServerTest, TheLargestMessageIsTaken) {
  start();
  RawClient c(path_);
  c.create();
  const uint32_t n = kMaxApiMessage - 14;
  ASSERT_TRUE(c.send(c.request("cli_inband_f8377302", 5, be32(n) + Bytes(n, 'x'))));
  EXPECT_EQ(number(c.receive(), 2, 4), 5u);
}

TEST_F(ApiServerTest, AClientThatDoesNotReadLosesItsConnection) {
  start({.queued_bytes = 4u << 20});
  RawClient reader(path_), sleeper(path_);
  reader.create();
  sleeper.create();
  const Bytes request = sleeper.request("cli_inband_f8377302", 1, be32(5) + text("flood", 5));
  for (int i = 0; i < 64 && sleeper.send(request); ++i) {}
  // The others are served meanwhile.
  ASSERT_TRUE(reader.send(reader.request("control_ping_51077d14", 8)));
  EXPECT_EQ(number(reader.receive(), 2, 4), 8u);
  while (!sleeper.receive().empty()) {}
  EXPECT_EQ(counters().slow_readers, 1u);
  EXPECT_EQ(n_clients(), 1u);
}

TEST_F(ApiServerTest, ConnectionsBeyondTheLimitAreRefused) {
  start({.clients = 2});
  RawClient a(path_), b(path_);
  a.create();
  b.create();
  RawClient c(path_);
  EXPECT_TRUE(c.is_closed_by_server());
  EXPECT_EQ(counters().refused, 1u);
}

TEST_F(ApiServerTest, RandomBytesNeverHarmTheOthers) {
  start();
  RawClient good(path_);
  good.create();
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    RawClient c(path_);
    if (random() % 4) c.create();
    Bytes b(random() % 400);
    for (auto& x : b) x = static_cast<uint8_t>(random() % 3 ? random() % 40 : random());
    // Mostly well framed, so that the handlers see the noise.
    if (random() % 4)
      for (std::size_t at = 0; at + 17 < b.size();) {
        const uint8_t length = static_cast<uint8_t>(random() % 60 + 1);
        std::fill_n(b.begin() + static_cast<long>(at), 16, 0);
        b[at + 11] = length;
        b[at + 16] = 0;
        at += 16u + length;
      }
    c.send(b);
    if (random() % 2) continue;
    ASSERT_TRUE(good.send(good.request("control_ping_51077d14", static_cast<uint32_t>(round))));
    ASSERT_EQ(number(good.receive(), 2, 4), static_cast<uint32_t>(round));
  }
  EXPECT_GT(counters().unknown + counters().malformed + counters().unregistered, 50u);
}

TEST_F(ApiServerTest, TheSocketIsPrivateAndNobodyElsesIsReplaced) {
  start();
  struct stat s {};
  ASSERT_EQ(::stat(path_.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0660u);
  boost::asio::io_context io;
  ApiRegistry registry;
  ASSERT_TRUE(add_core_modules(registry));
  ApiServer second(io, registry, [](LogLevel, const std::string&) {});
  EXPECT_EQ(second.listen(path_, {}).error().message, path_ + " is in use by another process");
  const std::string file = dir_ + "/file";
  ::close(::open(file.c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_EQ(second.listen(file, {}).error().message, file + " exists and is not a socket");
  ::unlink(file.c_str());
  EXPECT_EQ(second.listen(dir_ + "/none/x", {}).error().code, Status::kIo);
}

TEST_F(ApiServerTest, AStaleSocketIsReplaced) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path_.data(), path_.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  ::close(fd);
  start();
  RawClient(path_).create();
}

}  // namespace
}  // namespace loom
