// How connections begin and end, and what the session layer hears of it. Everything here runs
// within a TcpWorker::Scope; connections that end stay addressable until it closes.
#pragma once
#include "options.h"
#include "tcp_worker.h"

namespace loom::tcp {

// --- Beginning.
// Applies the options of a socket; also while it is open.
void apply_socket_options(TcpWorker&, Connection&, const SocketOptionsView&) noexcept;
// The controller by name, or the daemon's default when there is none of that name.
const CcOps* controller(const char* name) noexcept;
// What the peer's SYN says (RFC 7323, RFC 2018): only what both sides offer is used. A connection
// without an MSS option gets the default of its family (RFC 9293 section 3.7.1).
void negotiate(TcpWorker&, Connection&, const Options& peer) noexcept;
// Both sides have agreed: windows of the congestion controller, timers, counters.
void start_established(TcpWorker&, Connection&) noexcept;
// An active open (also a simultaneous one) succeeded: flow table, session layer.
void active_open_done(TcpWorker&, Connection&) noexcept;

// --- Ending.
// In order: the session is let go and told so; the connection is freed.
void end_connection(TcpWorker&, Connection&) noexcept;
// The same, with TIME-WAIT left behind.
void enter_time_wait(TcpWorker&, Connection&) noexcept;
// Early: the session layer hears `reason` (a connect that is under way fails). Sends nothing.
void drop_connection(TcpWorker&, Connection&, ResetReason reason) noexcept;
// Sends RST, tells nobody.
void abort_connection(TcpWorker&, Connection&) noexcept;
// Every byte and the FIN are acknowledged and the application reads no more: the session can go,
// the connection waits for the peer's FIN alone.
void release_session(TcpWorker&, Connection&) noexcept;

// The flow table entry of a half-open connection is the caller's: it may pass to the connection.
void free_half_open(TcpWorker&, HalfOpen&) noexcept;
// Takes the entry out of its listener's list, or puts it in: not while an application runs that may
// end the listener, and with it everything in the list.
void unlink_half_open(TcpWorker&, HalfOpen&) noexcept;
void link_half_open(TcpWorker&, Listener&, HalfOpen&) noexcept;
void free_time_wait(TcpWorker&, TimeWait&) noexcept;

}  // namespace loom::tcp
