#include "packet_text.h"

#include <array>
#include <cstdio>
#include <string>

#include <hostloom/config.h>
#include <hostloom/wire.h>

namespace loom::pg {
namespace {

struct Name {
  std::string_view name;
  uint32_t number;
};
constexpr Name kEtherTypes[] = {
    {"IP4", kEtherTypeIp4}, {"IP6", kEtherTypeIp6}, {"ARP", kEtherTypeArp}};
constexpr Name kProtocols[] = {
    {"TCP", kProtoTcp}, {"UDP", kProtoUdp}, {"ICMP", kProtoIcmp}, {"ICMP6", kProtoIcmp6}};
constexpr Name kIcmp4Types[] = {{"echo_reply", kIcmp4EchoReply},
                                {"echo_request", kIcmp4Echo},
                                {"destination_unreachable", kIcmp4Unreachable},
                                {"time_exceeded", kIcmp4TimeExceeded}};
constexpr Name kIcmp6Types[] = {{"echo_reply", kIcmp6EchoReply},
                                {"echo_request", kIcmp6Echo},
                                {"packet_too_big", kIcmp6PacketTooBig},
                                {"time_exceeded", kIcmp6TimeExceeded},
                                {"neighbor_solicitation", kIcmp6NeighborSolicitation},
                                {"neighbor_advertisement", kIcmp6NeighborAdvertisement}};
constexpr Name kTcpFlags[] = {{"FIN", 1},  {"SYN", 2},  {"RST", 4},  {"PSH", 8},
                              {"ACK", 16}, {"URG", 32}, {"ECE", 64}, {"CWR", 128}};

std::optional<uint32_t> find(std::span<const Name> names, std::string_view word) {
  for (const Name& n : names)
    if (n.name == word) return n.number;
  return std::nullopt;
}
std::optional<uint32_t> number_in(std::string_view word, uint32_t most) {
  const auto n = parse_number(word);
  if (!n || *n > most) return std::nullopt;
  return static_cast<uint32_t>(*n);
}

// 00:11:22:33:44:55, or three groups of up to four digits: 11.2233.4455.
std::optional<MacAddress> mac_of(std::string_view word) {
  const bool has_dots = word.find('.') != word.npos;
  const char separator = has_dots ? '.' : ':';
  const std::size_t n_groups = has_dots ? 3 : 6, most_digits = has_dots ? 4 : 2;
  MacAddress mac;
  for (std::size_t i = 0; i < n_groups; ++i) {
    const std::size_t end = word.find(separator);
    if ((end == word.npos) != (i + 1 == n_groups)) return std::nullopt;
    const std::string_view group = word.substr(0, end);
    if (group.empty() || group.size() > most_digits) return std::nullopt;
    const auto value = parse_number("0x" + std::string(group));
    if (!value) return std::nullopt;
    if (has_dots) {
      mac.bytes[2 * i] = static_cast<uint8_t>(*value >> 8);
      mac.bytes[2 * i + 1] = static_cast<uint8_t>(*value);
    } else {
      mac.bytes[i] = static_cast<uint8_t>(*value);
    }
    if (end != word.npos) word.remove_prefix(end + 1);
  }
  return mac;
}

// Takes the word that parse() turns into a value.
template <class T, class Parse>
Result<void> take(CliArgs& args, T& out, const std::string& wanted, Parse&& parse) {
  const CliArgs at = args;
  const auto value = args.done() ? std::nullopt : parse(args.next());
  if (!value) return refuse(at, wanted + " is wanted there");
  out = static_cast<T>(*value);
  return {};
}
template <class T>
Result<void> take_number(CliArgs& args, T& out, uint32_t most) {
  return take(args, out, "a number from 0 to " + std::to_string(most),
              [&](std::string_view w) { return number_in(w, most); });
}
Result<void> take_arrow(CliArgs& args) {
  if (args.accept("->")) return {};
  return refuse(args, "'->' is wanted there");
}
// A -> B.
template <class T, class Parse>
Result<void> take_pair(CliArgs& args, T& src, T& dst, const std::string& wanted, Parse&& parse) {
  auto done = take(args, src, wanted, parse);
  if (done) done = take_arrow(args);
  if (done) done = take(args, dst, wanted, parse);
  return done;
}

class Reader {
 public:
  explicit Reader(CliArgs& args) : args_(args) {}
  Result<PacketText> read() {
    while (!args_.accept("}")) {
      if (args_.done()) return refuse(args_, "'}' is wanted at the end of data");
      if (auto r = line(); !r) return r.error();
      if (text_.length() > kMostPacket)
        return error(Status::kInvalid,
                     "the packet has more than " + std::to_string(kMostPacket) + " bytes");
    }
    return std::move(text_);
  }

 private:
  Result<void> line() {
    const CliArgs at = args_;
    const std::string_view word = args_.next();
    if (word == "incrementing") return incrementing();
    if (word == "hex") return hex();
    if (word == "ICMP" || word == "ICMP6") return icmp(at);
    if (!word.ends_with(':') || word.size() == 1)
      return refuse(at,
                    "a header (IP4: IP6: ARP: UDP: TCP: ICMP: ICMP6: ICMP), incrementing or "
                    "hex is wanted there");
    const std::string_view name = word.substr(0, word.size() - 1);
    auto type = find(kEtherTypes, name);
    if (!type && name.starts_with("0x")) type = number_in(name, 0xffff);
    if (type) return ethernet(at, static_cast<uint16_t>(*type));
    auto protocol = find(kProtocols, name);
    if (!protocol) protocol = number_in(name, 255);
    if (!protocol) return refuse(at, "there is no such protocol");
    const std::string_view first = args_.peek();
    return first.find_first_of(".:") == first.npos ? ports(at, static_cast<uint8_t>(*protocol))
                                                   : ip(at, static_cast<uint8_t>(*protocol));
  }

  Result<void> ethernet(const CliArgs& at, uint16_t type) {
    if (text_.ethernet || text_.ip || text_.l4 || has_payload_)
      return refuse(at, "an Ethernet header can only be the first");
    EthernetText e{.src = {}, .dst = {}, .type = type};
    if (auto r = take_pair(args_, e.src, e.dst, "a MAC address", mac_of); !r) return r;
    text_.ethernet = e;
    return {};
  }

  Result<void> ip(const CliArgs& at, uint8_t protocol) {
    if (text_.ip || text_.l4 || has_payload_)
      return refuse(at, "an IP header can only be the first, or behind an Ethernet header");
    IpText h;
    h.protocol = protocol;
    const auto parse = [](std::string_view w) -> std::optional<IpAddress> {
      const auto a = IpAddress::parse(w);
      if (!a) return std::nullopt;
      return *a;
    };
    if (auto r = take_pair(args_, h.src, h.dst, "an IP address", parse); !r) return r;
    if (h.src.is_ip4 != h.dst.is_ip4)
      return refuse(at, "one of the addresses is IPv4 and the other IPv6");
    for (;;) {
      Result<void> done;
      if (args_.accept("ttl") || args_.accept("hop-limit"))
        done = take_number(args_, h.ttl, 255);
      else if (args_.accept("tos"))
        done = take_number(args_, h.tos, 255);
      else if (args_.accept("length"))
        done = take_number(args_, h.length.emplace(), 0xffff);
      else if (h.src.is_ip4 && args_.accept("checksum"))
        done = take_number(args_, h.checksum.emplace(), 0xffff);
      else
        break;
      if (!done) return done;
    }
    text_.ip = h;
    return {};
  }

  // A header behind IP has to be the one that IP announces.
  Result<void> check_l4(const CliArgs& at, uint8_t protocol) const {
    if (text_.l4 || has_payload_ || (text_.ethernet && !text_.ip))
      return refuse(at, "this header can only be the first, or behind an IP header");
    if (text_.ip && text_.ip->protocol != protocol)
      return refuse(
          at, "the IP header in front announces protocol " + std::to_string(text_.ip->protocol));
    return {};
  }

  Result<void> ports(const CliArgs& at, uint8_t protocol) {
    if (protocol != kProtoTcp && protocol != kProtoUdp)
      return refuse(at, "two IP addresses, or UDP or TCP with two ports, are wanted there");
    if (auto r = check_l4(at, protocol); !r) return r;
    L4Text h;
    h.protocol = protocol;
    const auto port = [](std::string_view w) { return number_in(w, 0xffff); };
    if (auto r = take_pair(args_, h.src_port, h.dst_port, "a port", port); !r) return r;
    for (;;) {
      Result<void> done;
      const bool is_tcp = protocol == kProtoTcp;
      if (const auto flag = find(kTcpFlags, args_.peek()); is_tcp && flag) {
        args_.next();
        h.flags = static_cast<uint8_t>(h.flags | *flag);
      } else if (is_tcp && args_.accept("seqnum")) {
        done = take_number(args_, h.seq, ~0u);
      } else if (is_tcp && args_.accept("acknum")) {
        done = take_number(args_, h.ack, ~0u);
      } else if (is_tcp && args_.accept("window")) {
        done = take_number(args_, h.window, 0xffff);
      } else if (!is_tcp && args_.accept("length")) {
        done = take_number(args_, h.length.emplace(), 0xffff);
      } else if (args_.accept("checksum")) {
        done = take_number(args_, h.checksum.emplace(), 0xffff);
      } else {
        break;
      }
      if (!done) return done;
    }
    text_.l4 = h;
    return {};
  }

  Result<void> icmp(const CliArgs& at) {
    const bool is_6 = text_.ip ? !text_.ip->src.is_ip4 : at.peek() == "ICMP6";
    L4Text h;
    h.protocol = is_6 ? kProtoIcmp6 : kProtoIcmp;
    if (auto r = check_l4(at, h.protocol); !r) return r;
    const auto type = [&](std::string_view w) {
      const auto known = find(is_6 ? std::span<const Name>(kIcmp6Types) : kIcmp4Types, w);
      return known ? known : number_in(w, 255);
    };
    auto done = take(args_, h.type, "a type like echo_request, or its number,", type);
    if (done && args_.accept("code")) done = take_number(args_, h.code, 255);
    if (done && args_.accept("checksum")) done = take_number(args_, h.checksum.emplace(), 0xffff);
    if (done) text_.l4 = h;
    return done;
  }

  Result<void> incrementing() {
    uint32_t n = 0;
    if (auto r = take_number(args_, n, kMostPacket); !r) return r;
    for (uint32_t i = 0; i < n; ++i) text_.payload.bytes.push_back(static_cast<uint8_t>(i));
    text_.payload.is_incrementing = has_payload_ = true;
    return {};
  }

  Result<void> hex() {
    const CliArgs at = args_;
    std::string_view digits = args_.next();
    if (digits.starts_with("0x")) digits.remove_prefix(2);
    if (digits.empty() || digits.size() % 2 || digits.size() > 2 * kMostPacket ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
      return refuse(at, "an even number of hexadecimal digits is wanted there");
    for (std::size_t i = 0; i < digits.size(); i += 2) {
      const auto byte = parse_number("0x" + std::string(digits.substr(i, 2)));
      text_.payload.bytes.push_back(static_cast<uint8_t>(*byte));
    }
    text_.payload.is_incrementing = false;
    has_payload_ = true;
    return {};
  }

  CliArgs& args_;
  PacketText text_;
  bool has_payload_ = false;
};

}  // namespace

Error refuse(const CliArgs& at, const std::string& reason) {
  Error e = at.unknown();
  e.message += ": " + reason;
  return e;
}

Result<PacketText> read_packet_text(CliArgs& args) { return Reader(args).read(); }

}  // namespace loom::pg
