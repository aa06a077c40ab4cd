// The stanza `dpdk { }` as data, and its reader. Control thread.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/config.h>

namespace loom::dpdk {

struct DeviceConfig {
  std::string address;  // of a PCI device "0000:03:00.0"; of a virtual one its name, "net_tap0"
  std::string devargs;  // "iface=dtap0": key=value,... for the device's driver
  bool is_virtual = false;
  std::string name;               // the interface's; "" = made of the address
  uint16_t n_rx_queues = 1;       // 0 = one a worker
  uint16_t n_tx_queues = 0;       // 0 = one a worker
  uint16_t n_rx_descriptors = 0;  // 0 = what the driver proposes
  uint16_t n_tx_descriptors = 0;
  uint64_t rss = 0;  // RTE_ETH_RSS_*: what packets are spread by over the rx queues; 0 = 5-tuple
  bool has_tso = true;
  bool has_rx_interrupts = true;  // where the driver has them
  bool strips_vlan = false;
  bool trusts_peer = false;  // of a driver that gives it the daemon's memory (admission.h)
  // As EAL takes it.
  std::string probe_text() const { return devargs.empty() ? address : address + "," + devargs; }
};

struct Config {
  bool is_given = false;  // there is a stanza
  std::vector<DeviceConfig> devices;
  DeviceConfig defaults;  // `dev default { }`: of those, too, that are made at run time
  bool has_pci = true;
  bool has_huge_pages = true;
  bool has_multi_segment = true;
  bool has_tx_checksum = true;
  bool has_lro = false;    // packets that the device has put together are received as they are
  std::string socket_mem;  // MB a NUMA node, comma separated; "" = what is needed
  std::string iova_mode;   // "pa" or "va"; "" = EAL's choice
  std::string uio_driver = "auto";
  std::string log_level = "notice";
};

// Adds what one stanza says. The error names file, line and, for an unknown word, the nearest
// known.
Result<void> read_stanza(const ConfigNode& stanza, Config& out);

constexpr uint64_t kMostQueues = 64, kMostDescriptors = 32'768;  // of either kind, of a device

// "net_tap0,iface=dtap0": a device of software, as `vdev` takes it; what it does not say is as
// `defaults` has it.
Result<DeviceConfig> parse_vdev(std::string_view text, const DeviceConfig& defaults = {});

// What a device is told at run time, in the words that it may have in the stanza: "name lan rss {
// ipv4-tcp }", split at blanks. The error names the word by its place among them.
Result<void> read_words(std::span<const std::string_view> words, DeviceConfig& out);

// Those of "KEY=VALUE,...".
std::vector<std::string> arguments_of(const std::string& devargs);

// Whether a device that is made of others (net_failsafe, net_bonding) names one of that driver's
// ("net_memif") as one of them: EAL takes for the driver's whatever begins with its name.
bool has_inside(const DeviceConfig&, std::string_view driver) noexcept;

// RTE_ETH_RSS_* of the words of `rss { }`, and back. 0: not such a word.
uint64_t rss_of(std::string_view word);
// Of several with blanks between them; 0 of none. The error names the first that is none.
Result<uint64_t> rss_of_words(std::string_view words);
std::string rss_text(uint64_t flags);
std::vector<std::string_view> rss_words();
// Addresses and ports of TCP and UDP, addresses of the rest.
extern const uint64_t kRssFiveTuple;

extern const char* const kStanzaHelp;

}  // namespace loom::dpdk
