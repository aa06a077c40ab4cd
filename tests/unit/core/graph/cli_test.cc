// The engine's commands, called as the command tree calls them.
#include "graph/cli.h"

#include <unistd.h>

#include <map>

#include "test_graph.h"

namespace loom {
namespace {

struct CliTest : testing::Test {
  VirtualClock clock;
  std::unique_ptr<Engine> engine = make_engine(clock, 2);
  Worker& w = engine->worker(0);
  Seen scatter{.numbers = {}, .frame_sizes = {}, .verdicts = {0, 1}}, sink;
  std::map<std::string, const CliCommand*> commands;
  HostOps ops{};
  Host host;
  NodeId id = kNoNode;
  CliTest() {
    w.plugin_data[0] = &scatter;
    w.plugin_data[1] = &sink;
    id = must(engine->add_node({.name = "scatter", .run = scatter_node<0>, .next = {"a", "drop"}}));
    must(engine->add_node({.name = "a", .run = sink_node<1>, .counters = kSinkCounters}));
    must(engine->build());
    ops.struct_size = sizeof ops;
    ops.add_cli_command = [](Host& h, const CliCommand* c, std::string*) {
      static_cast<CliTest*>(h.impl)->commands[c->path] = c;
      return Status::kOk;
    };
    ops.find_interface = [](Host&, const char* name) {
      return std::string_view(name) == "tap0" ? IfIndex{7} : kNoIndex;
    };
    host.ops = &ops;
    host.impl = this;
    must(register_graph_commands(host, *engine));
  }
  Result<CliReply> run(const std::string& path, std::vector<std::string_view> arguments = {}) {
    const CliCommand& c = *commands.at(path);
    CliArgs args(arguments, 0);
    CliReply reply;
    if (auto ok = c.run(host, c.context, args, reply); !ok) return ok.error();
    return reply;
  }
  // The row whose column `key` is `value`, as column -> text.
  static std::map<std::string, std::string> row(const CliReply& reply, const std::string& key,
                                                const std::string& value) {
    for (const auto& item : reply.items()) {
      const auto* table = std::get_if<CliTable>(&item);
      for (const auto& cells : table ? table->rows : std::vector<std::vector<std::string>>{}) {
        EXPECT_EQ(cells.size(), table->columns.size());
        std::map<std::string, std::string> named;
        for (std::size_t i = 0; i < cells.size(); ++i) named[table->columns[i]] = cells[i];
        if (named[key] == value) return named;
      }
    }
    return {};
  }
};

TEST_F(CliTest, RuntimeAndErrorsShowWhatWasCountedAndStartAnew) {
  send_numbers(w, id, 10);
  engine->step();
  auto runtime = row(must(run("show runtime")), "name", "scatter");
  EXPECT_EQ(runtime["calls"], "1");
  EXPECT_EQ(runtime["vectors"], "10");
  EXPECT_EQ(runtime["vectors/call"], "10.00");
  EXPECT_EQ(row(must(run("show errors")), "node", "a")["count"], "5");
  EXPECT_EQ(row(must(run("show node counters")), "node", "drop")["count"], "5");
  must(run("clear runtime"));
  must(run("clear errors"));
  EXPECT_TRUE(row(must(run("show runtime")), "name", "scatter").empty());
  EXPECT_TRUE(row(must(run("show errors")), "node", "a").empty());
}

TEST_F(CliTest, RoundsAreMeasuredWhenItIsAskedFor) {
  EXPECT_EQ(row(must(run("show rounds")), "worker", "1")["measured"], "no");
  must(run("set rounds", {"on"}));
  EXPECT_EQ(row(must(run("show rounds")), "worker", "1")["measured"], "yes");
  EXPECT_EQ(row(must(run("show rounds")), "worker", "0")["over-1ms"], "0");
  must(run("set rounds", {"off"}));
  EXPECT_EQ(row(must(run("show rounds")), "worker", "1")["measured"], "no");
  for (const std::vector<std::string_view>& words :
       {std::vector<std::string_view>{}, {"often"}, {"on", "twice"}})
    EXPECT_EQ(run("set rounds", words).error().code, Status::kInvalid);
}

TEST_F(CliTest, BuffersAddUp) {
  send_numbers(w, id, 3);
  engine->step();
  auto pool = row(must(run("show buffers")), "pool", "0");
  EXPECT_EQ(pool["in-use"], "0");
  EXPECT_EQ(pool["total"], "4096");
  EXPECT_EQ(pool["data-size"], "2048");
}

TEST_F(CliTest, ThreadsGraphAndFeatures) {
  engine->step(1);
  auto thread = row(must(run("show threads")), "id", "1");
  EXPECT_EQ(thread["name"], "loom-w1");
  EXPECT_EQ(thread["state"], "stopped");
  EXPECT_EQ(thread["rounds"], "1");
  EXPECT_EQ(row(must(run("show graph")), "node", "scatter")["next"], "a drop");
  EXPECT_TRUE(row(must(run("show graph", {"a"})), "node", "scatter").empty());
  EXPECT_EQ(run("show graph", {"nobody"}).error().code, Status::kNotFound);
  must(engine->features().add({.arc = "ip4-local", .node = "scatter"}));
  must(engine->features().enable("ip4-local", "scatter", 2, true));
  EXPECT_EQ(row(must(run("show features")), "arc", "ip4-local")["features in order"], "scatter");
  EXPECT_EQ(row(must(run("show features")), "interface", "2")["feature"], "scatter");
}

TEST_F(CliTest, Trace) {
  EXPECT_EQ(run("trace add", {"scatter"}).error().code, Status::kInvalid);
  EXPECT_EQ(run("trace add", {"nobody", "3"}).error().code, Status::kNotFound);
  must(run("trace add", {"scatter", "2"}));
  send_numbers(w, id, 5);
  engine->step();
  EXPECT_EQ(row(must(run("show trace")), "node", "a")["bytes"], "4");
  EXPECT_EQ(must(run("show trace", {"max", "1"})).items().size(), 1u);
  must(run("clear trace"));
  EXPECT_EQ(std::get<std::string>(must(run("show trace")).items().at(0)), "no packets traced");
}

TEST_F(CliTest, Capture) {
  char path[] = "/tmp/hostloom-pcap-XXXXXX";
  close(mkstemp(path));
  EXPECT_EQ(run("pcap trace", {"off"}).error().code, Status::kNotFound);
  EXPECT_EQ(run("pcap trace", {"rx", "intfc", "tap9"}).error().code, Status::kNotFound);
  EXPECT_THAT(run("pcap trace", {"rx", "sideways"}).error().message,
              testing::HasSubstr("sideways"));
  must(run("pcap trace", {"rx", "drop", "max", "10", "file", path, "intfc", "tap0"}));
  EXPECT_EQ(engine->pcap().progress().config.interface, 7u);
  EXPECT_EQ(engine->pcap().progress().config.points, uint32_t{kPcapRx | kPcapDrop});
  send_numbers(w, id, 4);  // two of them dropped, but they came from no interface
  engine->step();
  EXPECT_THAT(std::get<std::string>(must(run("pcap trace", {"off"})).items().at(0)),
              testing::StartsWith("wrote 0 packets"));
  unlink(path);
}

TEST_F(CliTest, WordsThatNobodyKnowsAreRefused) {
  for (const char* path :
       {"show runtime", "clear runtime", "show errors", "clear errors", "show buffers",
        "show threads", "show rounds", "show features", "show trace", "clear trace"})
    EXPECT_EQ(run(path, {"surprise"}).error().code, Status::kInvalid) << path;
}

}  // namespace
}  // namespace loom
