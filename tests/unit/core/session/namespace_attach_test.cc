// Who gets into a namespace: secrets, sockets, users.
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/core/session/namespaces_bed.h"

namespace loom::test {
namespace {

TEST_F(NamespacesTest, WhoHasNotTheSecretLearnsNothing) {
  Namespace& blue = add({.id = "blue", .secret = 1234});
  add({.id = "red", .secret = 77});
  const auto refusal = [&](const svm::AttachRequest& r, const std::string& path) {
    TestApp app(bed, r, path);
    EXPECT_EQ(status(app), Status::kPermission) << r.namespace_id;
    EXPECT_TRUE(app.fds.empty());
    return std::string(app.reply.message);
  };
  const std::string wrong = refusal(request("blue", 1235), {});
  EXPECT_EQ(refusal(request("blue"), {}), wrong) << "a missing secret";
  EXPECT_EQ(refusal(request("blue", 1234ull << 32), {}), wrong);
  EXPECT_EQ(refusal(request("", 1235), blue.socket.name), wrong) << "by its own socket";
  EXPECT_EQ(blue.wrong_secret, 4u);
  std::string unknown = refusal(request("blux", 1234), {});
  EXPECT_EQ(layer().unknown_namespaces, 1u);
  unknown.replace(unknown.find("blux"), 4, "blue");
  EXPECT_EQ(unknown, wrong);
  refusal(request("blu", 1234), {});
  refusal(request("blue2", 1234), {});
  // A namespace's own socket leads into it alone.
  refusal(request("red", 77), blue.socket.name);
  refusal(request("default"), blue.socket.name);
  EXPECT_EQ(n_apps(), 0u);

  TestApp by_default(bed, request("blue", 1234)), by_own(bed, request("", 1234), blue.socket.name),
      by_both(bed, request("blue", 1234), blue.socket.name);
  for (const TestApp* app : {&by_default, &by_own, &by_both}) {
    EXPECT_EQ(status(*app), Status::kOk) << app->reply.message;
    EXPECT_EQ(app_of(*app)->ns->id, "blue");
  }
  // The default namespace has no secret: what is said is not looked at.
  TestApp any(bed, request("default", 5)), none(bed);
  EXPECT_EQ(status(any), Status::kOk);
  EXPECT_EQ(app_of(none)->ns->id, "default");
}

TEST_F(NamespacesTest, ANewSecretIsForWhoComesNext) {
  add({.id = "blue", .secret = 1});
  TestApp first(bed, request("blue", 1));
  add({.id = "blue", .secret = 2});
  EXPECT_EQ(status(TestApp(bed, request("blue", 1))), Status::kPermission);
  EXPECT_EQ(status(TestApp(bed, request("blue", 2))), Status::kOk);
  EXPECT_EQ(first.listen(80).status, 0);
}

TEST_F(NamespacesTest, RefusalsFillNoLog) {
  bed.log.clear();
  for (int i = 0; i < 50; ++i) TestApp app(bed, request("nowhere", 1));
  EXPECT_EQ(std::count(bed.log.begin(), bed.log.end(), '\n'), 1) << bed.log;
  bed.pump(kSecond);
  TestApp app(bed, request("nowhere", 1));
  EXPECT_NE(bed.log.find("49 more were refused"), std::string::npos) << bed.log;
}

TEST_F(NamespacesTest, EachHasASocketOfItsOwn) {
  const auto mode_of = [](const std::string& path) {
    struct stat s {};
    return ::stat(path.c_str(), &s) == 0 ? s.st_mode & 07777 : ~0u;
  };
  Namespace& blue = add({.id = "blue"});
  EXPECT_EQ(blue.socket.name, bed.dir + "/app_ns_sockets/blue");
  EXPECT_EQ(mode_of(blue.socket.name), 0666u);
  ASSERT_TRUE(set_access(blue, {.uid = ::geteuid(), .gid = ::getegid(), .mode = 0660}));
  EXPECT_EQ(mode_of(blue.socket.name), 0660u);
  EXPECT_FALSE(set_access(blue, {.mode = 01777}));
  Namespace& named = add({.id = "named", .socket_name = "by-name"});
  EXPECT_EQ(named.socket.name, bed.dir + "/app_ns_sockets/by-name");
  Namespace& far = add({.id = "far", .socket_name = bed.dir + "/far.sock"});
  Namespace& abstract = add({.id = "abstract", .secret = 3, .socket_name = "abstract:" + bed.dir});
  EXPECT_EQ(abstract.socket.name, "@" + bed.dir);
  for (const Namespace* ns : {&named, &far, &abstract}) {
    TestApp app(bed, request("", 3), ns->socket.name);
    EXPECT_EQ(status(app), Status::kOk) << app.reply.message;
    EXPECT_EQ(app_of(app)->ns.get(), ns);
  }

  // They are closed and opened together, and keep what was said of them.
  ASSERT_TRUE(bed.layer->set_attach_socket(false));
  EXPECT_EQ(mode_of(blue.socket.name), ~0u);
  Namespace& late = add({.id = "late"});
  EXPECT_EQ(mode_of(late.socket.name), ~0u);
  ASSERT_TRUE(bed.layer->set_attach_socket(true));
  EXPECT_EQ(mode_of(blue.socket.name), 0660u);
  EXPECT_EQ(mode_of(late.socket.name), 0666u);
  const std::string gone = late.socket.name;
  ASSERT_TRUE(delete_namespace(layer(), "late"));
  EXPECT_EQ(mode_of(gone), ~0u);
}

TEST_F(NamespacesTest, SocketsThatCannotBe) {
  add({.id = "blue"});
  const auto refused = [&](const NamespaceArgs& args) {
    const auto ns = add_namespace(layer(), args);
    return ns ? Status::kOk : ns.error().code;
  };
  EXPECT_EQ(refused({.id = "red", .socket_name = "blue"}), Status::kExists);
  EXPECT_EQ(refused({.id = "blue", .socket_name = "red"}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = "a/b"}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = ".."}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = "@"}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = std::string(200, 'x')}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = "abstract:x,netns_name=y"}), Status::kUnsupported);
  EXPECT_EQ(refused({.id = "red", .socket_name = bed.dir + "/nowhere/sock"}), Status::kIo);
  const std::string file = bed.dir + "/file";
  ::close(::creat(file.c_str(), 0644));
  EXPECT_EQ(refused({.id = "red", .socket_name = file}), Status::kIo);
  EXPECT_EQ(::access(file.c_str(), F_OK), 0) << "and it is still there";
  for (const char* id : {"", ".", "..", "a/b", "a b", "a\n"})
    EXPECT_EQ(refused({.id = id}), Status::kInvalid) << id;
  EXPECT_EQ(refused({.id = std::string(64, 'x')}), Status::kInvalid);
  EXPECT_EQ(find_namespace(layer(), "red"), nullptr);
  EXPECT_EQ(refused({.id = std::string(63, 'x'), .socket_name = "x"}), Status::kOk);
}

TEST_F(NamespacesTest, AUserWhoMayNotIsRefusedByWhateverSocket) {
  Namespace& blue = add({.id = "blue", .secret = 1, .socket_name = "@" + bed.dir});
  Namespace& outer = *layer().namespaces[0];
  ASSERT_TRUE(add_namespace(layer(), {.id = "door", .socket_name = "@" + bed.dir + "-door"}));
  const bool is_root = ::geteuid() == 0;
  constexpr uid_t kNobody = 65534;
  const auto attach = [&](const Namespace& by) {
    if (is_root) {
      EXPECT_EQ(::seteuid(kNobody), 0);
    }
    TestApp app(bed, request("blue", 1), by.socket.name);
    if (is_root) {
      EXPECT_EQ(::seteuid(0), 0);
    }
    return status(app);
  };
  EXPECT_EQ(attach(blue), Status::kOk);
  const uid_t user = is_root ? kNobody : ::geteuid();
  ASSERT_TRUE(set_access(blue, {.uid = user, .gid = ::getegid(), .mode = 0066}));
  EXPECT_EQ(attach(blue), Status::kPermission) << "the owner";
  ASSERT_TRUE(set_access(blue, {.uid = user + 1, .gid = ::getegid(), .mode = 0606}));
  EXPECT_EQ(attach(blue), Status::kPermission) << "the group";
  ASSERT_TRUE(set_access(blue, {.uid = user + 1, .gid = 4242, .mode = 0660}));
  EXPECT_EQ(attach(blue), Status::kPermission) << "others";
  EXPECT_EQ(blue.refused_users, 3u);
  ASSERT_TRUE(set_access(blue, {.uid = user + 1, .gid = 4242, .mode = 0002}));
  EXPECT_EQ(attach(blue), Status::kOk);
  if (is_root) {
    TestApp root(bed, request("blue", 1));
    EXPECT_EQ(status(root), Status::kOk);
  } else {  // by the default namespace's socket, too
    ASSERT_TRUE(set_access(blue, {.uid = user, .gid = ::getegid(), .mode = 0}));
    EXPECT_EQ(attach(outer), Status::kPermission);
  }
}

}  // namespace
}  // namespace loom::test
