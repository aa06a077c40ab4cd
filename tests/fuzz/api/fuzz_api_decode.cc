// Fuzz target: the decoder of every API message of every module.
//   input   u16 which message (little endian, modulo their number), then what is behind the id
// What decodes is encoded and decoded again, which must give the same bytes; nothing that is
// decoded holds more than its input could. Crashes, sanitizer reports and differences are findings.
#include <cstdlib>
#include <string>
#include <vector>

#include "each_message.h"
#include "fuzz.h"

namespace loom {
namespace {

using Bytes = std::vector<std::byte>;

struct Codec {
  void (*check)(std::span<const std::byte>);
  Bytes (*sample)();
};

template <class Message>
Bytes encoded(const Message& m) {
  Bytes out;
  ApiWriter w(out);
  encode(w, m);
  return out;
}

template <class Message>
void check(std::span<const std::byte> in) {
  ApiReader r(in);
  Message m;
  decode(r, m);
  if (!r.ok()) return;
  const Bytes first = encoded(m);
  if (first.size() > in.size()) std::abort();  // what is fixed has its size; the rest was there
  ApiReader again(first);
  Message second;
  decode(again, second);
  if (!again.ok() || again.remaining() != 0 || encoded(second) != first) std::abort();
}

const std::vector<Codec>& codecs() {
  static const std::vector<Codec> all = [] {
    std::vector<Codec> list;
    api::for_each_message([&]<class Message>() {
      list.push_back({check<Message>, [] { return encoded(Message{}); }});
    });
    return list;
  }();
  return all;
}

}  // namespace
}  // namespace loom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t which = data[0] | static_cast<std::size_t>(data[1]) << 8;
  const auto& all = loom::codecs();
  all[which % all.size()].check(std::as_bytes(std::span(data + 2, size - 2)));
  return 0;
}

// Each message as it is when nothing is set, with one thing in every place, and, of short ones,
// with a number in each place that may be a length of what follows.
void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  const auto& all = loom::codecs();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const loom::Bytes body = all[i].sample();
    std::string input{static_cast<char>(i), static_cast<char>(i >> 8)};
    const std::size_t head = input.size();
    input.append(reinterpret_cast<const char*>(body.data()), body.size());
    give(input);
    for (const char fill : {'\0', '\1', 'a'}) {
      std::string filled = input;
      std::fill(filled.begin() + static_cast<std::ptrdiff_t>(head), filled.end(), fill);
      give(filled + std::string(600, fill));
    }
    for (std::size_t at = head; at < input.size() && input.size() < 64; ++at) {
      std::string counted = input;
      counted[at] = 9;
      give(counted + std::string(600, '\0'));
    }
  }
}
