// The names of what packets are spread by.
#include <rte_ethdev.h>

#include <algorithm>

#include "config.h"

namespace loom::dpdk {
namespace {

constexpr struct {
  std::string_view word;
  uint64_t flag;
} kWords[] = {
    {"ipv4", RTE_ETH_RSS_IPV4},
    {"ipv4-frag", RTE_ETH_RSS_FRAG_IPV4},
    {"ipv4-tcp", RTE_ETH_RSS_NONFRAG_IPV4_TCP},
    {"ipv4-udp", RTE_ETH_RSS_NONFRAG_IPV4_UDP},
    {"ipv4-sctp", RTE_ETH_RSS_NONFRAG_IPV4_SCTP},
    {"ipv4-other", RTE_ETH_RSS_NONFRAG_IPV4_OTHER},
    {"ipv6", RTE_ETH_RSS_IPV6},
    {"ipv6-frag", RTE_ETH_RSS_FRAG_IPV6},
    {"ipv6-tcp", RTE_ETH_RSS_NONFRAG_IPV6_TCP},
    {"ipv6-udp", RTE_ETH_RSS_NONFRAG_IPV6_UDP},
    {"ipv6-sctp", RTE_ETH_RSS_NONFRAG_IPV6_SCTP},
    {"ipv6-other", RTE_ETH_RSS_NONFRAG_IPV6_OTHER},
    {"ipv6-ex", RTE_ETH_RSS_IPV6_EX},
    {"ipv6-tcp-ex", RTE_ETH_RSS_IPV6_TCP_EX},
    {"ipv6-udp-ex", RTE_ETH_RSS_IPV6_UDP_EX},
    {"l2-payload", RTE_ETH_RSS_L2_PAYLOAD},
};

}  // namespace

const uint64_t kRssFiveTuple = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;

uint64_t rss_of(std::string_view word) {
  for (const auto& w : kWords)
    if (w.word == word) return w.flag;
  return 0;
}

Result<uint64_t> rss_of_words(std::string_view words) {
  uint64_t flags = 0;
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find(' ', at), words.size());
    const std::string_view word = words.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    const uint64_t flag = rss_of(word);
    if (flag == 0) {
      const std::string_view near = nearest_name(word, rss_words());
      return error(Status::kInvalid,
                   "'" + std::string(word) + "' is nothing to spread packets by" +
                       (near.empty() ? "" : "; did you mean '" + std::string(near) + "'?"));
    }
    flags |= flag;
  }
  return flags;
}

std::string rss_text(uint64_t flags) {
  std::string text;
  for (const auto& w : kWords)
    if (flags & w.flag) text += (text.empty() ? "" : " ") + std::string(w.word);
  return text;
}

std::vector<std::string_view> rss_words() {
  std::vector<std::string_view> words;
  for (const auto& w : kWords) words.push_back(w.word);
  return words;
}

}  // namespace loom::dpdk
