// Abstract sockets: names in the network namespace, without a file (unix(7)).
#include <sys/socket.h>

#include "bed.h"

namespace loom::memif {
namespace {

using ::testing::HasSubstr;

// The name ends with this process, and no other one's tests have it.
struct AbstractSockets : ::testing::Test {
  Bed bed;
  const std::string name = "@memif_test_" + std::to_string(getpid());
  AbstractSockets() {
    bed.h.ok("create memif socket id 3 filename " + name);
    bed.h.ok("create memif socket id 4 filename " + name);
  }
  Device& made(const std::string& words) {
    const std::string made = bed.h.ok("create interface memif " + words);
    const std::string device = made.substr(0, made.find('\n'));
    bed.up(device);
    return bed.device(device);
  }
};

TEST_F(AbstractSockets, TwoEndsFindEachOther) {
  Device& master = made("socket-id 3 id 0 master secret abc");
  Device& slave = made("socket-id 4 id 0 slave secret abc");
  ASSERT_TRUE(bed.is_up(slave));
  EXPECT_TRUE(bed.is_up(master));
  const uint64_t before = bed.received(master).packets;
  EXPECT_EQ(bed.send(slave, {packet(60)}), 1u);
  EXPECT_EQ(bed.received(master).packets - before, 1u);
  EXPECT_THAT(bed.h.ok("show memif"), HasSubstr(name));
  EXPECT_NE(access(name.c_str(), F_OK), 0) << "it is no file";
}

TEST_F(AbstractSockets, TheAddressIsTheNameAndNothingBehindIt) {  // as DPDK and libmemif have it
  made("socket-id 3 id 0 master");
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path + 1, name.data() + 1, name.size() - 1);
  const UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&a), size), 0) << strerror(errno);
}

TEST_F(AbstractSockets, TheSecretIsAskedFor) {
  made("socket-id 3 id 0 master secret abc");
  Device& slave = made("socket-id 4 id 0 slave secret xyz");
  EXPECT_FALSE(bed.is_up(slave));
  EXPECT_EQ(slave.last_reason, "the peer says: Incorrect secret");
}

TEST_F(AbstractSockets, StrangersHaveTheirShareOnly) {
  made("socket-id 3 id 0 master");
  std::vector<Channel> strangers;
  for (std::size_t i = 0; i < Door::kMostStrangers + 1; ++i) {
    strangers.emplace_back(must(connect_to(name)));
    bed.h.settle();
  }
  Message m;
  UniqueFd fd;
  ASSERT_EQ(strangers[0].receive(m, fd), Received::kMessage);  // the greeting
  ASSERT_EQ(strangers[0].receive(m, fd), Received::kMessage);
  EXPECT_EQ(text_of(m.disconnect.reason), "Too many connections");
}

TEST_F(AbstractSockets, ANameIsOneListenersAndEndsWithIt) {
  // No file of that name is meant, nor removed.
  const UniqueFd file(open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  ASSERT_TRUE(file);
  made("socket-id 3 id 0 master");
  EXPECT_THAT(bed.h.refusal("create interface memif socket-id 4 id 7 master"),
              HasSubstr("socket '" + name + "': bind: Address already in use"));
  bed.h.ok("delete interface memif memif3/0");
  made("socket-id 4 id 7 master");
  bed.h.ok("delete interface memif memif4/7");
  EXPECT_EQ(access(name.c_str(), F_OK), 0);
  unlink(name.c_str());
}

TEST_F(AbstractSockets, NamesAreChecked) {
  EXPECT_THAT(bed.h.refusal("create memif socket id 7 filename @"),
              HasSubstr("socket '@' is neither an absolute path nor @ and a name"));
  EXPECT_THAT(bed.h.refusal("create memif socket id 7 filename name"),
              HasSubstr("is neither an absolute path nor @ and a name"));
  bed.h.ok("create memif socket id 7 filename @" + std::string(107, 'x'));
  EXPECT_THAT(bed.h.refusal("create interface memif socket-id 7 id 0 master"),
              HasSubstr("is not of 1 to 107 characters"));
  bed.h.ok("create memif socket id 8 filename @" + std::string(106, 'x'));
  bed.h.ok("create interface memif socket-id 8 id 0 master");
}

}  // namespace
}  // namespace loom::memif
