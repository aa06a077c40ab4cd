// Finds plugins, checks them, brings them up in the order that their needs ask for, and takes them
// down.
//
// A plugin is refused, with one log line that names file and reason, when its file is not a shared
// object, has no descriptor, has a descriptor of another ABI or a truncated one, has no proper name
// or one that is taken, needs a plugin that is not there or needs itself through others, or when
// its init() or start() fails or throws. The others go on, unless the configuration requires the
// refused one.
//
// A library whose init() has run stays mapped until the process ends, also when it is refused or
// stopped: the core holds pointers to tables in it, and a worker may be running its code.
//
// Control thread.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/plugin.h>

#include "plugin/plugin_config.h"

namespace loom {

enum class PluginState : uint8_t {
  kFound,     // checked, not yet initialised
  kDisabled,  // by the configuration
  kRefused,   // `reason` says why
  kLoaded,    // initialised
  kRunning,   // started
  kStopped,
};
const char* plugin_state_name(PluginState) noexcept;

// One row of `show plugins`. Of a file that could not be read, only file, state and reason are
// known.
struct PluginRow {
  std::string file;  // full path
  std::string name, version, summary;
  uint32_t abi = 0;                // major << 16 | minor that it was built for
  std::vector<std::string> needs;  // names of plugins
  PluginState state = PluginState::kFound;
  std::string reason;  // of a refusal: a sentence, without the file's name
};

// What the loader asks of the daemon. All may be empty.
struct PluginHooks {
  std::function<void(LogLevel, const std::string&)> log;
  // What is registered from now on is this plugin's; "" = the core's.
  std::function<void(const std::string& plugin)> set_owner;
  // Takes back what the plugin has registered: it is refused.
  std::function<void(const std::string& plugin)> retract;
  // The plugin has another state.
  std::function<void(const PluginRow&)> changed{};
};

class PluginLoader {
 public:
  PluginLoader(Host& host, PluginHooks hooks) : host_(host), hooks_(std::move(hooks)) {}
  PluginLoader(const PluginLoader&) = delete;
  PluginLoader& operator=(const PluginLoader&) = delete;

  // Start-up, first half: opens what the configuration allows, and calls init() in order. Fails
  // only when a required plugin is not loaded; the message names all of those.
  Result<void> load_all(const PluginConfig&);
  // Start-up, second half, once the configuration is applied: calls start() in the same order. A
  // plugin that does not start is refused, and so are those that need it.
  Result<void> start_all();
  // Calls stop() in the opposite order.
  void stop_all() noexcept;

  // Loads one more at run time: the path of a file, or a name that is looked for in the configured
  // directories. The same checks; also start(), if start_all() has run. Returns the plugin's name.
  // An operator's explicit wish: `disable` in the configuration does not count. A refused file gets
  // a row, unless there are kMaxRows: whoever asks again and again for what is not there gets
  // answers, not memory.
  static constexpr std::size_t kMaxRows = 1024;
  Result<std::string> load_one(std::string_view file_or_name);

  // In the order in which the files were found.
  const std::vector<PluginRow>& list() const noexcept { return rows_; }

 private:
  struct Plugin {
    void* library = nullptr;
    PluginInfo info;  // ours in size; what the plugin's own does not cover is null
    std::vector<std::string> needs;
    bool is_visiting = false;  // in bring_up's path: meeting it again is a cycle
  };

  void open(std::size_t i, bool obey_disable);
  void bring_up(std::size_t i, std::string path);
  void start(std::size_t i);
  void refuse(std::size_t i, std::string reason);
  std::string unmet_need(std::size_t i, PluginState least) const;
  std::size_t find(std::string_view name) const;
  PluginChoice choice_of(std::size_t i) const;
  std::size_t add_row(std::string file);
  Result<void> check_required() const;
  void log(LogLevel level, const std::string& text) const {
    if (hooks_.log) hooks_.log(level, text);
  }
  void set_state(PluginRow& row, PluginState state) const {
    row.state = state;
    if (hooks_.changed) hooks_.changed(row);
  }
  void set_owner(const std::string& plugin) const {
    if (hooks_.set_owner) hooks_.set_owner(plugin);
  }

  Host& host_;
  PluginHooks hooks_;
  PluginConfig config_;
  std::vector<PluginRow> rows_;  // rows_[i] describes plugins_[i]
  std::vector<Plugin> plugins_;
  std::vector<std::size_t> order_;  // initialised ones
  bool is_started_ = false;
  Result<void> bad_value_;  // first configured value that a plugin's start() found impossible
};

// Where plugins are when the configuration names no path: ../lib/hostloom/plugins seen from the
// daemon's own file, which is right both installed and in a build tree.
std::string built_in_plugin_path();

}  // namespace loom
