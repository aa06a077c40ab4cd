// libvppcom's C interface against a daemon in this process.
#pragma once
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <vcl/vppcom.h>

#include <memory>
#include <string>

#include "fake_daemon.h"

namespace loom::vppcom_bed {

using test::FakeDaemon;

struct Address {
  uint8_t ip[16] = {10, 0, 0, 1};
  vppcom_endpt_t ep{};
  explicit Address(uint16_t port) {
    ep.is_ip4 = 1;
    ep.ip = ip;
    ep.port = htons(port);
  }
};

class Vppcom : public testing::Test {
 protected:
  void SetUp() override {
    path_ = "/tmp/vcl-test-" + std::to_string(getpid()) + ".sock";
    daemon_ = std::make_unique<FakeDaemon>(path_);
    ASSERT_EQ(create(), VPPCOM_OK);
  }
  void TearDown() override {
    vppcom_app_destroy();
    daemon_.reset();
  }
  int create() {
    vppcom_cfg_t cfg{};
    cfg.vpp_app_socket_api = path_.data();
    char name[] = "vppcom-test";
    cfg.app_name = name;
    cfg.rx_fifo_size = cfg.tx_fifo_size = 64 << 10;
    cfg.session_timeout = 5;
    return vppcom_app_create_with_config(&cfg);
  }
  virtual vppcom_proto_t proto() const { return VPPCOM_PROTO_TCP; }
  uint32_t session(bool nonblocking = false) {
    const int sh = vppcom_session_create(static_cast<uint8_t>(proto()), nonblocking);
    EXPECT_GE(sh, 0);
    return static_cast<uint32_t>(sh);
  }
  uint32_t listener(uint16_t port, uint32_t backlog = 8, bool nonblocking = false) {
    const uint32_t sh = session(nonblocking);
    Address a(port);
    EXPECT_EQ(vppcom_session_bind(sh, &a.ep), VPPCOM_OK);
    EXPECT_EQ(vppcom_session_listen(sh, backlog), VPPCOM_OK);
    return sh;
  }
  // A connection whose far end is the test: session number `n_sessions() - 1`.
  uint32_t outside(bool nonblocking = false) {
    const uint32_t sh = session();
    Address a(7);
    EXPECT_EQ(vppcom_session_connect(sh, &a.ep), VPPCOM_OK);
    if (nonblocking) {
      uint32_t flags = O_NONBLOCK, len = sizeof flags;
      EXPECT_EQ(vppcom_session_attr(sh, VPPCOM_ATTR_SET_FLAGS, &flags, &len), VPPCOM_OK);
    }
    return sh;
  }
  static int write(uint32_t sh, std::string s) {
    return vppcom_session_write(sh, s.data(), s.size());
  }
  static std::string read(uint32_t sh, size_t n = 100'000) {
    std::string s(n, '\0');
    const int got = vppcom_session_read(sh, s.data(), n);
    s.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return s;
  }
  static int read_result(uint32_t sh) {
    char c;
    return vppcom_session_read(sh, &c, 1);
  }

  std::string path_;
  std::unique_ptr<FakeDaemon> daemon_;
};

}  // namespace loom::vppcom_bed
