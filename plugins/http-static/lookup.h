// What a worker has the control thread do: look a file up, read a piece of one, take entries back.
// The worker goes on meanwhile; the outcome comes to the connection by a call on its worker.
#pragma once
#include <string_view>

#include "server.h"

namespace loom::http {

struct Connection;
struct Lookup;

// Begins; Connection::lookup is set until the outcome comes. False: no memory.
bool start_lookup(Worker&, Connection&, std::string_view path) noexcept;
bool start_read(Worker&, Connection&, uint64_t at, uint32_t n) noexcept;
// The connection is gone: nobody waits for the outcome.
void abandon(Lookup&) noexcept;
// One user less.
void give_back(Worker&, Entry&) noexcept;

}  // namespace loom::http
