#include "plugin/loader.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>

#include "plugin/descriptor.h"
#include "plugin/guard.h"

namespace loom {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNone = ~std::size_t{0};

// The shared objects of a directory, by name: the order must not depend on the file system.
Result<std::vector<std::string>> scan(const std::string& directory) {
  std::error_code ec;
  std::vector<std::string> files;
  fs::directory_iterator it(directory, ec);
  for (; !ec && it != fs::directory_iterator(); it.increment(ec)) {
    std::error_code not_a_file;
    if (it->path().extension() == ".so" && it->is_regular_file(not_a_file))
      files.push_back(it->path().string());
  }
  if (ec)
    return error(Status::kIo, "plugin directory '" + directory + "' is not read: " + ec.message());
  std::sort(files.begin(), files.end());
  return files;
}

std::string stem(const std::string& file) { return fs::path(file).stem().string(); }

}  // namespace

const char* plugin_state_name(PluginState state) noexcept {
  switch (state) {
    case PluginState::kFound:
      return "found";
    case PluginState::kDisabled:
      return "disabled";
    case PluginState::kRefused:
      return "refused";
    case PluginState::kLoaded:
      return "loaded";
    case PluginState::kRunning:
      return "running";
    case PluginState::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string built_in_plugin_path() {
  std::error_code ec;
  const fs::path self = fs::read_symlink("/proc/self/exe", ec);
  return (self.parent_path().parent_path() / "lib/hostloom/plugins").string();
}

Result<void> PluginLoader::load_all(const PluginConfig& config) {
  config_ = config;
  if (config_.paths.empty()) config_.paths.push_back(built_in_plugin_path());
  const std::size_t first = rows_.size();
  for (const std::string& path : config_.paths) {
    const auto files = scan(path);
    if (!files) {
      log(LogLevel::kWarn, files.error().message);
      continue;
    }
    for (const std::string& file : *files) add_row(file);
  }
  for (std::size_t i = first; i < rows_.size(); ++i) {
    if (choice_of(i) == PluginChoice::kDisable)
      rows_[i].state = PluginState::kDisabled;
    else
      open(i, /*obey_disable=*/true);
  }
  for (std::size_t i = first; i < rows_.size(); ++i)
    if (rows_[i].state == PluginState::kFound) bring_up(i, "");
  return check_required();
}

Result<void> PluginLoader::start_all() {
  is_started_ = true;
  for (const std::size_t i : order_)
    if (rows_[i].state == PluginState::kLoaded) start(i);
  if (!bad_value_) return bad_value_;
  return check_required();
}

void PluginLoader::stop_all() noexcept {
  for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
    PluginRow& row = rows_[*it];
    if (row.state != PluginState::kRunning) continue;
    if (const auto stop = plugins_[*it].info.stop) {
      const auto stopped = guarded("stop", [&] { stop(host_); });
      if (!stopped) log(LogLevel::kError, "plugin " + row.name + ": " + stopped.error().message);
    }
    row.state = PluginState::kStopped;
  }
}

Result<std::string> PluginLoader::load_one(std::string_view file_or_name) {
  std::string file(file_or_name);
  if (file.find('/') == file.npos) {
    std::string name = file.ends_with(".so") ? file : file + ".so";
    const auto path =
        std::find_if(config_.paths.begin(), config_.paths.end(), [&](const std::string& p) {
          std::error_code ec;
          return fs::is_regular_file(fs::path(p) / name, ec);
        });
    if (path == config_.paths.end())
      return error(Status::kNotFound,
                   "plugin '" + file + "' is in none of the configured plugin directories");
    file = (fs::path(*path) / name).string();
  }
  std::size_t i = kNone;
  for (std::size_t row = 0; row < rows_.size(); ++row)
    if (rows_[row].file == file) i = row;
  if (i == kNone) {
    i = add_row(file);
  } else if (plugins_[i].library) {
    return error(Status::kExists, "plugin file '" + file + "' was loaded before and is " +
                                      plugin_state_name(rows_[i].state));
  } else {
    rows_[i] = {};
    rows_[i].file = file;
  }
  open(i, /*obey_disable=*/false);
  if (rows_[i].state == PluginState::kFound) bring_up(i, "");
  if (is_started_ && rows_[i].state == PluginState::kLoaded) start(i);
  if (rows_[i].state == PluginState::kRefused) {
    auto refusal = error(Status::kRefused, "plugin " + file + " " + rows_[i].reason);
    if (rows_.size() > kMaxRows && i + 1 == rows_.size() && !plugins_[i].library) {
      rows_.pop_back();
      plugins_.pop_back();
    }
    return refusal;
  }
  return rows_[i].name;
}

// Opens the file and takes its name, or refuses it. No code of it runs, except for constructors of
// libraries that it links.
void PluginLoader::open(std::size_t i, bool obey_disable) {
  PluginRow& row = rows_[i];
  auto opened = open_plugin(row.file);
  if (!opened) return refuse(i, opened.error().message);
  const auto holder = std::find_if(rows_.begin(), rows_.end(), [&](const PluginRow& r) {
    return &r != &row && r.name == opened->info.name && r.state != PluginState::kRefused &&
           r.state != PluginState::kDisabled;
  });
  if (holder != rows_.end()) {
    const std::string reason =
        std::string("has the name '") + opened->info.name + "', which " + holder->file + " has";
    dlclose(opened->library);
    return refuse(i, reason);
  }
  row.name = opened->info.name;
  row.version = opened->info.version;
  row.summary = opened->info.summary;
  row.abi = opened->info.abi;
  row.needs = opened->needs;
  if (obey_disable && choice_of(i) == PluginChoice::kDisable) {
    row.state = PluginState::kDisabled;
    dlclose(opened->library);
    return;
  }
  Plugin& plugin = plugins_[i];
  plugin.library = opened->library;
  plugin.info = opened->info;
  plugin.needs = std::move(opened->needs);
}

// Depth first: what a plugin needs comes up before it. `path` is how we got here, for the message
// about a cycle.
void PluginLoader::bring_up(std::size_t i, std::string path) {
  Plugin& plugin = plugins_[i];
  path += rows_[i].name;
  plugin.is_visiting = true;
  for (const std::string& name : plugin.needs) {
    const std::size_t needed = find(name);
    if (needed == kNone || rows_[needed].state != PluginState::kFound) continue;
    if (plugins_[needed].is_visiting) {
      plugin.is_visiting = false;
      return refuse(i, "needs '" + name + "', which needs it: " + path + " -> " + name);
    }
    bring_up(needed, path + " -> ");
  }
  plugin.is_visiting = false;
  if (std::string reason = unmet_need(i, PluginState::kLoaded); !reason.empty())
    return refuse(i, std::move(reason));
  set_owner(rows_[i].name);
  const auto result = guarded("init", [&] { return plugin.info.init(host_); });
  set_owner("");
  if (!result) return refuse(i, "failed to initialise: " + result.error().message);
  set_state(rows_[i], PluginState::kLoaded);
  order_.push_back(i);
  log(LogLevel::kInfo,
      "plugin " + rows_[i].name + " " + rows_[i].version + " loaded from " + rows_[i].file);
}

void PluginLoader::start(std::size_t i) {
  if (std::string reason = unmet_need(i, PluginState::kRunning); !reason.empty())
    return refuse(i, std::move(reason));
  if (plugins_[i].info.start) {
    set_owner(rows_[i].name);
    const auto result = guarded("start", [&] { return plugins_[i].info.start(host_); });
    set_owner("");
    if (!result) {
      if (result.error().code == Status::kInvalid && bad_value_) bad_value_ = result.error();
      return refuse(i, "failed to start: " + result.error().message);
    }
  }
  set_state(rows_[i], PluginState::kRunning);
}

// Why a need of plugin i is not met, or "". A need is met when the plugin has come as far as
// `least`.
std::string PluginLoader::unmet_need(std::size_t i, PluginState least) const {
  for (const std::string& name : plugins_[i].needs) {
    const std::size_t needed = find(name);
    if (needed == kNone) return "needs '" + name + "', which is not there";
    const PluginState state = rows_[needed].state;
    if (state != PluginState::kRunning && state != least)
      return "needs '" + name + "', which is " + plugin_state_name(state);
  }
  return "";
}

// A library that has run init() stays mapped (top of loader.h); before that nobody points into it.
void PluginLoader::refuse(std::size_t i, std::string reason) {
  PluginRow& row = rows_[i];
  log(choice_of(i) == PluginChoice::kRequired ? LogLevel::kError : LogLevel::kWarn,
      "plugin " + row.file + " refused: it " + reason);
  if (hooks_.retract && !row.name.empty()) hooks_.retract(row.name);
  row.reason = std::move(reason);
  set_state(row, PluginState::kRefused);
}

// By the plugin's name; of those refused for a taken name only the holder counts.
std::size_t PluginLoader::find(std::string_view name) const {
  std::size_t found = kNone;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    // A file that is disabled by its name was not opened; the name is the best that is known of it.
    const bool matches = rows_[i].name.empty() ? rows_[i].state == PluginState::kDisabled &&
                                                     stem(rows_[i].file) == name
                                               : rows_[i].name == name;
    if (!matches) continue;
    if (rows_[i].state != PluginState::kRefused) return i;
    found = i;
  }
  return found;
}

// The file's name decides, and the plugin's own, once it is known, when the configuration does not
// mention the file's.
PluginChoice PluginLoader::choice_of(std::size_t i) const {
  const std::string file_name = stem(rows_[i].file);
  return config_.choice_for(config_.choices.contains(file_name) ? file_name : rows_[i].name);
}

std::size_t PluginLoader::add_row(std::string file) {
  rows_.emplace_back().file = std::move(file);
  plugins_.emplace_back();
  return rows_.size() - 1;
}

Result<void> PluginLoader::check_required() const {
  std::string missing;
  for (const auto& [name, choice] : config_.choices) {
    const bool is_there =
        std::any_of(rows_.begin(), rows_.end(), [&, &name = name](const PluginRow& row) {
          return (row.name == name || stem(row.file) == name) &&
                 (row.state == PluginState::kLoaded || row.state == PluginState::kRunning);
        });
    if (is_there || choice != PluginChoice::kRequired) continue;
    const auto row = std::find_if(rows_.begin(), rows_.end(), [&, &name = name](const auto& r) {
      return r.name == name || stem(r.file) == name;
    });
    missing += (missing.empty() ? "" : "; ") + std::string("required plugin '") + name + "' " +
               (row == rows_.end() ? "is in none of the plugin directories" : row->reason);
  }
  if (!missing.empty()) return error(Status::kRefused, std::move(missing));
  return {};
}

}  // namespace loom
