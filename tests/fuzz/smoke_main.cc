// A fuzz target without libFuzzer: its corpus, every truncation of the short inputs, and changed
// copies, always the same. With --write DIR: writes the corpus there. With files: those, once each.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz.h"

namespace {

#ifdef FUZZ_IS_SLOW                // an input takes many milliseconds
constexpr int kChangedCopies = 4;  // of each input
constexpr std::size_t kStep = 37;  // bytes from one truncation to the next
#else
constexpr int kChangedCopies = 40;
constexpr std::size_t kStep = 1;
#endif

void try_one(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// One to eight changes: a byte set, a bit turned, a piece removed or doubled.
std::string changed(std::string input, std::mt19937& random) {
  const auto at = [&] { return input.empty() ? 0 : random() % input.size(); };
  for (unsigned i = random() % 8 + 1; i > 0; --i) {
    const std::size_t from = at(), n = random() % 16 + 1;
    switch (random() % 5) {
      case 0:
        if (!input.empty()) input[from] = static_cast<char>(random());
        break;
      case 1:
        if (!input.empty()) input[from] = static_cast<char>(input[from] ^ (1 << random() % 8));
        break;
      case 2:
        if (!input.empty()) input[from] = static_cast<char>(random() % 2 ? 0xff : 0);
        break;
      case 3:
        input.erase(from, n);
        break;
      default:
        input.insert(from, input.substr(at(), n));
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> corpus;
  fuzz_corpus([&](std::string_view input) { corpus.emplace_back(input); });
  if (argc == 3 && std::string(argv[1]) == "--write") {
    for (std::size_t i = 0; i < corpus.size(); ++i) {
      std::ofstream file(std::string(argv[2]) + "/" + std::to_string(i), std::ios::binary);
      if (!(file << corpus[i] << std::flush)) {
        std::fprintf(stderr, "%s is not written to\n", argv[2]);
        return 1;
      }
    }
    return 0;
  }
  if (argc == 1 && corpus.empty()) return 2;
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\nusage: %s [--write DIR | FILE...]\n", argv[i], argv[0]);
      return 2;
    }
    try_one(std::string(std::istreambuf_iterator<char>(file), {}));
  }
  if (argc > 1) return 0;
  std::mt19937 random(1);
  std::size_t n = 0;
  for (const std::string& input : corpus) {
    for (std::size_t length = 0; input.size() < 512 && length < input.size(); length += kStep, ++n)
      try_one(input.substr(0, length));
    try_one(input);
    ++n;
    for (int i = 0; i < kChangedCopies; ++i, ++n) try_one(changed(input, random));
  }
  std::printf("%zu inputs, %zu of them from the corpus\n", n, corpus.size());
  return 0;
}
