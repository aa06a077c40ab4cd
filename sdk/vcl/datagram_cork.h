// A datagram that several calls put together (MSG_MORE, UDP_CORK; man 7 udp). What the first one
// says of its destination, and with control messages, holds for all of it; the last sends it. An
// error drops what there was, as on Linux. Of a session that has never had one there is none.
#pragma once
#include <mutex>
#include <vector>

#include "vcl/session.h"

namespace loom::vcl {

struct DatagramCork {
  std::mutex mutex;          // held before the session's, never behind it
  bool is_on = false;        // UDP_CORK
  bool is_pending = false;   // there is one, perhaps of no bytes yet
  std::vector<char> bytes;   // of it
  DatagramOut out;           // of it; its pointers are set when it is sent
  svm::Endpoint to, source;  // what they point to, if
  bool has_to = false, has_source = false;

  // What the first call has said.
  void begin(const DatagramOut& o) {
    out = o;
    has_to = o.to;
    has_source = o.source;
    if (has_to) to = *o.to;
    if (has_source) source = *o.source;
    out.to = out.source = nullptr;
    is_pending = true;
  }
  void drop() {
    is_pending = false;
    bytes = {};
  }
};

}  // namespace loom::vcl
