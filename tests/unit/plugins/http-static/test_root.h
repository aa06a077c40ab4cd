// A folder to be served, gone with its owner.
#pragma once
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace loom::http {

class TestRoot {
 public:
  TestRoot() {
    char name[] = "/tmp/hostloom-http-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TestRoot() { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << text;
  }
  std::filesystem::path path;
};

}  // namespace loom::http
