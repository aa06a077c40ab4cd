// The session layer's messages: modules "session", "drain" and "congestion". Control thread.
#pragma once
#include <hostloom/host.h>

namespace loom {

class ApiRegistry;
class CcRegistry;
class SessionLayer;

// Adds the modules and their handlers; both outlive the last request. Events go out by the host.
Result<void> add_session_api(Host&, ApiRegistry&, SessionLayer&);
Result<void> add_drain_api(Host&, ApiRegistry&, SessionLayer&);

// Module "congestion", and the commands that do the same.
Result<void> add_congestion_api(ApiRegistry&, SessionLayer&, CcRegistry&);
Result<void> register_congestion_commands(Host&, SessionLayer&, CcRegistry&);

}  // namespace loom
