// In-process applications: what their callbacks are told, in which order, and that whatever they do
// inside them leaves nothing behind.
#include "tests/unit/core/session/in_process_bed.h"

namespace loom::test {
namespace {

TEST_F(InProcess, BytesArriveBothWaysAndEndsAreTold) {
  open();
  EXPECT_EQ(client.write(near, "question"), 8u);
  EXPECT_EQ(server.told(), Strings{"readable"});
  EXPECT_EQ(server.session(far).unread(), 8u);
  EXPECT_EQ(server.read(far), "question");
  EXPECT_FALSE(server.session(far).eof());
  server.write(far, "answer");
  EXPECT_EQ(client.read(near), "answer");
  client.session(near).shutdown();
  bed.pump();
  EXPECT_EQ(server.told(), Strings{"readable"});
  EXPECT_TRUE(server.session(far).eof());
  EXPECT_EQ(client.write(near, "too late"), 0u);
  EXPECT_FALSE(client.session(near).ended());
  server.write(far, "last words");  // the other direction goes on
  server.session(far).close();
  bed.pump();
  EXPECT_EQ(server.told(), Strings{"closed"});
  EXPECT_TRUE(client.session(near).ended());
  EXPECT_FALSE(client.session(near).eof());  // before what is unread
  EXPECT_EQ(client.read(near), "last words");
  EXPECT_TRUE(client.session(near).eof());
  client.session(near).close();
  bed.pump();
  EXPECT_EQ(client.told().back(), "closed");
  EXPECT_EQ(bed.pipe.aborted, 0u);
  expect_all_back();
}

TEST_F(InProcess, AnEchoOfMuchMoreThanTheFifosHold) {
  server.on["readable"] = server.on["writable"] = [](AppSession s) {
    move_bytes(s, s, 10'000);
    if (s.unread() != 0) s.space() ? s.want_readable() : s.want_writable();
  };
  open();
  const std::string big = pattern(1'000'000);
  std::string got;
  std::size_t sent = 0;
  while (got.size() < big.size()) {
    sent += client.write(near, std::string_view(big).substr(sent));
    const std::string more = client.read(near);
    ASSERT_FALSE(more.empty()) << "stuck after " << got.size();
    got += more;
  }
  EXPECT_EQ(got, big);
  client.session(near).abort();
  bed.pump();
  expect_all_back();
}

TEST_F(InProcess, WhatIsSentAsAWholeIsLookedAtOnce) {
  open();
  bed.pump();
  bed.pipe.asked = 0;
  for (uint32_t n = 1; n <= 3; ++n) {
    client.write(near, "question");
    bed.pump();
    EXPECT_EQ(bed.pipe.asked, n);
  }
  EXPECT_EQ(server.read(far).size(), 24u);
  // What does not fit into one visit is looked at until it has gone.
  bed.pipe.segment = 1;
  const std::string forty(40, 'x');
  client.write(near, forty);
  bed.pump();
  EXPECT_EQ(bed.pipe.asked, 5u);
  EXPECT_EQ(server.read(far), forty);
}

TEST_F(InProcess, TalksToAnApplicationOutside) {
  TestApp outside(bed);
  server.listen(80);
  auto c = outside.connect(80);
  ASSERT_TRUE(c);
  outside.write(*c, "from outside");
  EXPECT_EQ(server.read(server.accepted), "from outside");
  server.write(server.accepted, "from inside");
  EXPECT_EQ(outside.read(*c), "from inside");
  // The ids of sessions that are not its own are nobody's to an in-process application.
  const SessionId theirs = static_cast<SessionId>(c->handle);
  EXPECT_EQ(client.session(theirs).write(std::as_bytes(std::span("x"))), 0u);
  client.session(theirs).abort();
  client.session(12345).abort();
  outside.close(*c);
  EXPECT_TRUE(server.session(server.accepted).eof());
  ASSERT_EQ(outside.listen(81).status, 0);
  near = client.connect(81);
  auto o = outside.accept();
  ASSERT_TRUE(o);
  client.write(near, "hello");
  EXPECT_EQ(outside.read(*o), "hello");
}

TEST_F(InProcess, ReadableComesOnceARoundAndWhenItIsAskedFor) {
  open();
  client.session(near).write(std::as_bytes(std::span("one", 3)));
  client.write(near, "two");
  EXPECT_EQ(server.told(), Strings{"readable"});
  bed.pump();
  EXPECT_EQ(server.told(), Strings{});  // unread, and not repeated
  server.session(far).want_readable();
  bed.pump();
  EXPECT_EQ(server.told(), Strings{"readable"});
  server.session(far).want_readable(false);
  client.write(near, "three");
  EXPECT_EQ(server.told(), Strings{});
  server.session(far).want_readable();
  bed.pump();
  EXPECT_EQ(server.told(), Strings{"readable"});
  EXPECT_EQ(server.read(far), "onetwothree");
  server.session(far).want_readable();
  bed.pump();
  EXPECT_EQ(server.told(), Strings{});  // nothing to read
}

TEST_F(InProcess, WritableComesOnceThereIsRoom) {
  open();
  client.session(near).want_writable(1000);  // there is
  bed.pump();
  EXPECT_EQ(client.told(), Strings{"writable"});
  const std::string block(64 << 10, 'x');
  EXPECT_EQ(client.write(near, block), block.size());
  EXPECT_EQ(client.write(near, block), block.size());  // the first has gone to the peer's fifo
  EXPECT_EQ(client.write(near, "x"), 0u);
  EXPECT_EQ(client.session(near).space(), 0u);
  client.session(near).want_writable(64 << 10);
  bed.pump();
  EXPECT_EQ(client.told(), Strings{});
  EXPECT_EQ(server.read(far).size(), block.size());
  EXPECT_EQ(client.told(), Strings{"writable"});
  bed.pump();
  EXPECT_EQ(client.told(), Strings{});  // asked once, told once
  EXPECT_EQ(server.read(far).size(), block.size());
}

TEST_F(InProcess, ReservedBytesAreSentWhenTheyAreCommitted) {
  open();
  std::span<std::byte> views[8];
  const std::string text = pattern(20'000);
  const uint32_t n = client.session(near).reserve(20'000, views);
  ASSERT_GT(n, 0u);
  std::size_t filled = 0;
  for (const auto& v : std::span(views, n)) {
    std::memcpy(v.data(), text.data() + filled, v.size());
    filled += v.size();
  }
  ASSERT_EQ(filled, text.size());
  bed.pump();
  EXPECT_EQ(server.session(far).unread(), 0u);
  client.session(near).commit(static_cast<uint32_t>(filled));
  bed.pump();
  EXPECT_EQ(server.read(far), text);
}

TEST_F(InProcess, InfoAndOptionsReachTheTransport) {
  open();
  ConnectionInfo i;
  ASSERT_EQ(client.session(near).info(i), Status::kOk);
  EXPECT_EQ(i.endpoints.remote_port, 80);
  ASSERT_EQ(server.session(far).info(i), Status::kOk);
  EXPECT_EQ(i.endpoints.local_port, 80);
  SocketOptionsView o;
  o.nodelay = true;
  EXPECT_EQ(client.session(near).set_options(o), Status::kOk);
  EXPECT_TRUE(bed.pipe.last_options.nodelay);
}

TEST_F(InProcess, ARefusedConnectionIsResetAndForgotten) {
  server.accepts = false;
  server.listen(80);
  near = client.connect(80);
  EXPECT_EQ(server.told(), Strings{"accepted"});
  EXPECT_EQ(client.told(), (Strings{"connected ok", "reset 0", "closed"}));
  EXPECT_EQ(server.session(server.accepted).write(std::as_bytes(std::span("x"))), 0u);
  expect_all_back();
}

TEST_F(InProcess, FailedConnectsSayWhyAndEnd) {
  client.connect(81);  // nobody listens
  EXPECT_EQ(client.told(), (Strings{"connected refused", "closed"}));
  EXPECT_EQ(AppSession::connect(client.worker(), *client.app, Recorder::endpoint(1), &client)
                .error()
                .code,
            Status::kUnreachable);
  EXPECT_EQ(AppSession::connect(client.worker(), *client.app, Recorder::endpoint(0), &client)
                .error()
                .code,
            Status::kInvalid);
  AppEndpoint unknown = Recorder::endpoint(80);
  std::strcpy(unknown.transport, "carrier-pigeon");
  EXPECT_EQ(AppSession::connect(client.worker(), *client.app, unknown, &client).error().code,
            Status::kUnsupported);
  EXPECT_EQ(client.told(), Strings{});
  expect_all_back();
}

TEST_F(InProcess, GivingUpWhileConnecting) {
  server.listen(80);
  const auto id =
      AppSession::connect(client.worker(), *client.app, Recorder::endpoint(80), &client);
  ASSERT_TRUE(id);
  client.session(*id).close();
  bed.pump();
  EXPECT_EQ(client.told(), Strings{"closed"});
  EXPECT_EQ(server.told(), Strings{});
  expect_all_back();
}

// Each callback may end its own session, in either way, and hears `closed` once and nothing more.
TEST_F(InProcess, ClosingFromInsideACallback) {
  server.listen(80);
  for (const bool is_abort : {false, true})
    for (const char* where : {"connected ok", "readable", "writable"}) {
      SCOPED_TRACE(std::string(where) + (is_abort ? ", abort" : ", close"));
      client.on.clear();
      client.on[where] = [&](AppSession s) {
        is_abort ? s.abort() : s.close();
        s.close();  // and again: nothing
        EXPECT_EQ(s.write(std::as_bytes(std::span("x"))), 0u);
        EXPECT_EQ(s.unread(), 0u);
        s.want_writable();
        s.want_readable();
      };
      near = client.connect(80);
      client.session(near).want_writable(1);
      server.write(server.accepted, "bytes");
      const Strings told = client.told();
      ASSERT_FALSE(told.empty());
      EXPECT_EQ(std::count(told.begin(), told.end(), "closed"), 1);
      EXPECT_EQ(told.back(), "closed");
      EXPECT_EQ(told[told.size() - 2], where);
      server.session(server.accepted).close();
      bed.pump();
      expect_all_back();
    }
}

TEST_F(InProcess, ClosingFromInsideAccepted) {
  server.listen(80);
  for (const bool is_taken : {true, false}) {
    server.accepts = is_taken;
    server.on["accepted"] = [](AppSession s) { s.close(); };
    client.connect(80);
    EXPECT_EQ(server.told(), is_taken ? (Strings{"accepted", "closed"}) : Strings{"accepted"});
    if (client.log.back() != "closed") client.session(near = 0).close();
    for (SessionId id = 0; id < 4; ++id) client.session(id).close();
    bed.pump();
    client.told();
    expect_all_back();
  }
}

// Both ends are the application's own, and the transport tells at once.
TEST_F(InProcess, ClosedMayEndTheOtherEndAndWithItThisOne) {
  open();
  client.on["closed"] = [&](AppSession) { server.session(far).abort(); };
  client.session(near).close();
  bed.pump();
  EXPECT_EQ(client.told(), Strings{"closed"});
  EXPECT_EQ(server.told().back(), "closed");
  expect_all_back();
}

TEST_F(InProcess, ThePeerResetsInsideReadable) {
  open();
  // Both ends live here: the server's callback kills the client's end, which resets the server's
  // own session while its callback runs.
  server.on["readable"] = [&](AppSession s) {
    client.session(near).abort();
    EXPECT_EQ(s.unread(), 5u);  // still its own, and readable
    EXPECT_EQ(s.write(std::as_bytes(std::span("x"))), 0u);
  };
  client.write(near, "bytes");
  EXPECT_EQ(server.told(), (Strings{"readable", "reset 0", "closed"}));
  EXPECT_EQ(client.told(), Strings{"closed"});
  expect_all_back();
}

TEST_F(InProcess, WhatCameBeforeAResetCanBeReadInIt) {
  open();
  server.session(far).want_readable(false);
  std::string got;
  server.on["reset 0"] = [&](AppSession s) {
    std::span<const std::byte> v[1];
    ASSERT_EQ(s.peek(v), 1u);
    got.assign(reinterpret_cast<const char*>(v[0].data()), v[0].size());
  };
  client.write(near, "bytes");
  client.session(near).abort();
  bed.pump();
  EXPECT_EQ(got, "bytes");
  EXPECT_EQ(server.told(), (Strings{"reset 0", "closed"}));
  expect_all_back();
}

TEST_F(InProcess, PeekShowsWhatCameBehindBytesThatWereLeft) {
  open();
  std::string seen;
  server.on["readable"] = [&](AppSession s) {
    std::span<const std::byte> v[4];
    const uint32_t n = s.peek(v);
    seen.clear();
    for (uint32_t i = 0; i < n; ++i)
      seen.append(reinterpret_cast<const char*>(v[i].data()), v[i].size());
  };
  client.write(near, "left ");
  EXPECT_EQ(seen, "left ");
  client.write(near, "unread");
  EXPECT_EQ(seen, "left unread");
}

TEST_F(InProcess, UnreadBytesMakeACloseAReset) {  // RFC 2525 section 2.17
  open();
  client.write(near, "bytes");
  server.session(far).close();
  bed.pump();
  EXPECT_EQ(bed.pipe.closed_unread, 1u);
  EXPECT_EQ(client.told(), (Strings{"reset 0", "closed"}));
  expect_all_back();
}

TEST_F(InProcess, BytesWrittenBeforeCloseStillArriveAfterTheApplicationForgot) {
  open();
  const std::string text = pattern(60'000);
  ASSERT_EQ(client.session(near).write(std::as_bytes(std::span(text))), text.size());
  client.session(near).close();
  client.remove();  // the plugin goes, too
  EXPECT_EQ(client.told(), Strings{"closed"});
  bed.pump();
  EXPECT_EQ(server.read(far), text);
  EXPECT_TRUE(server.session(far).eof());
  EXPECT_EQ(bed.layer->stats().applications, 2u);  // its memory is still being sent
  server.session(far).close();
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 1u);
  EXPECT_EQ(client.told(), Strings{});
  expect_all_back();
}

TEST_F(InProcess, AListenerThatEndsBeforeItsConnectionWasTold) {
  const SessionHandle l = server.listen(80);
  open();
  // The transport hands another one over; the listener ends before the round does.
  const ConnId other = bed.pipe.make(kNoSession);
  auto& end = bed.pipe.end(other);
  ASSERT_EQ(server.worker().sessions->accepted(server.worker(), bed.pipe.listeners.at(80),
                                               bed.pipe.id, other, {}, &end.session),
            Status::kOk);
  EXPECT_EQ(bed.layer->unlisten(*server.app, l), Status::kOk);
  EXPECT_EQ(bed.layer->unlisten(*server.app, l), Status::kNotFound);
  bed.pump();
  EXPECT_EQ(server.told(), Strings{});
  EXPECT_EQ(bed.pipe.aborted, 1u);
  // The one that was accepted goes on.
  client.write(near, "still here");
  EXPECT_EQ(server.read(far), "still here");
  client.connect(80);
  EXPECT_EQ(client.told(), (Strings{"connected refused", "closed"}));
}

TEST_F(InProcess, AConnectionResetBeforeItWasToldIsNotTold) {
  server.listen(80);
  const ConnId other = bed.pipe.make(kNoSession);
  auto& end = bed.pipe.end(other);
  ASSERT_EQ(server.worker().sessions->accepted(server.worker(), bed.pipe.listeners.at(80),
                                               bed.pipe.id, other, {}, &end.session),
            Status::kOk);
  server.worker().sessions->reset(server.worker(), end.session, ResetReason::kPeerReset);
  bed.pump();
  EXPECT_EQ(server.told(), Strings{});
  expect_all_back();
}

// Lists of sessions keep those that have gone: a slot that is used again in the same round is told
// what happens to its new session, once.
TEST_F(InProcess, ASlotThatIsUsedAgainInTheSameRound) {
  open();
  const SessionId before = near;
  client.session(near).write(std::as_bytes(std::span("x", 1)));
  client.on["closed"] = [&](AppSession) {
    client.on.erase("closed");
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(
          AppSession::connect(client.worker(), *client.app, Recorder::endpoint(80), &client));
  };
  client.session(before).abort();
  bed.pump();
  Strings told = client.told();
  std::sort(told.begin(), told.end());
  EXPECT_EQ(told, (Strings{"closed", "connected ok", "connected ok", "connected ok"}));
}

// Older and newer plugins: what they do not know is neither read nor written.
TEST_F(InProcess, SizesOfStructuresAreTheCallers) {
  open();
  const AppCalls& calls = *client.worker().sessions->apps;
  ConnectionInfo info;
  std::memset(static_cast<void*>(&info), 0xee, sizeof info);
  constexpr uint32_t kKnown = offsetof(ConnectionInfo, snd_mss);
  ASSERT_EQ(calls.info(client.worker(), near, info, kKnown), Status::kOk);
  EXPECT_EQ(info.endpoints.remote_port, 80);
  EXPECT_EQ(info.snd_mss, 0xeeeeeeeeu);
  SocketOptionsView options;
  options.nodelay = true;
  options.keepcnt = 7;
  ASSERT_EQ(calls.set_options(client.worker(), near, options, offsetof(SocketOptionsView, keepcnt)),
            Status::kOk);
  EXPECT_TRUE(bed.pipe.last_options.nodelay);
  EXPECT_EQ(bed.pipe.last_options.keepcnt, 0u);
  AppEndpoint e = Recorder::endpoint(80);
  const auto refusal = [&] {
    return AppSession::connect(client.worker(), *client.app, e, &client).error().code;
  };
  e.struct_size = 4;
  EXPECT_EQ(refusal(), Status::kInvalid);
  e = Recorder::endpoint(80);
  std::memset(e.transport, 'x', sizeof e.transport);  // no end
  EXPECT_EQ(refusal(), Status::kUnsupported);
  EXPECT_EQ(bed.layer->listen(*server.app, e, nullptr).error().message,
            "no transport 'xxxxxxxxxxxxxxxx'");
}

TEST(InProcessRegistration, RefusesWhatMakesNoSense) {
  SessionBed bed;
  AppOps ops;
  EXPECT_EQ(bed.layer->add_application(ops, {}).error().code, Status::kInvalid);
  ops.name = "a";
  ops.struct_size = 8;
  EXPECT_EQ(bed.layer->add_application(ops, {}).error().code, Status::kInvalid);
  ops.struct_size = offsetof(AppOps, writable);  // as an older plugin would have it
  auto app = bed.layer->add_application(ops, {});
  ASSERT_TRUE(app);
  ops.struct_size = sizeof ops;
  EXPECT_EQ(bed.layer->add_application(ops, {}).error().code, Status::kExists);
  AppEndpoint e = Recorder::endpoint(80);
  auto l = bed.layer->listen(**app, e, nullptr);
  ASSERT_TRUE(l);
  EXPECT_EQ(bed.layer->listen(**app, e, nullptr).error().code, Status::kInUse);
  std::strcpy(e.transport, "smoke");
  EXPECT_EQ(bed.layer->listen(**app, e, nullptr).error().code, Status::kNotFound);
  e.transport[0] = 0;
  e.proto = PipeTransport::kProto;
  e.port = 81;
  EXPECT_TRUE(bed.layer->listen(**app, e, nullptr));
  // Without an `accepted`, every connection is reset.
  Recorder client(bed);
  client.connect(80);
  EXPECT_EQ(client.told(), (Strings{"connected ok", "reset 0", "closed"}));
  bed.layer->remove_application(**app);
}

TEST(AppUri, IsTransportAddressAndPort) {
  const auto e = parse_app_uri("tcp://10.88.0.2/1234");
  ASSERT_TRUE(e);
  EXPECT_STREQ(e->transport, "tcp");
  EXPECT_EQ(e->address.str(), "10.88.0.2");
  EXPECT_EQ(e->port, 1234);
  EXPECT_EQ(parse_app_uri("quic://fd88::2/443")->address.str(), "fd88::2");
  for (const char* bad :
       {"", "tcp", "tcp://", "tcp://10.0.0.1", "tcp://10.0.0.1/", "tcp://10.0.0/1",
        "tcp://10.0.0.1/0", "tcp://10.0.0.1/65536", "tcp://10.0.0.1/1x", "://10.0.0.1/1",
        "averyveryverylongname://10.0.0.1/1", "tcp:/10.0.0.1/1"})
    EXPECT_FALSE(parse_app_uri(bad)) << bad;
}

}  // namespace
}  // namespace loom::test
