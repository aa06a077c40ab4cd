// Which cache lines threads share, from a trace of all their accesses: what `valgrind --tool=lackey
// --trace-mem=yes --trace-sched=yes` writes, on standard input. Counts between SIGUSR1 and SIGUSR2,
// then says, and reads on to the end so that the traced program is not held up.
//   usage: shared_lines FILE   with the numbers that valgrind has given to the threads that are
//                              looked at; read at SIGUSR1
//   out    a line for each instruction that has written a line that two of those threads touched:
//          address, writes, of those the ones that took the line from another thread
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

namespace {

volatile std::sig_atomic_t is_counting = 0, is_over = 0;

constexpr unsigned kLineBits = 6, kMostThreads = 64;

struct Writes {
  uint64_t all = 0, taken = 0;
};

struct Line {
  uint64_t touched = 0, written = 0;  // by thread
  uint64_t holders = 0;               // who would have a valid copy
  std::unordered_map<uint64_t, Writes> by_code;
};

class Trace {
 public:
  void look_at(const char* file) {
    if (std::FILE* f = std::fopen(file, "r")) {
      for (unsigned thread; std::fscanf(f, "%u", &thread) == 1;)
        threads_ |= 1ull << thread % kMostThreads;
      std::fclose(f);
    }
  }
  bool looks() const { return threads_ != 0; }

  void read(const char* s) {
    if (const char* at = std::strstr(s, "SCHED["); at && std::strstr(at, "acquired")) {
      current_ = static_cast<unsigned>(std::strtoul(at + 6, nullptr, 10)) % kMostThreads;
      return;
    }
    if (s[0] == 'I') {
      code_ = std::strtoull(s + 1, nullptr, 16);
    } else if (s[0] == ' ' && (threads_ >> current_ & 1)) {
      char* end = nullptr;
      const uint64_t address = std::strtoull(s + 2, &end, 16);
      const uint64_t size = std::max<uint64_t>(std::strtoull(end + 1, nullptr, 10), 1);
      for (uint64_t l = address >> kLineBits; l <= (address + size - 1) >> kLineBits; ++l)
        access(lines_[l], s[1] != 'L');
    }
  }

  void say() const {
    std::unordered_map<uint64_t, Writes> all;
    for (const auto& [address, line] : lines_)
      if (line.written != 0 && (line.touched & (line.touched - 1)) != 0)
        for (const auto& [code, w] : line.by_code) {
          all[code].all += w.all;
          all[code].taken += w.taken;
        }
    for (const auto& [code, w] : all)
      std::printf("%#lx %lu %lu\n", static_cast<unsigned long>(code),
                  static_cast<unsigned long>(w.all), static_cast<unsigned long>(w.taken));
    std::puts("over");
    std::fflush(stdout);
  }

 private:
  void access(Line& line, bool is_write) {
    const uint64_t me = 1ull << current_;
    line.touched |= me;
    if (is_write) {
      line.written |= me;
      Writes& w = line.by_code[code_];
      ++w.all;
      w.taken += (line.holders & ~me) != 0;
      line.holders = me;
    } else {
      line.holders |= me;
    }
  }

  uint64_t threads_ = 0;
  unsigned current_ = 0;
  uint64_t code_ = 0;
  std::unordered_map<uint64_t, Line> lines_;
};

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGUSR1, [](int) { is_counting = 1; });
  std::signal(SIGUSR2, [](int) { is_over = 1; });
  if (argc != 2) return 1;
  Trace trace;
  bool has_said = false;
  for (char line[512]; std::fgets(line, sizeof line, stdin);) {
    if (has_said) continue;
    if (is_counting && !trace.looks()) trace.look_at(argv[1]);
    if (is_over) {
      trace.say();
      has_said = true;
    } else {
      trace.read(line);
    }
  }
  if (!has_said) trace.say();
}
