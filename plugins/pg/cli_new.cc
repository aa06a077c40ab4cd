// The words of `packet-generator new`, and the frames that they make.
#include <algorithm>
#include <charconv>
#include <cmath>

#include <hostloom/config.h>

#include "packet_text.h"
#include "pcap_file.h"
#include "pg.h"

namespace loom::pg {
namespace {

constexpr std::size_t kMostBytes = 64 << 20;  // StreamConfig::memory()

// A number as people write them: 1000, 1e4, 2.5.
Result<double> take_real(CliArgs& args, double least, double most) {
  const CliArgs at = args;
  const std::string_view word = args.next();
  double value = 0;
  const auto [end, failed] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (failed != std::errc{} || end != word.data() + word.size() || !std::isfinite(value) ||
      std::signbit(value) || value < least || value > most)
    return refuse(at, "a number of at most " + std::to_string(static_cast<uint64_t>(most)) +
                          " is wanted there");
  return value;
}

// A number of packets, in the same ways: 1000, 1e4. `most` is one that a double can say.
Result<uint64_t> take_whole(CliArgs& args, uint64_t most) {
  const CliArgs at = args;
  const auto value = take_real(args, 0, static_cast<double>(most));
  if (!value || *value != std::trunc(*value))
    return refuse(at, "a whole number of at most " + std::to_string(most) + " is wanted there");
  return static_cast<uint64_t>(*value);
}

struct Size {
  uint32_t least = 0, most = 0;
};
// 64-1500, or 64.
Result<Size> take_size(CliArgs& args) {
  const CliArgs at = args;
  const std::string_view word = args.next();
  const auto dash = word.find('-');
  const auto least = parse_number(word.substr(0, dash));
  const auto most = dash == word.npos ? least : parse_number(word.substr(dash + 1));
  if (!least || !most || *least == 0 || *least > *most || *most > kMostPacket)
    return refuse(
        at, "a size like 64-1500, up to " + std::to_string(kMostPacket) + ", is wanted there");
  return Size{static_cast<uint32_t>(*least), static_cast<uint32_t>(*most)};
}

class Reader {
 public:
  explicit Reader(CliArgs& args) : args_(args) {}

  Result<StreamConfig> read() {
    const bool has_brace = args_.accept("{");
    while (has_brace ? !args_.accept("}") : !args_.done()) {
      if (args_.done()) return refuse(args_, "'}' is wanted at the end");
      if (auto r = key(); !r) return r.error();
    }
    if (!args_.done()) return args_.unknown();
    if (c_.name.empty()) return missing("`name`");
    if (text_ && !c_.origin.empty())
      return error(Status::kInvalid, "`data` and `pcap` exclude each other");
    if (!text_ && c_.origin.empty()) return missing("`data { ... }` or `pcap FILE`");
    if (auto r = text_ ? frames_of_text() : frames_of_file(); !r) return r.error();
    if (auto r = destination(); !r) return r.error();
    return std::move(c_);
  }

 private:
  static Error missing(const std::string& what) {
    return error(Status::kInvalid, what + " is missing");
  }

  Result<void> key() {
    if (args_.accept("no-recycle")) return {};  // buffers are always made anew
    if (args_.accept("name")) return word("name", c_.name);
    if (args_.accept("interface") || args_.accept("source"))
      return word("interface", c_.rx_interface);
    if (args_.accept("tx-interface")) return word("tx-interface", c_.tx_interface);
    if (args_.accept("pcap")) return word("pcap", c_.origin);
    if (args_.accept("limit")) {
      const auto n = take_whole(args_, 1'000'000'000'000'000);
      if (!n) return n.error();
      c_.limit = *n;
      has_limit_ = true;
      return {};
    }
    if (args_.accept("rate")) {
      const auto n = take_real(args_, 0, 1e12);
      if (!n) return n.error();
      c_.rate = *n;
      return {};
    }
    if (args_.accept("size")) {
      const auto n = take_size(args_);
      if (!n) return n.error();
      size_ = *n;
      return {};
    }
    if (args_.accept("worker")) return number("worker", 0, 0xffff, c_.worker);
    if (args_.accept("maxframe")) return number("maxframe", 1, kFrameSize, c_.max_frame);
    if (args_.accept("node")) return node();
    if (args_.accept("data")) {
      if (!args_.accept("{")) return refuse(args_, "'{' is wanted there");
      auto text = read_packet_text(args_);
      if (!text) return text.error();
      text_ = std::move(*text);
      return {};
    }
    return args_.unknown();
  }

  Result<void> word(std::string_view what, std::string& out) {
    const CliArgs at = args_;
    const auto text = args_.text(what);
    if (!text) return text.error();
    if (text->empty() || *text == "{" || *text == "}")
      return refuse(at, std::string(what) + " is wanted there");
    out = *text;
    return {};
  }
  Result<void> number(std::string_view what, uint32_t least, uint32_t most, uint32_t& out) {
    const auto n = args_.number(what, least, most);
    if (!n) return n.error();
    out = static_cast<uint32_t>(*n);
    return {};
  }

  Result<void> node() {
    const CliArgs at = args_;
    const std::string_view name = args_.next();
    for (uint16_t i = 0; i < kNextCount; ++i)
      if (name == kNextNames[i]) {
        node_ = static_cast<Next>(i);
        return {};
      }
    std::string all;
    for (const char* n : kNextNames) (all += all.empty() ? "" : ", ") += n;
    return refuse(at, "only these take any packet: " + all);
  }

  static Result<void> check_memory(std::size_t n_bytes, std::size_t n_frames) {
    if (StreamConfig::memory_of(n_bytes, n_frames) <= kMostBytes) return {};
    return error(Status::kInvalid,
                 "the packets take more than " + std::to_string(kMostBytes) + " bytes together");
  }

  Result<void> frames_of_text() {
    c_.origin = "data";
    const uint32_t headers = text_->header_length();
    const Size size = size_.value_or(Size{text_->length(), text_->length()});
    if (size.most == 0) return error(Status::kInvalid, "`data` describes an empty packet");
    if (size.least < headers)
      return error(Status::kInvalid,
                   "size " + std::to_string(size.least) +
                       " is less than the headers have: " + std::to_string(headers));
    const std::size_t n = size.most - size.least + 1;
    const std::size_t n_bytes = n * (std::size_t{size.least} + size.most) / 2;
    if (auto r = check_memory(n_bytes, n); !r) return r;
    c_.bytes.reserve(n_bytes);
    c_.frames.reserve(n);
    for (uint32_t length = size.least; length <= size.most; ++length) {
      const auto packet = build_packet(*text_, length);
      c_.frames.push_back({static_cast<uint32_t>(c_.bytes.size()), length});
      c_.bytes.insert(c_.bytes.end(), packet.begin(), packet.end());
    }
    first_ = text_->ethernet         ? kToEthernet
             : !text_->ip            ? kToDrop  // whatever it is
             : text_->ip->src.is_ip4 ? kToIp4
                                     : kToIp6;
    return {};
  }

  Result<void> frames_of_file() {
    if (size_) return error(Status::kInvalid, "`size` goes with `data` only");
    auto content = read_pcap(c_.origin);
    if (!content) return content.error();
    if (auto r = check_memory(content->bytes.size(), content->packets.size()); !r) return r;
    c_.bytes = std::move(content->bytes);
    c_.frames = std::move(content->packets);
    c_.frames.shrink_to_fit();
    if (!has_limit_) c_.limit = c_.frames.size();
    first_ = content->link_type == kLinkEthernet   ? kToEthernet
             : c_.bytes[c_.frames[0].at] >> 4 == 6 ? kToIp6
                                                   : kToIp4;
    return {};
  }

  // Where packets go, unless it is said, follows from what they begin with.
  Result<void> destination() {
    if (node_) {
      c_.node = *node_;
    } else if (!c_.tx_interface.empty()) {
      c_.node = kToOutput;
    } else if (first_ == kToDrop) {
      return missing("`node`");
    } else {
      c_.node = first_;
    }
    if (c_.node < kToOutput && first_ != kToDrop && c_.node != first_)
      return error(Status::kInvalid, std::string("packets for ") + kNextNames[first_] +
                                         " cannot go to node " + kNextNames[c_.node]);
    if (c_.node < kToOutput && c_.rx_interface.empty()) return missing("`interface`");
    if (c_.node == kToOutput && c_.tx_interface.empty())
      c_.tx_interface = std::exchange(c_.rx_interface, "");
    if (c_.node == kToOutput && c_.tx_interface.empty()) return missing("`tx-interface`");
    return {};
  }

  CliArgs& args_;
  StreamConfig c_;
  bool has_limit_ = false;
  std::optional<Size> size_;
  std::optional<Next> node_;
  std::optional<PacketText> text_;
  Next first_ = kToEthernet;  // the node that takes what the packets begin with; drop: unknown
};

}  // namespace

Result<StreamConfig> read_stream(CliArgs& args) { return Reader(args).read(); }

}  // namespace loom::pg
