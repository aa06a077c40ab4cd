// The server against clients on the same session layer, over the pipe transport, in virtual time.
#include <gmock/gmock.h>

#include <deque>

#include "http_static.api.h"
#include "server.h"
#include "test_root.h"
#include "tests/unit/plugins/plugin_bed.h"

namespace loom::http {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// One connection, as its client sees it.
struct Client {
  SessionId id = kNoSession;
  Status outcome = Status::kInProgress;
  bool reads = true, saw_end = false, was_reset = false, is_closed = false;
  std::string got;
};

class HttpServer : public testing::Test, protected test::PluginBed {
 protected:
  HttpServer() {
    EXPECT_TRUE(register_commands(host, servers));
    EXPECT_TRUE(add_api(host, servers));
    servers.totals.start(1);
    EXPECT_TRUE(add_statistics(host, servers.totals));
    AppOps ops;
    ops.name = "client";
    ops.connected = [](Worker&, SessionId, Status s, void* c) noexcept {
      static_cast<Client*>(c)->outcome = s;
    };
    ops.readable = [](Worker& w, SessionId id, void* context) noexcept {
      auto& c = *static_cast<Client*>(context);
      if (c.reads) take(w, id, c);
    };
    ops.reset = [](Worker&, SessionId, ResetReason, void* c) noexcept {
      static_cast<Client*>(c)->was_reset = true;
    };
    ops.closed = [](Worker&, SessionId, void* c) noexcept {
      static_cast<Client*>(c)->is_closed = true;
    };
    client_app = bed.layer->add_application(ops, {}).value();
    root.write("a.txt", "hello");
    root.write("sub/index.html", "<p>");
  }
  ~HttpServer() override {
    client.leave();
    servers.remove_all();
    bed.layer->remove_application(*client_app);
    bed.pump();
    EXPECT_EQ(bed.buffers_in_use(), 0u);
  }
  static void take(Worker& w, SessionId id, Client& c) noexcept {
    AppSession s(w, id);
    std::span<const std::byte> views[8];
    while (s.unread() != 0) {
      const uint32_t n = s.peek(views);
      uint32_t size = 0;
      for (uint32_t i = 0; i < n; ++i) {
        c.got.append(reinterpret_cast<const char*>(views[i].data()), views[i].size());
        size += static_cast<uint32_t>(views[i].size());
      }
      s.consume(size);
    }
    if (s.eof()) {
      c.saw_end = true;
      s.close();
    }
  }
  void serve(const std::string& options = "") {
    const CliOutcome o = run("http static server www-root " + root.path.string() +
                             " uri pipe://10.0.0.1/80 " + options);
    EXPECT_EQ(o.status, Status::kOk) << o.text;
  }
  void on_worker(const std::function<void(Worker&)>& fn) { bed.engine->run_on_worker(0, fn); }
  Client& connect() {
    Client& c = clients_.emplace_back();
    on_worker([&](Worker& w) {
      c.id = AppSession::connect(w, *client_app, *parse_app_uri("pipe://10.0.0.1/80"), &c).value();
    });
    bed.pump();
    EXPECT_EQ(c.outcome, Status::kOk);
    return c;
  }
  void send(Client& c, std::string_view text) {
    on_worker([&](Worker& w) {
      EXPECT_EQ(AppSession(w, c.id).write(std::as_bytes(std::span(text.data(), text.size()))),
                text.size());
    });
    bed.pump();
  }
  void read_on(Client& c) {
    c.reads = true;
    on_worker([&](Worker& w) { AppSession(w, c.id).want_readable(); });
    bed.pump();
  }
  // What comes back for one request on a connection of its own.
  std::string ask(const std::string& request) {
    Client& c = connect();
    send(c, request);
    on_worker([&](Worker& w) { AppSession(w, c.id).close(); });
    bed.pump();
    return c.got;
  }
  std::string get(const std::string& target, const std::string& fields = "") {
    return ask("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n");
  }
  void pass(TimeNs time) {
    for (const TimeNs end = bed.now + time; bed.now < end;) bed.pump(100 * kMillisecond);
  }
  const Server& server() { return *servers.list().at(0); }

  TestRoot root;
  Servers servers{host};
  Application* client_app = nullptr;

 private:
  std::deque<Client> clients_;
};

TEST_F(HttpServer, AnswersWithTheFile) {
  serve();
  const std::string got = get("/a.txt");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 200 OK\r\nDate: "));
  EXPECT_THAT(got,
              AllOf(HasSubstr("\r\nContent-Type: text/plain; charset=utf-8\r\n"),
                    HasSubstr("\r\nContent-Length: 5\r\n"), HasSubstr("\r\nETag: \""),
                    HasSubstr("\r\nLast-Modified: "), HasSubstr("\r\nAccept-Ranges: bytes\r\n"),
                    HasSubstr("\r\nCache-Control: max-age=600\r\n"), EndsWith("\r\n\r\nhello")));
  EXPECT_THAT(get("/sub/"), EndsWith("\r\n\r\n<p>"));
  EXPECT_THAT(get("/sub?x"),
              AllOf(StartsWith("HTTP/1.1 301 "), HasSubstr("\r\nLocation: ./sub/\r\n")));
  EXPECT_THAT(get("/a.txt", "Range: bytes=1-2\r\n"),
              AllOf(StartsWith("HTTP/1.1 206 "), HasSubstr("Content-Range: bytes 1-2/5\r\n"),
                    EndsWith("\r\n\r\nel")));
  EXPECT_THAT(get("/a.txt", "Range: bytes=5-\r\n"),
              AllOf(StartsWith("HTTP/1.1 416 "), HasSubstr("Content-Range: bytes */5\r\n")));
  EXPECT_THAT(
      get("/a.txt", "If-None-Match: *\r\n"),
      AllOf(StartsWith("HTTP/1.1 304 "), EndsWith("\r\n\r\n"), Not(HasSubstr("Content-Length"))));
  EXPECT_THAT(ask("HEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"),
              AllOf(HasSubstr("Content-Length: 5\r\n"), EndsWith("\r\n\r\n")));
  EXPECT_EQ(server().sum(kCacheMisses), 3u);
  EXPECT_GE(server().sum(kCacheHits), 4u);
}

TEST_F(HttpServer, RefusesWithReasons) {
  serve();
  EXPECT_THAT(get("/nothing"), AllOf(StartsWith("HTTP/1.1 404 "), Not(HasSubstr("Connection:"))));
  EXPECT_THAT(get("/%2e%2e/x"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask("POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
              AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("\r\nAllow: GET, HEAD\r\n")));
  EXPECT_THAT(get("/a.txt", "Content-Length: 8193\r\n"),
              AllOf(StartsWith("HTTP/1.1 413 "), HasSubstr("\r\nConnection: close\r\n")));
  EXPECT_THAT(ask("nonsense\r\n"),
              AllOf(StartsWith("HTTP/1.1 400 "), HasSubstr("Connection: close")));
  EXPECT_EQ(server().sum(kStatus4xx), 5u);
}

TEST_F(HttpServer, KeepsAliveAndTakesRequestsAhead) {
  serve();
  Client& c = connect();
  std::string ahead;
  for (int i = 0; i < 200; ++i)
    ahead += i % 2 ? "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nGET"
                   : "HEAD /no HTTP/1.1\r\nHost: x\r\n\r\n";
  send(c, ahead);
  EXPECT_EQ(server().sum(kStatus2xx), 100u);
  EXPECT_EQ(server().sum(kStatus4xx), 100u);
  EXPECT_THAT(c.got, EndsWith("hello"));
  EXPECT_FALSE(c.saw_end);
  send(c, "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /a.txt HTTP/1.1\r\n");
  EXPECT_THAT(c.got, EndsWith("hello"));
  EXPECT_TRUE(c.saw_end);
  EXPECT_FALSE(c.was_reset);
  EXPECT_EQ(server().sum(kRequests), 201u);

  EXPECT_THAT(ask("GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
              HasSubstr("Connection: keep-alive\r\n"));
}

TEST_F(HttpServer, TakesARequestByteByByte) {
  serve();
  Client& c = connect();
  for (const char byte : std::string("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")) send(c, {&byte, 1});
  EXPECT_THAT(c.got, EndsWith("hello"));
}

TEST_F(HttpServer, ASlowReaderCostsItsFifoAlone) {
  const std::string large(3 << 20, 'L'), whole(900'000, 'W');
  root.write("large", large);
  root.write("whole", whole);
  serve("fifo-size 32k");
  for (const auto* text : {&large, &whole}) {
    Client& c = connect();
    c.reads = false;
    send(c, std::string("GET /") + (text == &large ? "large" : "whole") +
                " HTTP/1.1\r\nHost: x\r\n\r\n");
    const uint64_t before = server().sum(kSent);
    pass(kSecond);
    EXPECT_EQ(server().sum(kSent), before);  // it waits
    EXPECT_THAT(get("/a.txt"), EndsWith("hello"));
    read_on(c);
    for (int i = 0; i < 1000 && !c.got.ends_with(*text); ++i) bed.pump();
    EXPECT_THAT(c.got.size(), testing::Gt(text->size()));
    EXPECT_TRUE(c.got.ends_with(*text));
  }
}

TEST_F(HttpServer, AFileThatShrinksWhileItIsSentEndsTheConnection) {
  root.write("large", std::string(3 << 20, 'L'));
  serve("fifo-size 32k");
  Client& c = connect();
  c.reads = false;
  send(c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  root.write("large", "short");
  read_on(c);
  pass(kSecond);
  EXPECT_TRUE(c.was_reset);
}

TEST_F(HttpServer, IdleConnectionsEnd) {
  serve("keepalive-timeout 5");
  Client &idle = connect(), &half = connect(), &stuck = connect();
  root.write("large", std::string(9 << 20, 'L'));
  send(half, "GET / HT");
  stuck.reads = false;
  send(stuck, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  pass(4 * kSecond);
  EXPECT_FALSE(idle.saw_end || half.saw_end);
  pass(2 * kSecond);
  EXPECT_TRUE(idle.saw_end);
  EXPECT_EQ(idle.got, "");
  EXPECT_THAT(half.got, StartsWith("HTTP/1.1 408 "));
  pass(10 * kSecond);
  EXPECT_TRUE(stuck.was_reset);
  EXPECT_EQ(server().sum(kTimeouts), 3u);
  EXPECT_EQ(server().sum(kOpened), server().sum(kClosed));
}

TEST_F(HttpServer, AChangedFileIsSeenWithinASecond) {
  serve();
  Client& c = connect();
  const auto ask_again = [&] {
    c.got.clear();
    send(c, "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    return c.got.substr(c.got.find("\r\n\r\n") + 4);
  };
  EXPECT_EQ(ask_again(), "hello");
  root.write("a.txt", "changed");
  pass(kSecond);
  EXPECT_EQ(ask_again(), "changed");
  std::filesystem::remove(root.path / "a.txt");
  pass(kSecond);
  EXPECT_EQ(ask_again(), "404 Not Found\n");
}

// Also one that has no room for what is larger than itself, or for an open file, or for any.
TEST_F(HttpServer, ServesWhateverTheSizeOfItsCache) {
  const std::pair<const char*, std::string> files[] = {{"/none", ""},
                                                       {"/few", std::string(300, 'f')},
                                                       {"/some", std::string(20'000, 's')},
                                                       {"/many", std::string((1 << 20) + 7, 'm')}};
  for (const auto& [target, text] : files) root.write(target + 1, text);
  for (const uint32_t size : {0, 1, 1023, 1024, 1324, 16'383, 16'384, 21'024}) {
    serve("cache-size " + std::to_string(size));
    for (int turn = 0; turn < 2; ++turn) {
      for (const auto& [target, text] : files) {
        const std::string answer = get(target);
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << size << target << answer.substr(0, 50);
        EXPECT_TRUE(answer.ends_with("\r\n\r\n" + text)) << size << target;
        EXPECT_LE(server().cache.memory(), size) << target;
      }
    }
    const std::size_t kept = server().cache.files().size();
    EXPECT_EQ(kept != 0, size >= 1024) << size << ": " << kept;
    ASSERT_EQ(run("http static server delete uri pipe://10.0.0.1/80").status, Status::kOk);
  }
}

TEST_F(HttpServer, EndsWithWhatItHas) {
  root.write("large", std::string(9 << 20, 'L'));
  serve();
  Client &sending = connect(), &idle = connect();
  sending.reads = false;
  send(sending, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  Client& asking = connect();
  on_worker([&](Worker& w) {  // what the control thread is asked for outlives its server
    const std::string_view text = "GET /sub/ HTTP/1.1\r\nHost: x\r\n\r\n";
    AppSession(w, asking.id).write(std::as_bytes(std::span(text.data(), text.size())));
  });
  EXPECT_EQ(run("http static server delete uri pipe://10.0.0.1/80").status, Status::kOk);
  bed.pump();
  EXPECT_TRUE(sending.was_reset && idle.was_reset && asking.was_reset);
  EXPECT_EQ(run("http static server delete uri pipe://10.0.0.1/80").status, Status::kNotFound);
  serve();
  EXPECT_THAT(get("/a.txt"), EndsWith("hello"));
}

TEST_F(HttpServer, CountsForTheSegmentAndForShow) {
  serve();
  (void)get("/a.txt");
  (void)get("/nothing");
  Client& open = connect();
  std::vector<uint64_t> values(stats.stats.size());
  stats.read(stats.context, 0, values);
  std::map<std::string, uint64_t> by_name;
  for (std::size_t i = 0; i < values.size(); ++i) by_name[stats.stats[i].name] = values[i];
  EXPECT_EQ(by_name["requests"], 2u);
  EXPECT_EQ(by_name["responses-2xx"], 1u);
  EXPECT_EQ(by_name["responses-4xx"], 1u);
  EXPECT_EQ(by_name["connections-opened"], 3u);
  EXPECT_EQ(by_name["connections-open"], 1u);
  EXPECT_EQ(by_name["bytes-sent"], server().sum(kSent));
  EXPECT_THAT(run("show http static server").text, HasSubstr("pipe://10.0.0.1/80"));
  EXPECT_THAT(run("show http static cache").text,
              AllOf(HasSubstr("/a.txt"), HasSubstr("in memory")));
  EXPECT_FALSE(open.is_closed);
}

TEST_F(HttpServer, MessagesDoWhatCommandsDo) {
  const auto enable = [&](api::HttpStaticEnableV5 r) {
    return client.call<api::HttpStaticEnableV5Reply>(r).retval;
  };
  const api::HttpStaticEnableV5 good{.www_root = root.path.string(), .uri = "pipe://10.0.0.1/80"};
  EXPECT_EQ(enable(good), 0);
  EXPECT_THAT(get("/a.txt"), EndsWith("hello"));
  const auto list = client.dump<api::HttpStaticServerDetails>(api::HttpStaticServerDump{});
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].uri, "pipe://10.0.0.1/80");
  EXPECT_EQ(list[0].responses_2xx, 1u);
  EXPECT_EQ(list[0].cache_files, 1u);
  auto bad = good;
  bad.uri = "10.0.0.1";
  EXPECT_EQ(enable(bad), kApiInvalidValue);
  bad = good;
  bad.uri = "pipe://10.0.0.1/81";
  bad.fifo_size = 1;
  EXPECT_EQ(enable(bad), kApiInvalidValue);
  bad.fifo_size = 0;
  bad.keepalive_timeout = 0;
  EXPECT_EQ(enable(bad), kApiInvalidValue);
  bad.keepalive_timeout = 60;
  bad.www_root = "/nowhere/at/all";
  EXPECT_NE(enable(bad), 0);
  EXPECT_NE(enable(good), 0);  // is there
  const auto del = [&](const char* uri) {
    return client.call<api::HttpStaticServerDelReply>(api::HttpStaticServerDel{.uri = uri}).retval;
  };
  EXPECT_EQ(del("pipe://10.0.0.1/80"), 0);
  EXPECT_NE(del("pipe://10.0.0.1/80"), 0);
}

TEST_F(HttpServer, RefusesCommandsThatMakeNoSense) {
  serve();
  const std::string where = root.path.string();
  for (const std::string& words :
       {std::string(""), std::string("uri pipe://10.0.0.1/81"), "www-root " + where,
        "www-root " + where + " uri 10.0.0.1", "www-root " + where + " uri pipe://10.0.0.1/80",
        std::string("www-root /nowhere/at/all uri pipe://10.0.0.1/81"),
        "www-root " + where + " uri pipe://10.0.0.1/81 fifo-size 1",
        "www-root " + where + " uri pipe://10.0.0.1/81 keepalive-timeout 0",
        "www-root " + where + " uri pipe://10.0.0.1/81 and more", std::string("delete"),
        std::string("delete uri pipe://10.0.0.1/81"), "delete www-root " + where})
    EXPECT_NE(run("http static server " + words).status, Status::kOk) << words;
  EXPECT_EQ(servers.list().size(), 1u);
}

}  // namespace
}  // namespace loom::http
