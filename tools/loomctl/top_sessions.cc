#include "top_sessions.h"

#include <arpa/inet.h>

#include <algorithm>

#include "session.api.h"

namespace loomctl {
namespace {

constexpr auto kPatience = std::chrono::seconds(5);  // the view waits meanwhile

std::string end_of(const loom::api::Address& address, uint16_t port) {
  const bool is_ip4 = address.af == loom::api::AddressFamily::kAddressIp4;
  char text[INET6_ADDRSTRLEN] = "?";
  ::inet_ntop(is_ip4 ? AF_INET : AF_INET6, address.un.raw.data(), text, sizeof text);
  const std::string host = is_ip4 ? text : "[" + std::string(text) + "]";
  return host + ":" + std::to_string(port);
}

bool is_same(const SessionsSample::Session& a, const SessionsSample::Session& b) {
  return a.transport == b.transport && a.local == b.local && a.remote == b.remote;
}

}  // namespace

std::vector<SessionRate> session_rates(const SessionsSample& before, const SessionsSample& now) {
  std::vector<SessionRate> rates;
  const double s = std::chrono::duration<double>(now.at - before.at).count();
  if (s <= 0) return rates;
  for (const auto& [handle, session] : now.by_handle) {
    uint64_t rx = session.rx_bytes, tx = session.tx_bytes;
    if (const auto it = before.by_handle.find(handle); it != before.by_handle.end()) {
      const SessionsSample::Session& old = it->second;
      if (is_same(old, session) && old.rx_bytes <= rx && old.tx_bytes <= tx) {
        rx -= old.rx_bytes;
        tx -= old.tx_bytes;
      }
    }
    if (rx + tx == 0) continue;
    rates.push_back(
        {handle, session, 8 * static_cast<double>(rx) / s, 8 * static_cast<double>(tx) / s});
  }
  std::sort(rates.begin(), rates.end(), [](const SessionRate& a, const SessionRate& b) {
    const double x = a.rx_bits_s + a.tx_bits_s, y = b.rx_bits_s + b.tx_bits_s;
    return x != y ? x > y : a.handle < b.handle;
  });
  return rates;
}

loom::Result<SessionsSample> SessionSource::sample() {
  if (!client_) {
    auto client = loom::Client::connect(api_socket_, {.name = "loomctl top", .timeout = kPatience});
    if (!client) return client.error();
    client_ = std::move(*client);
  }
  loom::api::SessionDump request;
  request.kind = loom::api::SessionKind::kSessionApiKindConnection;
  const auto details = client_->dump<loom::api::SessionDetails>(request);
  if (!details) {
    client_.reset();
    return details.error();
  }
  SessionsSample sample{std::chrono::steady_clock::now(), {}};
  for (const auto& d : *details)
    sample.by_handle[d.handle] = {d.transport,
                                  end_of(d.local, d.local_port),
                                  end_of(d.remote, d.remote_port),
                                  d.app,
                                  d.bytes_received,
                                  d.bytes_acked};
  return sample;
}

}  // namespace loomctl
