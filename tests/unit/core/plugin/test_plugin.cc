// A plugin that the loader's test builds many times, each time with something else wrong with it.
// It says what happens to it through Host::log.
#include <hostloom/plugin.h>

#include <stdexcept>

#ifndef NEEDS
#define NEEDS ""
#endif
#ifndef ABI
#define ABI loom::kPluginAbi
#endif
#ifndef SIZE
#define SIZE sizeof(loom::PluginInfo)
#endif

#if defined(EXPORTS_NOTHING)

extern "C" LOOM_EXPORT const int somebody_elses_library = 1;

#elif defined(SHORT_SYMBOL)

// Says that it is complete, and is eight bytes.
extern "C" LOOM_EXPORT const uint32_t hostloom_plugin[2] = {loom::kPluginAbi,
                                                            sizeof(loom::PluginInfo)};

#else

#ifdef MISSING_SYMBOL
void nobody_has_this();
#endif

namespace {

loom::Result<void> say(loom::Host& host, const char* what, bool fails) {
  host.log(loom::LogLevel::kInfo, PLUGIN_NAME, what);
  if (fails) return loom::error(loom::Status::kUnsupported, "the moon is in the wrong phase");
  return {};
}

[[maybe_unused]] loom::Result<void> init(loom::Host& host) {
#ifdef MISSING_SYMBOL
  nobody_has_this();
#endif
#ifdef INIT_THROWS
  INIT_THROWS;
#endif
#ifdef INIT_FAILS
  return say(host, "init", true);
#else
  return say(host, "init", false);
#endif
}

loom::Result<void> start(loom::Host& host) {
#ifdef START_THROWS
  throw std::runtime_error("no start today");
#endif
#ifdef START_FAILS
  return say(host, "start", true);
#else
  return say(host, "start", false);
#endif
}

void stop(loom::Host& host) {
#ifdef STOP_THROWS
  throw std::runtime_error("no end either");
#endif
  (void)say(host, "stop", false);
}

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .abi = ABI,
    .struct_size = SIZE,
    .name = PLUGIN_NAME,
    .version = "3.1",
    .summary = "a plugin for tests",
    .needs = NEEDS,
#ifndef NO_INIT
    .init = init,
#endif
    .start = start,
    .stop = stop,
};

#endif
