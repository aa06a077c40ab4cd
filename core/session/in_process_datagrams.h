// What in-process applications, and transports that are applications, do with datagrams: see
// hostloom/app.h and SessionOps. Private to core/session/.
#pragma once
#include <hostloom/app.h>

namespace loom::session {

Status open_at(Worker&, Application&, SessionId upper, const AppEndpoint& how, void* context,
               SessionId* out) noexcept;
Status send_datagram(Worker&, SessionId, const Datagram&, std::span<const std::byte>) noexcept;
Status receive_datagram(Worker&, SessionId, Datagram& from, std::span<std::byte> to,
                        uint32_t* length) noexcept;
uint32_t path_mtu(Worker&, SessionId, const IpAddress& to) noexcept;
Status tx_datagram(Worker&, SessionId, Datagram& how, std::span<std::byte> to,
                   uint32_t* length) noexcept;

}  // namespace loom::session
