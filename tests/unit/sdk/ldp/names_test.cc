#include "ldp/names.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>

namespace loom::ldp {
namespace {

sockaddr_in6 name6(const char* text, uint16_t port) {
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_port = htons(port);
  inet_pton(AF_INET6, text, &in.sin6_addr);
  return in;
}
const sockaddr* generic(const void* p) { return static_cast<const sockaddr*>(p); }

TEST(Names, AMappedAddressIsAnIp4EndpointAndComesBackMapped) {
  const sockaddr_in6 in = name6("::ffff:10.1.2.3", 80);
  svm::Endpoint e;
  ASSERT_EQ(to_endpoint(generic(&in), sizeof in, false, e), 0);
  EXPECT_TRUE(e.is_ip4);
  EXPECT_EQ(e.port, htons(80));
  EXPECT_EQ(std::memcmp(e.ip, "\x0a\x01\x02\x03", 4), 0);
  sockaddr_in6 out{};
  socklen_t len = sizeof out;
  ASSERT_EQ(give_name(e, false, reinterpret_cast<sockaddr*>(&out), &len), 0);
  EXPECT_EQ(len, sizeof out);
  EXPECT_EQ(std::memcmp(&in, &out, sizeof in), 0);
}

TEST(Names, FamiliesMustFitTheSocket) {
  svm::Endpoint e;
  const sockaddr_in6 in6 = name6("2001:db8::1", 80);
  sockaddr_in in4{};
  in4.sin_family = AF_INET;
  EXPECT_EQ(to_endpoint(generic(&in6), sizeof in6, true, e), -EAFNOSUPPORT);
  EXPECT_EQ(to_endpoint(generic(&in4), sizeof in4, false, e), -EAFNOSUPPORT);
  EXPECT_EQ(to_endpoint(generic(&in4), sizeof in4 - 1, true, e), -EINVAL);
  EXPECT_EQ(to_endpoint(generic(&in6), 23, false, e), -EINVAL);
  EXPECT_EQ(to_endpoint(generic(&in6), 24, false, e), 0);
  EXPECT_EQ(to_endpoint(nullptr, 16, true, e), -EINVAL);
}

TEST(Names, ADestinationHasMoreNames) {
  svm::Endpoint e;
  sockaddr_in in4{};
  in4.sin_family = AF_INET;
  in4.sin_port = htons(9);
  EXPECT_EQ(to_destination(generic(&in4), sizeof in4, false, e), 0);
  EXPECT_TRUE(e.is_ip4);
  EXPECT_EQ(to_destination(generic(&in4), sizeof in4 - 1, false, e), -EINVAL);
  in4.sin_family = AF_UNSPEC;
  EXPECT_EQ(to_destination(generic(&in4), sizeof in4, true, e), 0);
  EXPECT_TRUE(e.is_ip4);
  EXPECT_EQ(e.port, htons(9));
  EXPECT_EQ(to_destination(generic(&in4), sizeof in4, false, e), 1);
  EXPECT_EQ(to_destination(generic(&in4), 1, false, e), -EINVAL);
  const sockaddr_in6 in6 = name6("2001:db8::1", 80);
  EXPECT_EQ(to_destination(generic(&in6), sizeof in6, true, e), -EAFNOSUPPORT);
  EXPECT_EQ(to_destination(generic(&in6), sizeof in6, false, e), 0);
  EXPECT_FALSE(e.is_ip4);
  in4.sin_family = AF_UNIX;
  EXPECT_EQ(to_destination(generic(&in4), sizeof in4, false, e), -EINVAL);
}

TEST(Names, AShortBufferGetsWhatFitsAndTheWholeLength) {
  const svm::Endpoint e{.is_ip4 = 1, .reserved = 0, .port = htons(7), .ip = {1, 2, 3, 4}};
  char buffer[sizeof(sockaddr_in)];
  std::memset(buffer, 0x55, sizeof buffer);
  socklen_t len = 4;
  ASSERT_EQ(give_name(e, true, reinterpret_cast<sockaddr*>(buffer), &len), 0);
  EXPECT_EQ(len, sizeof(sockaddr_in));
  EXPECT_EQ(buffer[4], 0x55);
  uint16_t port;
  std::memcpy(&port, buffer + 2, 2);
  EXPECT_EQ(port, htons(7));
}

TEST(Names, LoopbackAndWildcardInBothFamilies) {
  const auto of = [](const char* text) {
    svm::Endpoint e;
    const sockaddr_in6 in = name6(text, 1);
    EXPECT_EQ(to_endpoint(generic(&in), sizeof in, false, e), 0);
    return e;
  };
  EXPECT_TRUE(is_loopback(of("::1")));
  EXPECT_TRUE(is_loopback(of("::ffff:127.9.9.9")));
  EXPECT_FALSE(is_loopback(of("::2")));
  EXPECT_FALSE(is_loopback(of("::")));
  EXPECT_FALSE(is_loopback(of("1::1")));
  EXPECT_FALSE(is_loopback(of("::ffff:128.0.0.1")));
  EXPECT_TRUE(is_wildcard(of("::")));
  EXPECT_TRUE(is_wildcard(of("::ffff:0.0.0.0")));
  EXPECT_FALSE(is_wildcard(of("::1")));
}

TEST(Names, AnAddressOfALinkHasItsInterface) {
  for (const char* text : {"fe80::1", "ff02::1", "ff01::1"}) {
    sockaddr_in6 in = name6(text, 80);
    in.sin6_scope_id = 3;
    svm::Endpoint e;
    ASSERT_EQ(to_destination(generic(&in), sizeof in, false, e), 0);
    EXPECT_EQ(scope_of(&in, sizeof in, e), 3u) << text;
    EXPECT_EQ(scope_of(&in, sizeof in - 1, e), 0u) << text;
    sockaddr_in6 out{};
    socklen_t len = sizeof out;
    ASSERT_EQ(give_name(e, false, reinterpret_cast<sockaddr*>(&out), &len, 3), 0);
    EXPECT_EQ(out.sin6_scope_id, 3u) << text;
  }
  for (const char* text : {"2001:db8::1", "ff05::1", "::ffff:169.254.1.1"}) {
    sockaddr_in6 in = name6(text, 80);
    in.sin6_scope_id = 3;
    svm::Endpoint e;
    ASSERT_EQ(to_destination(generic(&in), sizeof in, false, e), 0);
    EXPECT_EQ(scope_of(&in, sizeof in, e), 0u) << text;
    sockaddr_in6 out{};
    socklen_t len = sizeof out;
    ASSERT_EQ(give_name(e, false, reinterpret_cast<sockaddr*>(&out), &len, 3), 0);
    EXPECT_EQ(out.sin6_scope_id, 0u) << text;
  }
}

}  // namespace
}  // namespace loom::ldp
