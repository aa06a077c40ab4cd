// See packet.h.
#include "packet.h"

#include <algorithm>

namespace loom::script {

std::string Packet::str() const {
  std::string s = flags + " " + (seq ? std::to_string(*seq) : "?");
  if (length) s += ":" + std::to_string(seq.value_or(0) + length);
  if (ack_number) s += " ack " + std::to_string(*ack_number);
  if (window) s += " win " + std::to_string(*window);
  if (mss_option) s += " mss " + std::to_string(*mss_option);
  if (wscale_option) s += " wscale " + std::to_string(*wscale_option);
  if (sack_permitted) s += " sackOK";
  if (tsval) s += " TS " + std::to_string(*tsval) + "/" + std::to_string(tsecr.value_or(0));
  for (const auto& [from, to] : sack_blocks)
    s += " sack " + std::to_string(from) + ":" + std::to_string(to);
  return s;
}

std::vector<Packet> segs(uint32_t from, uint32_t to, uint32_t mss) {
  std::vector<Packet> out;
  for (; from < to; from += mss) out.push_back(seg(from, std::min(from + mss, to)));
  return out;
}

}  // namespace loom::script
