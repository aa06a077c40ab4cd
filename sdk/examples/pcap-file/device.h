// An interface that receives the frames of one capture and sends into another.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "pcap_reader.h"
#include "pcap_writer.h"

namespace pcap_file {

using namespace loom;

struct Device {
  Host* host = nullptr;
  std::string name;
  IfIndex index = kNoIndex;
  Capture capture;
  std::size_t next = 0;  // frame to receive; the worker's
  // Readable while there are frames to receive: an eventfd, as a NIC's interrupt would be.
  int event_fd = -1;
  std::unique_ptr<PcapWriter> writer;           // null: what is sent goes nowhere
  std::vector<InterfaceCounters*> rx_counters;  // by worker

  ~Device();
};

struct Config {
  std::string name;
  std::string rx_file, tx_file;  // "": receives nothing, sends nowhere
  MacAddress mac;                // zero: one is made up
};
// Errors name the file, or what was wrong about the interface.
Result<void> create(Host&, const Config&);
Result<void> remove(Host&, const std::string& name);
void remove_all(Host&) noexcept;

extern const NodeInfo kInputNode;
extern const DriverOps kDriver;

}  // namespace pcap_file
