// A net_memif whose calls cannot be led to us is not made. A process of its own: once they are led,
// they stay so.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "harness.h"
#include "memif_guard.h"

namespace loom::dpdk {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class MemifRefusedTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (twin_) ::dlclose(twin_);
  }
  // Another object by the driver's name: nobody can tell which is which.
  void load_twin() {
    twin_ = ::dlopen(TWIN, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(twin_, nullptr) << ::dlerror();
  }
  void unload_twin() { ::dlclose(std::exchange(twin_, nullptr)); }
  Harness& h_ = Harness::get();
  const std::string socket_ =
      testing::TempDir() + "memif-" + std::to_string(::getpid()) + ".refused";
  const DeviceConfig device_ =
      trusting("net_memif9,role=server,id=0,socket-abstract=no,socket=" + socket_);

 private:
  void* twin_ = nullptr;
};

TEST_F(MemifRefusedTest, WithTheReasonBeforeItsDriverIsCalled) {
  load_twin();
  const std::size_t before = h_.devices->all().size();
  for (int again = 0; again < 2; ++again) {
    const auto made = h_.create(device_);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Status::kIo);
    EXPECT_THAT(made.error().message,
                HasSubstr("net_memif9 is not there: this net_memif cannot be kept from harm: "
                          "librte_net_memif.so is loaded twice"));
    EXPECT_THAT(made.error().message, HasSubstr("`create interface memif`"));
  }
  uint16_t port = 0;
  EXPECT_NE(rte_eth_dev_get_port_by_name("net_memif9", &port), 0) << "EAL has it";
  EXPECT_NE(::access(socket_.c_str(), F_OK), 0) << "its driver listens";
  EXPECT_EQ(h_.devices->all().size(), before);
  EXPECT_TRUE(h_.devices->making().empty());
  EXPECT_FALSE(guard_memif(2)) << "a guard is left that guards nothing";
}

// A refusal is no verdict for ever. The harness has one interface: it is lent to the device.
TEST_F(MemifRefusedTest, AndMadeWhenTheReasonIsGone) {
  load_twin();
  ASSERT_FALSE(h_.create(device_));
  unload_twin();
  const InterfaceConfig before = h_.interface;
  const auto made = h_.create(device_);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_NE(h_.devices->all().back()->gate, nullptr);
  EXPECT_TRUE(h_.remove(*made));
  h_.interface = before;
  h_.has_interface = true;
}

}  // namespace
}  // namespace loom::dpdk
