#include "config.h"

#include <rte_dev.h>

#include <algorithm>
#include <cctype>
#include <cstdio>

namespace loom::dpdk {
namespace {

const std::vector<std::string_view> kKeys{
    "dev",        "vdev",      "no-pci",    "no-hugetlb",   "socket-mem",
    "uio-driver", "log-level", "iova-mode", "no-multi-seg", "no-tx-checksum-offload",
    "enable-lro"};
const std::vector<std::string_view> kDeviceKeys{
    "name", "num-rx-queues", "num-tx-queues",    "num-rx-desc",        "num-tx-desc", "rss",
    "tso",  "devargs",       "no-rx-interrupts", "vlan-strip-offload", "trust-peer"};

Result<std::string> one_of(ConfigReader& in, const ConfigNode& key,
                           const std::vector<std::string_view>& words) {
  auto text = in.text(key);
  if (!text || std::find(words.begin(), words.end(), *text) != words.end()) return text;
  std::string list;
  for (const auto w : words) list += (list.empty() ? "" : ", ") + std::string(w);
  return key.fail("'" + key.word + " " + *text + "': one of " + list + " is needed");
}

Result<void> read_number(ConfigReader& in, const ConfigNode& key, uint64_t most, uint16_t& out) {
  const auto n = in.number(key, 1, most);
  if (!n) return n.error();
  out = static_cast<uint16_t>(*n);
  return {};
}

Result<void> read_switch(ConfigReader& in, const ConfigNode& key, bool& out) {
  const auto word = one_of(in, key, {"on", "off"});
  if (!word) return word.error();
  out = *word == "on";
  return {};
}

Result<void> read_text(ConfigReader& in, const ConfigNode& key, std::string& out) {
  const auto word = in.text(key);
  if (!word) return word.error();
  out = *word;
  return {};
}

Result<void> read_rss(const ConfigNode& key, uint64_t& out) {
  if (!key.has_block || key.children.empty())
    return key.fail("'rss' needs a block of words, like { ipv4-tcp ipv6-tcp }");
  ConfigReader in(key);
  out = 0;
  while (const ConfigNode* w = in.next()) {
    const uint64_t flag = rss_of(w->word);
    if (flag == 0) return in.unknown(*w, rss_words());
    out |= flag;
  }
  return {};
}

// EAL ends a device's arguments at such a layer, wherever it stands, also within a path, and takes
// what is behind it for the device: of another driver or bus than what is before says.
Result<void> check_devargs(const std::string& devargs) {
  for (const std::string layer : {"/bus=", "/class=", "/driver="})
    if (devargs.find(layer) != std::string::npos)
      return error(Status::kInvalid,
                   "'" + layer + "' in '" + devargs + "': DPDK takes it for another device");
  return {};
}

Result<void> read_devargs(ConfigReader& in, const ConfigNode& key, std::string& out) {
  if (auto read = read_text(in, key, out); !read) return read;
  const auto checked = check_devargs(out);
  return checked ? checked : key.fail(checked.error().message);
}

Result<void> read_device_key(ConfigReader& in, const ConfigNode& w, DeviceConfig& d) {
  if (w.word == "name") return read_text(in, w, d.name);
  if (w.word == "num-rx-queues") return read_number(in, w, kMostQueues, d.n_rx_queues);
  if (w.word == "num-tx-queues") return read_number(in, w, kMostQueues, d.n_tx_queues);
  if (w.word == "num-rx-desc") return read_number(in, w, kMostDescriptors, d.n_rx_descriptors);
  if (w.word == "num-tx-desc") return read_number(in, w, kMostDescriptors, d.n_tx_descriptors);
  if (w.word == "rss") return read_rss(w, d.rss);
  if (w.word == "tso") return read_switch(in, w, d.has_tso);
  if (w.word == "vlan-strip-offload") return read_switch(in, w, d.strips_vlan);
  if (w.word == "devargs") return read_devargs(in, w, d.devargs);
  if (w.word == "trust-peer") {
    d.trusts_peer = true;
    return {};
  }
  if (w.word != "no-rx-interrupts") return in.unknown(w, kDeviceKeys);
  d.has_rx_interrupts = false;
  return {};
}

Result<void> read_device(const ConfigNode& node, DeviceConfig& d) {
  ConfigReader in(node);
  while (const ConfigNode* w = in.next())
    if (auto ok = read_device_key(in, *w, d); !ok) return ok;
  return {};
}

// "3:0.0" becomes "0000:03:00.0"; "" when it is no PCI address.
std::string pci_address(const std::string& text) {
  unsigned domain = 0, bus = 0, device = 0, function = 0;
  int end = -1;
  // sscanf takes signs and blanks as well.
  if (text.find_first_not_of("0123456789abcdefABCDEF:.") != std::string::npos) return "";
  const char* s = text.c_str();
  if (std::sscanf(s, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) != 4) {
    domain = 0;
    end = -1;
    if (std::sscanf(s, "%2x:%2x.%1x%n", &bus, &device, &function, &end) != 3) return "";
  }
  if (end != static_cast<int>(text.size()) || device > 31 || function > 7) return "";
  char out[16];
  std::snprintf(out, sizeof out, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, device & 31,
                function & 7);
  return out;
}

// "": it is made when the device is known.
std::string name_of(const DeviceConfig& d) {
  return d.name.empty() && d.is_virtual ? d.address : d.name;
}

// "512,512"
bool is_list_of_numbers(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789,") == std::string::npos &&
         text.front() != ',' && text.back() != ',' && text.find(",,") == std::string::npos;
}

Result<void> add_device(const ConfigNode& node, DeviceConfig d, bool is_virtual, Config& out) {
  if (is_virtual) {
    const auto parsed = parse_vdev(node.word, d);
    if (!parsed) return node.fail(parsed.error().message);
    d = *parsed;
  } else {
    d.address = pci_address(node.word);
    if (d.address.empty())
      return node.fail("'dev " + node.word + "' is not a PCI address like 0000:03:00.0");
  }
  if (auto ok = read_device(node, d); !ok) return ok;
  for (const DeviceConfig& other : out.devices)
    if (other.address == d.address) return node.fail("'" + d.address + "' is there already");
  const std::string name = name_of(d);
  for (const DeviceConfig& other : out.devices)
    if (!name.empty() && name_of(other) == name)
      return node.fail("'" + other.address + "' has the name '" + name + "' already");
  out.devices.push_back(std::move(d));
  return {};
}

Result<void> read_key(ConfigReader& in, const ConfigNode& w, const DeviceConfig& defaults,
                      Config& out) {
  if (w.word == "dev" || w.word == "vdev") {
    const ConfigNode* device = in.next();
    if (!device || device->word.empty()) return w.fail("'" + w.word + "' needs a device");
    if (w.word == "dev" && device->word == "default") return {};  // has been read
    return add_device(*device, defaults, w.word == "vdev", out);
  }
  if (w.word == "no-pci") {
    out.has_pci = false;
  } else if (w.word == "no-hugetlb") {
    out.has_huge_pages = false;
  } else if (w.word == "no-multi-seg") {
    out.has_multi_segment = false;
  } else if (w.word == "no-tx-checksum-offload") {
    out.has_tx_checksum = false;
  } else if (w.word == "enable-lro") {
    out.has_lro = true;
  } else if (w.word == "socket-mem") {
    if (auto ok = read_text(in, w, out.socket_mem); !ok) return ok;
    if (!is_list_of_numbers(out.socket_mem))
      return w.fail("'socket-mem " + out.socket_mem + "': MB a NUMA node, like 512,512");
  } else if (w.word == "uio-driver") {
    return read_text(in, w, out.uio_driver);
  } else if (w.word == "iova-mode") {
    auto mode = one_of(in, w, {"pa", "va"});
    if (!mode) return mode.error();
    out.iova_mode = *mode;
  } else if (w.word == "log-level") {
    auto level = one_of(
        in, w, {"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"});
    if (!level) return level.error();
    out.log_level = *level;
  } else {
    return in.unknown(w, kKeys);
  }
  return {};
}

}  // namespace

// Nothing that EAL might take for a device of another bus.
Result<DeviceConfig> parse_vdev(std::string_view text, const DeviceConfig& defaults) {
  DeviceConfig d = defaults;
  d.is_virtual = true;
  const auto comma = text.find(',');
  d.address = text.substr(0, comma);
  d.devargs = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  if (d.address.empty() || d.address.find_first_not_of(kLetters) != std::string::npos)
    return error(Status::kInvalid, "'vdev' needs a device, like net_tap0,iface=dtap0");
  if (d.address.size() >= RTE_DEV_NAME_MAX_LEN)
    return error(Status::kInvalid, "'" + d.address + "' has more than " +
                                       std::to_string(RTE_DEV_NAME_MAX_LEN - 1) + " characters");
  if (auto checked = check_devargs(d.devargs); !checked) return checked.error();
  return d;
}

std::vector<std::string> arguments_of(const std::string& devargs) {
  std::vector<std::string> all;
  for (std::size_t at = 0; at < devargs.size();) {
    const std::size_t end = std::min(devargs.find(',', at), devargs.size());
    all.push_back(devargs.substr(at, end - at));
    at = end + 1;
  }
  return all;
}

// Where a name may begin is the driver's to say (`dev(NAME`, `slave=NAME`, `bus=vdev,name=NAME`):
// anywhere but within a word.
bool has_inside(const DeviceConfig& d, std::string_view driver) noexcept {
  const auto begins = [&](std::string_view with) { return d.address.starts_with(with); };
  if (!begins("net_failsafe") && !begins("net_bonding") && !begins("eth_bond")) return false;
  for (auto at = d.devargs.find(driver); at != std::string::npos;
       at = d.devargs.find(driver, at + 1))
    if (at == 0 ||
        (!std::isalnum(static_cast<unsigned char>(d.devargs[at - 1])) && d.devargs[at - 1] != '_'))
      return true;
  return false;
}

const char* const kStanzaHelp =
    "dev ADDRESS|default { }   a PCI device; what devices have that do not say otherwise\n"
    "vdev NAME[,KEY=VALUE...] { }   a device of software\n"
    "  of a device: name NAME, num-rx-queues N, num-tx-queues N, num-rx-desc N, num-tx-desc N,\n"
    "  rss { ipv4-tcp ... }, tso on|off, devargs TEXT, no-rx-interrupts, vlan-strip-offload "
    "on|off,\n"
    "  trust-peer   net_memif, net_vhost, net_virtio_user: their peer can do what the daemon can\n"
    "no-pci, no-hugetlb, socket-mem MB[,MB...], iova-mode pa|va, uio-driver NAME|auto|none\n"
    "no-multi-seg, no-tx-checksum-offload, enable-lro, log-level LEVEL";

Result<void> read_words(std::span<const std::string_view> words, DeviceConfig& out) {
  ConfigNode node;
  ConfigNode* block = nullptr;
  int place = 0;
  const auto broken = [&](const char* why) {
    return error(Status::kInvalid, "word " + std::to_string(place) + ": " + why);
  };
  for (const std::string_view word : words) {
    ++place;
    if (word == "{") {
      if (block || node.children.empty()) return broken("a block behind no word");
      block = &node.children.back();
      block->has_block = true;
    } else if (word == "}") {
      if (!block) return broken("'}' without '{'");
      block = nullptr;
    } else {
      std::vector<ConfigNode>& to = block ? block->children : node.children;
      to.emplace_back();
      to.back().word = word;
      to.back().line = place;
    }
  }
  if (block) return broken("'}' is missing");
  const auto read = read_device(node, out);
  if (read) return read;
  return error(read.error().code, "word " + read.error().message.substr(1));  // ":3: ..."
}

Result<void> read_stanza(const ConfigNode& stanza, Config& out) {
  out.is_given = true;
  DeviceConfig& defaults = out.defaults;
  for (std::size_t i = 0; i + 1 < stanza.children.size(); ++i)
    if (stanza.children[i].word == "dev" && stanza.children[i + 1].word == "default") {
      const ConfigNode& node = stanza.children[i + 1];
      if (auto ok = read_device(node, defaults); !ok) return ok;
      if (!defaults.name.empty())
        return node.fail("'name " + defaults.name + "' cannot be the name of all devices");
      if (defaults.trusts_peer) return node.fail("'trust-peer' is said of each device by itself");
    }
  ConfigReader in(stanza);
  while (const ConfigNode* w = in.next())
    if (auto ok = read_key(in, *w, defaults, out); !ok) return ok;
  for (const DeviceConfig& d : out.devices)
    if (!d.is_virtual && !out.has_pci)
      return stanza.fail("'dev " + d.address + "' and 'no-pci' contradict each other");
  return {};
}

}  // namespace loom::dpdk
