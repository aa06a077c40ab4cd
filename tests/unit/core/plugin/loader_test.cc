#include "plugin/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace loom {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A plugin directory, a loader over it, and a record of what plugins did and the loader said.
class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() {
    directory_ = fs::temp_directory_path() / ("loader_test." + std::to_string(getpid()));
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    config_.paths = {directory_.string()};
    ops_.struct_size = sizeof ops_;
    ops_.log = [](Host& h, LogLevel, const char* who, const char* text) {
      static_cast<LoaderTest*>(h.impl)->events_.push_back(std::string(who) + " " + text);
    };
    host_.ops = &ops_;
    host_.impl = this;
  }
  ~LoaderTest() override { fs::remove_all(directory_); }

  void add(const std::string& name, const std::string& as = "") {
    fs::copy_file(fs::path(TEST_PLUGIN_DIR) / (name + ".so"),
                  directory_ / ((as.empty() ? name : as) + ".so"));
  }
  void add_file(const std::string& name, const std::string& content) {
    std::ofstream(directory_ / name) << content;
  }
  std::string file(const std::string& name) const { return (directory_ / (name + ".so")).string(); }
  const PluginRow& row(const std::string& name) const {
    const auto& rows = loader_.list();
    const auto it = std::find_if(rows.begin(), rows.end(),
                                 [&](const PluginRow& r) { return r.file == file(name); });
    if (it == rows.end()) throw std::runtime_error("no row for " + name);
    return *it;
  }
  // Loads one broken plugin beside a good one: the good one must come up, and the broken one must
  // leave exactly one line that names its file.
  std::string refusal_of(const std::string& name) {
    add("alpha");
    add(name);
    EXPECT_TRUE(loader_.load_all(config_));
    EXPECT_EQ(row("alpha").state, PluginState::kLoaded);
    EXPECT_EQ(row(name).state, PluginState::kRefused);
    EXPECT_EQ(std::count_if(log_.begin(), log_.end(),
                            [&](const std::string& l) { return l.find("refused") != l.npos; }),
              1);
    const auto line = std::find_if(log_.begin(), log_.end(), [&](const std::string& l) {
      return l.find(file(name) + " refused: it ") != l.npos;
    });
    EXPECT_NE(line, log_.end());
    return row(name).reason;
  }

  fs::path directory_;
  PluginConfig config_;
  HostOps ops_{};
  Host host_;
  std::vector<std::string> log_, events_, owners_, retracted_;
  PluginLoader loader_{
      host_,
      {.log = [this](LogLevel, const std::string& line) { log_.push_back(line); },
       .set_owner = [this](const std::string& plugin) { owners_.push_back(plugin); },
       .retract = [this](const std::string& plugin) { retracted_.push_back(plugin); }}};
};

TEST_F(LoaderTest, PluginsComeUpAfterWhatTheyNeedAndGoDownBeforeIt) {
  add("gamma", "1");  // alphabetical order of the files is the opposite of what is needed
  add("beta", "2");
  add("alpha", "3");
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_THAT(events_, ElementsAre("alpha init", "beta init", "gamma init"));
  EXPECT_THAT(owners_, ElementsAre("alpha", "", "beta", "", "gamma", ""));
  events_.clear();
  ASSERT_TRUE(loader_.start_all());
  EXPECT_THAT(events_, ElementsAre("alpha start", "beta start", "gamma start"));
  EXPECT_EQ(row("1").state, PluginState::kRunning);
  events_.clear();
  loader_.stop_all();
  EXPECT_THAT(events_, ElementsAre("gamma stop", "beta stop", "alpha stop"));
  EXPECT_EQ(row("1").state, PluginState::kStopped);
  loader_.stop_all();
  EXPECT_EQ(events_.size(), 3u);
}

TEST_F(LoaderTest, ListsNameVersionAndSummary) {
  add("alpha");
  ASSERT_TRUE(loader_.load_all(config_));
  ASSERT_EQ(loader_.list().size(), 1u);
  EXPECT_EQ(row("alpha").name, "alpha");
  EXPECT_EQ(row("alpha").version, "3.1");
  EXPECT_EQ(row("alpha").summary, "a plugin for tests");
}

TEST_F(LoaderTest, RefusesAnotherAbi) {
  EXPECT_THAT(refusal_of("other_abi"), HasSubstr("ABI 2.0, this Hostloom has 1."));
}
TEST_F(LoaderTest, RefusesANewerMinor) {
  EXPECT_THAT(refusal_of("newer_minor"), HasSubstr("ABI 1.65535"));
}
TEST_F(LoaderTest, RefusesATruncatedDescriptor) {
  EXPECT_THAT(refusal_of("truncated"), HasSubstr("truncated descriptor: it says 16 bytes"));
}
TEST_F(LoaderTest, RefusesADescriptorLargerThanItsSymbol) {
  EXPECT_THAT(refusal_of("oversized"), HasSubstr("it says 4096 bytes"));
}
TEST_F(LoaderTest, RefusesASymbolShorterThanADescriptor) {
  // 8 bytes are there, or 32 where a sanitizer pads them: the symbol table says, not the plugin.
  EXPECT_THAT(refusal_of("short_symbol"), HasSubstr("truncated descriptor: it says 64 bytes"));
}
TEST_F(LoaderTest, RefusesALibraryWithoutDescriptor) {
  EXPECT_THAT(refusal_of("no_symbol"), HasSubstr("does not export 'hostloom_plugin'"));
}
TEST_F(LoaderTest, RefusesADescriptorWithoutInit) {
  EXPECT_THAT(refusal_of("no_init"), HasSubstr("no init function"));
}
TEST_F(LoaderTest, RefusesADescriptorWithoutName) {
  EXPECT_THAT(refusal_of("nameless"), HasSubstr("no proper name"));
}
TEST_F(LoaderTest, RefusesANameWithASlash) {
  EXPECT_THAT(refusal_of("bad_name"), HasSubstr("no proper name"));
}
TEST_F(LoaderTest, RefusesANameThatIsTaken) {
  EXPECT_THAT(refusal_of("another_alpha"),
              AllOf(HasSubstr("has the name 'alpha'"), HasSubstr(file("alpha"))));
  EXPECT_THAT(retracted_, IsEmpty());  // what the first alpha registered is not the second's
}
TEST_F(LoaderTest, RefusesAPluginWhoseInitFailsAndTakesBackWhatItRegistered) {
  EXPECT_EQ(refusal_of("init_fails"), "failed to initialise: the moon is in the wrong phase");
  EXPECT_THAT(retracted_, ElementsAre("init_fails"));
}
TEST_F(LoaderTest, RefusesAPluginWhoseInitThrowsAndTakesBackWhatItRegistered) {
  EXPECT_EQ(refusal_of("init_throws"), "failed to initialise: init threw an exception: boom");
  EXPECT_THAT(retracted_, ElementsAre("init_throws"));
  EXPECT_EQ(owners_.back(), "");  // what is registered next is not the refused plugin's
}
TEST_F(LoaderTest, RefusesAPluginWhoseInitThrowsSomethingElse) {
  EXPECT_EQ(refusal_of("init_throws_int"),
            "failed to initialise: init threw something that is no std::exception");
}
TEST_F(LoaderTest, RefusesAPluginWithAMissingSymbol) {
  EXPECT_THAT(refusal_of("missing_symbol"),
              AllOf(HasSubstr("undefined symbol"), HasSubstr("nobody_has_this")));
}

TEST_F(LoaderTest, PluginsThatThrowInStartOrStopHarmNobody) {
  add("alpha");
  add("start_throws");
  add("stop_throws");
  ASSERT_TRUE(loader_.load_all(config_));
  ASSERT_TRUE(loader_.start_all());
  EXPECT_EQ(row("start_throws").reason,
            "failed to start: start threw an exception: no start today");
  EXPECT_EQ(row("alpha").state, PluginState::kRunning);
  events_.clear();
  loader_.stop_all();
  EXPECT_EQ(row("stop_throws").state, PluginState::kStopped);
  EXPECT_EQ(log_.back(), "plugin stop_throws: stop threw an exception: no end either");
  EXPECT_THAT(events_, ElementsAre("alpha stop"));
}

TEST_F(LoaderTest, RefusesAFileThatWasCutOffWhereverThatWas) {
  // The dynamic loader maps a file by its headers' word: beyond its end there would be a SIGBUS.
  add("alpha", "whole");
  std::ifstream in(file("whole"), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  ASSERT_TRUE(loader_.load_all(config_));
  ASSERT_TRUE(loader_.start_all());
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{63}, std::size_t{64},
                                 std::size_t{200}, std::size_t{4096}, bytes.size() / 4}) {
    add_file("part.so", bytes.substr(0, size));
    const auto loaded = loader_.load_one("part");
    ASSERT_FALSE(loaded) << size;
    EXPECT_THAT(loaded.error().message, HasSubstr("is not a loadable shared object")) << size;
  }
  EXPECT_EQ(row("whole").state, PluginState::kRunning);
}

TEST_F(LoaderTest, RefusesFilesThatAreNoFiles) {
  ASSERT_TRUE(loader_.load_all(config_));
  fs::create_directory(directory_ / "directory.so");
  EXPECT_THAT(loader_.load_one(file("directory")).error().message, HasSubstr("not a regular file"));
  ASSERT_EQ(mkfifo(file("fifo").c_str(), 0600), 0);
  EXPECT_THAT(loader_.load_one(file("fifo")).error().message, HasSubstr("not a regular file"));
  EXPECT_THAT(loader_.load_one("/proc/self/exe").error().message,
              HasSubstr("plugin /proc/self/exe"));
  EXPECT_THAT(loader_.load_one("/nonexistent/x.so").error().message, HasSubstr("No such file"));
}

TEST_F(LoaderTest, RefusesAMissingDependency) {
  EXPECT_EQ(refusal_of("needs_nobody"), "needs 'nobody', which is not there");
}
TEST_F(LoaderTest, RefusesAPluginThatNeedsItself) {
  EXPECT_EQ(refusal_of("needs_itself"),
            "needs 'needs_itself', which needs it: needs_itself -> needs_itself");
}

TEST_F(LoaderTest, RefusesAFileThatIsNotAnObject) {
  add("alpha");
  add_file("text.so", "this is not a shared object, but longer than an ELF header would be......");
  add_file("empty.so", "");
  add_file("notes.txt", "not even named like one");
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_EQ(row("alpha").state, PluginState::kLoaded);
  EXPECT_THAT(row("text").reason,
              HasSubstr("is not a loadable shared object: it has no ELF header"));
  EXPECT_THAT(row("empty").reason,
              HasSubstr("is not a loadable shared object: it has no ELF header"));
  EXPECT_EQ(loader_.list().size(), 3u);
}

TEST_F(LoaderTest, RefusesEveryMemberOfACycleAndNamesIt) {
  for (const char* name : {"alpha", "cycle_a", "cycle_b", "cycle_c"}) add(name);
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_THAT(events_, ElementsAre("alpha init"));
  EXPECT_EQ(row("cycle_c").reason,
            "needs 'cycle_a', which needs it: cycle_a -> cycle_b -> cycle_c -> cycle_a");
  EXPECT_EQ(row("cycle_b").reason, "needs 'cycle_c', which is refused");
  EXPECT_EQ(row("cycle_a").reason, "needs 'cycle_b', which is refused");
}

TEST_F(LoaderTest, RefusesWhatNeedsARefusedPlugin) {
  add("init_fails");
  add("needs_init_fails", "0");
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_THAT(events_, ElementsAre("init_fails init"));
  EXPECT_EQ(row("0").reason, "needs 'init_fails', which is refused");
}

TEST_F(LoaderTest, AFailedStartRefusesThePluginAndThoseThatNeedIt) {
  for (const char* name : {"alpha", "needs_start_fails", "start_fails"}) add(name);
  ASSERT_TRUE(loader_.load_all(config_));
  ASSERT_TRUE(loader_.start_all());
  EXPECT_EQ(row("alpha").state, PluginState::kRunning);
  EXPECT_EQ(row("start_fails").reason, "failed to start: the moon is in the wrong phase");
  EXPECT_EQ(row("needs_start_fails").reason, "needs 'start_fails', which is refused");
  events_.clear();
  loader_.stop_all();
  EXPECT_THAT(events_, ElementsAre("alpha stop"));
}

TEST_F(LoaderTest, ReadsOnlyWhatTheSizeOfADescriptorCovers) {
  add("before_start");  // built when there was no start and no stop
  ASSERT_TRUE(loader_.load_all(config_));
  ASSERT_TRUE(loader_.start_all());
  loader_.stop_all();
  EXPECT_THAT(events_, ElementsAre("before_start init"));
  EXPECT_EQ(row("before_start").state, PluginState::kStopped);
}

TEST_F(LoaderTest, DisabledPluginsAreNotLoaded) {
  add("alpha");
  add("gamma", "third");
  add("beta");
  config_.choices["beta"] = PluginChoice::kDisable;   // by file
  config_.choices["gamma"] = PluginChoice::kDisable;  // by descriptor
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_THAT(events_, ElementsAre("alpha init"));
  EXPECT_EQ(row("beta").state, PluginState::kDisabled);
  EXPECT_EQ(row("third").state, PluginState::kDisabled);
}

TEST_F(LoaderTest, ADisabledDependencyIsNamedAsSuch) {
  add("alpha");
  add("beta");
  config_.choices["alpha"] = PluginChoice::kDisable;
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_EQ(row("beta").reason, "needs 'alpha', which is disabled");
}

TEST_F(LoaderTest, DefaultDisableLoadsOnlyWhatIsEnabled) {
  add("alpha");
  add("start_fails");
  config_.default_choice = PluginChoice::kDisable;
  config_.choices["alpha"] = PluginChoice::kEnable;
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_THAT(events_, ElementsAre("alpha init"));
}

TEST_F(LoaderTest, ARequiredPluginThatIsRefusedFailsTheStart) {
  add("alpha");
  add("init_fails");
  for (const char* name : {"alpha", "init_fails", "nowhere"})
    config_.choices[name] = PluginChoice::kRequired;
  const auto loaded = loader_.load_all(config_);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().message,
            "required plugin 'init_fails' failed to initialise: the moon is in the wrong phase; "
            "required plugin 'nowhere' is in none of the plugin directories");
}

TEST_F(LoaderTest, ARequiredPluginThatDoesNotStartFailsTheStart) {
  add("start_fails");
  config_.choices["start_fails"] = PluginChoice::kRequired;
  ASSERT_TRUE(loader_.load_all(config_));
  const auto started = loader_.start_all();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr("required plugin 'start_fails' failed to start"));
}

TEST_F(LoaderTest, AMissingDirectoryIsReportedAndTheOthersAreRead) {
  add("alpha");
  config_.paths.insert(config_.paths.begin(), "/nonexistent/plugins");
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_EQ(row("alpha").state, PluginState::kLoaded);
  ASSERT_FALSE(log_.empty());
  EXPECT_THAT(log_[0], HasSubstr("'/nonexistent/plugins' is not read: No such file"));
}

TEST_F(LoaderTest, LoadOneStartsThePluginWhenTheOthersRun) {
  add("alpha");
  ASSERT_TRUE(loader_.load_all(config_));
  ASSERT_TRUE(loader_.start_all());
  add("beta");
  const auto by_name = loader_.load_one("beta");
  ASSERT_TRUE(by_name) << by_name.error().message;
  EXPECT_EQ(*by_name, "beta");
  EXPECT_EQ(row("beta").state, PluginState::kRunning);
  EXPECT_THAT(events_, ElementsAre("alpha init", "alpha start", "beta init", "beta start"));
}

TEST_F(LoaderTest, LoadOneBeforeTheStartOnlyInitialises) {
  ASSERT_TRUE(loader_.load_all(config_));
  add("alpha");
  ASSERT_TRUE(loader_.load_one(file("alpha")));
  EXPECT_EQ(row("alpha").state, PluginState::kLoaded);
}

TEST_F(LoaderTest, LoadOneRefusesWhatIsLoadedBrokenOrNowhere) {
  add("alpha");
  ASSERT_TRUE(loader_.load_all(config_));
  ASSERT_TRUE(loader_.start_all());
  EXPECT_EQ(loader_.load_one("alpha").error().code, Status::kExists);
  EXPECT_EQ(loader_.load_one("nowhere").error().code, Status::kNotFound);
  add("start_fails");
  EXPECT_THAT(loader_.load_one("start_fails.so").error().message,
              HasSubstr("start_fails.so failed to start"));
  add_file("text.so", "no object");
  EXPECT_FALSE(loader_.load_one("text"));
  fs::remove(directory_ / "text.so");
  add("beta", "text");  // repaired: the same file can be tried again
  EXPECT_TRUE(loader_.load_one("text"));
}

TEST_F(LoaderTest, LoadOneOverridesDisable) {
  add("alpha");
  config_.choices["alpha"] = PluginChoice::kDisable;
  ASSERT_TRUE(loader_.load_all(config_));
  EXPECT_TRUE(loader_.load_one("alpha"));
  EXPECT_EQ(row("alpha").state, PluginState::kLoaded);
}

}  // namespace
}  // namespace loom
