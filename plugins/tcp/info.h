// Connections for people and for TCP_INFO.
#pragma once
#include "tcp_worker.h"

namespace loom::tcp {

void connection_info(TcpWorker&, const Connection&, ConnectionInfo&) noexcept;
// Several lines, each with a newline. Allocates.
void describe_connection(TcpWorker&, const Connection&, std::string& out);

}  // namespace loom::tcp
