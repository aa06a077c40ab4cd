// What a fuzz target is made of: libFuzzer's function, and inputs to start from, made and not kept.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size);

// Calls `give` with each input: good ones, of every kind that the target knows.
void fuzz_corpus(const std::function<void(std::string_view input)>& give);
