// The attach socket and the session layer as a whole, taken out of service and back.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>

#include "tests/unit/core/session/session_api_bed.h"

namespace loom::test {
namespace {

TEST_F(SessionApiTest, DisabledEndsApplicationsAndEnabledTakesThemAgain) {
  const auto enable = [&](bool on) {
    return client.call<api::SessionEnableDisableReply>(api::SessionEnableDisable{.is_enable = on})
        .retval;
  };
  const auto engine = [&](api::RtBackendEngine e) {
    return client
        .call<api::SessionEnableDisableV2Reply>(api::SessionEnableDisableV2{.rt_engine_type = e})
        .retval;
  };
  EXPECT_EQ(enable(true), 0);
  EXPECT_EQ(engine(api::RtBackendEngine::kRtBackendEngineApiSdl), 0);
  EXPECT_EQ(engine(static_cast<api::RtBackendEngine>(9)), kApiInvalidValue);
  EXPECT_EQ(enable(false), 0);
  bed.pump();
  EXPECT_TRUE(client.dump<api::AppDetails>(api::AppDump{}).empty());
  EXPECT_NE(::access(bed.layer->default_socket_path().c_str(), F_OK), 0);
  EXPECT_EQ(enable(false), 0);
  EXPECT_EQ(engine(api::RtBackendEngine::kRtBackendEngineApiRuleTable), 0);
  TestApp again(bed);
  EXPECT_EQ(again.reply.status, 0);
  EXPECT_EQ(again.listen(80).status, 0);
}

TEST_F(SessionApiTest, WhoCameBeforeItWasDisabledCannotAttachBehindIt) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, bed.layer->default_socket_path().c_str());
  ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  bed.pump();
  EXPECT_EQ(
      client.call<api::SessionEnableDisableReply>(api::SessionEnableDisable{.is_enable = false})
          .retval,
      0);
  svm::AttachRequest request{};
  request.version = svm::kProtocolVersion;
  request.op = svm::AttachOp::kAttach;
  ASSERT_EQ(::send(fd, &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
  bed.pump();
  svm::AttachReply reply{};
  ASSERT_EQ(::recv(fd, &reply, sizeof reply, MSG_DONTWAIT), static_cast<ssize_t>(sizeof reply));
  EXPECT_EQ(static_cast<Status>(reply.status), Status::kRefused);
  EXPECT_THAT(reply.message, testing::HasSubstr("disabled"));
  ::close(fd);
}

// Connects and asks to attach; the daemon's answer, or an errno of connect() as a negative number.
int attach_status(SessionBed& bed) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, bed.layer->default_socket_path().c_str());
  int status = 0;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    status = -errno;
  } else {
    svm::AttachRequest request{};
    request.version = svm::kProtocolVersion;
    request.op = svm::AttachOp::kAttach;
    EXPECT_EQ(::send(fd, &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
    bed.pump();
    svm::AttachReply reply{};
    EXPECT_EQ(::recv(fd, &reply, sizeof reply, MSG_DONTWAIT), static_cast<ssize_t>(sizeof reply));
    status = reply.status;
  }
  ::close(fd);
  bed.pump();
  return status;
}

struct AttachSocketTest : SessionApiTest {
  int32_t sapi(bool on) {
    return client
        .call<api::SessionSapiEnableDisableReply>(api::SessionSapiEnableDisable{.is_enable = on})
        .retval;
  }
  int32_t layer(bool on) {
    return client.call<api::SessionEnableDisableReply>(api::SessionEnableDisable{.is_enable = on})
        .retval;
  }
  bool is_there() { return ::access(bed.layer->default_socket_path().c_str(), F_OK) == 0; }
};

TEST_F(AttachSocketTest, ClosedItTakesNobodyNewAndWhoIsAttachedGoesOn) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  EXPECT_EQ(sapi(false), 0);
  EXPECT_EQ(sapi(false), 0);
  bed.pump();
  EXPECT_FALSE(is_there());
  EXPECT_EQ(attach_status(bed), -ENOENT);
  app.write(*a, "goes on");
  EXPECT_EQ(app.read(*b), "goes on");
  auto c = app.connect(80);
  EXPECT_TRUE(app.accept());
  TestApp forked(bed, app);
  EXPECT_EQ(forked.reply.status, 0);
  EXPECT_EQ(sapi(true), 0);
  EXPECT_EQ(sapi(true), 0);
  EXPECT_TRUE(is_there());
  EXPECT_EQ(attach_status(bed), 0);
}

TEST_F(AttachSocketTest, WhoCameBeforeItWasClosedCannotAttachBehindIt) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, bed.layer->default_socket_path().c_str());
  ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  bed.pump();
  EXPECT_EQ(sapi(false), 0);
  svm::AttachRequest request{};
  request.version = svm::kProtocolVersion;
  request.op = svm::AttachOp::kAttach;
  ASSERT_EQ(::send(fd, &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
  bed.pump();
  svm::AttachReply reply{};
  ASSERT_EQ(::recv(fd, &reply, sizeof reply, MSG_DONTWAIT), static_cast<ssize_t>(sizeof reply));
  EXPECT_EQ(static_cast<Status>(reply.status), Status::kRefused);
  EXPECT_STREQ(reply.message, "the attach socket is disabled");
  ::close(fd);
}

TEST_F(AttachSocketTest, IsThereWhileItAndTheLayerAreEnabledInWhateverOrder) {
  for (const bool layer_first : {false, true}) {
    EXPECT_EQ(layer_first ? layer(false) : sapi(false), 0);
    EXPECT_EQ(layer_first ? sapi(false) : layer(false), 0);
    EXPECT_FALSE(is_there());
    EXPECT_EQ(layer_first ? layer(true) : sapi(true), 0);
    EXPECT_FALSE(is_there()) << "one of two is disabled still";
    EXPECT_EQ(layer_first ? sapi(true) : layer(true), 0);
    EXPECT_TRUE(is_there());
    EXPECT_EQ(attach_status(bed), 0);
  }
}

TEST_F(AttachSocketTest, ThatCannotBeOpenedStaysDisabledAndSaysSo) {
  EXPECT_EQ(sapi(false), 0);
  const std::string path = bed.layer->default_socket_path();
  std::filesystem::create_directories(path + "/in-the-way");
  EXPECT_EQ(sapi(true), -11);
  EXPECT_EQ(attach_status(bed), -ECONNREFUSED);
  std::filesystem::remove_all(path);
  EXPECT_EQ(sapi(true), 0);
  EXPECT_EQ(attach_status(bed), 0);
}

TEST_F(SessionApiTest, AttachingOverTheApiIsRefusedAndTheLogSaysWhereToOnce) {
  for (int i = 0; i < 3; ++i) {
    const auto reply = client.call<api::AppAttachReply>(api::AppAttach{.namespace_id = "default"});
    EXPECT_EQ(reply.retval, kUnsupported);
    EXPECT_EQ(reply.app_index, ~0u);
    EXPECT_EQ(reply.n_fds, 0);
    EXPECT_EQ(reply.segment_name, "");
  }
  const std::string path = bed.layer->default_socket_path();
  const auto at = bed.log.find(path);
  EXPECT_NE(at, std::string::npos) << bed.log;
  EXPECT_EQ(bed.log.find(path, at + 1), std::string::npos) << bed.log;
  EXPECT_EQ(client.call<api::ApplicationDetachReply>(api::ApplicationDetach{}).retval,
            kNotAttached);
  EXPECT_EQ(client.dump<api::AppDetails>(api::AppDump{}).size(), 1u) << "the other one";
}

}  // namespace
}  // namespace loom::test
