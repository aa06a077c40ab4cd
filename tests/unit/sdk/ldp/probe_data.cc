// Bytes: reading, writing, files and streams.
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

#include "probe.h"

namespace loom::probe {
namespace {

void talk() {
  const auto [c, s] = connection();
  CHECK(c < 10 && s < 10);
  expect_talk(c, s);
  CHECK(port_of(s) == 80);
  put(c, "abc");
  char text[8]{};
  CHECK(recv(s, text, 2, MSG_PEEK) == 2 && std::string(text) == "ab");
  int unread = 0;
  CHECK(events_of(s, 20'000) == POLLIN && ioctl(s, FIONREAD, &unread) == 0 && unread == 3);
  CHECK(get(s, 3) == "abc");
  CHECK(recv(s, text, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
  CHECK(lseek(s, 0, SEEK_CUR) == -1 && errno == ESPIPE);
  CHECK(pread(s, text, 1, 0) == -1 && errno == ESPIPE);
  CHECK(fcntl(s, F_SETFL, O_NONBLOCK) == 0 && fcntl(s, F_GETFL) == (O_RDWR | O_NONBLOCK));
  CHECK(read(s, text, 1) == -1 && errno == EAGAIN);
  CHECK(shutdown(c, SHUT_WR) == 0);
  CHECK(events_of(s, 20'000) & POLLIN);
  CHECK(read(s, text, 1) == 0);
  CHECK(close(s) == 0 && close(c) == 0 && close(c) == -1 && errno == EBADF);
}

volatile sig_atomic_t pipes = 0;

void sigpipe() {
  signal(SIGPIPE, [](int) { pipes = pipes + 1; });
  const auto [c, s] = connection();
  CHECK(shutdown(c, SHUT_WR) == 0);
  CHECK(send(c, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE && pipes == 0);
  CHECK(write(c, "x", 1) == -1 && errno == EPIPE && pipes == 1);
  CHECK(get(s, 1).empty());
}

void stream() {
  const auto [c, s] = connection();
  FILE* f = fdopen(c, "r+");
  CHECK(f && fileno(f) == c);
  CHECK(std::fprintf(f, "line %d\n", 1) == 7 && std::fflush(f) == 0);
  CHECK(get(s, 7) == "line 1\n");
  put(s, "answer\n");
  char text[32];
  CHECK(std::fgets(text, sizeof text, f) && std::string(text) == "answer\n");
  CHECK(std::fclose(f) == 0 && get(s, 1).empty());
  CHECK(read(c, text, 1) == -1 && errno == EBADF);
}

void sendfile_scenario() {
  const auto [c, s] = connection();
  FILE* f = std::tmpfile();
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i);
  CHECK(std::fwrite(text.data(), 1, text.size(), f) == text.size() && std::fflush(f) == 0);
  off_t at = 10;
  CHECK(sendfile(c, fileno(f), &at, text.size()) == static_cast<ssize_t>(text.size() - 10));
  CHECK(at == static_cast<off_t>(text.size()));
  CHECK(get(s, text.size() - 10) == text.substr(10));
  CHECK(sendfile(c, fileno(f), &at, 10) == 0);
  CHECK(sendfile(c, s, nullptr, 10) == -1 && errno == EINVAL);
}

// send(2): MSG_MORE is a cork for one call. The daemon serves connections in their order, so that
// two answers on a later one mean that it has looked at the earlier one.
void more() {
  const auto [c, s] = connection(80);
  const auto [later, end] = connection(81);
  const auto held = [&] {
    for (int i = 0; i < 2; ++i) {
      put(later, "x");
      CHECK(get(end, 1) == "x");
    }
    int unread = -1;
    CHECK(ioctl(s, FIONREAD, &unread) == 0);
    return unread == 0;
  };
  CHECK(send(c, "ab", 2, MSG_MORE) == 2 && held());
  CHECK(send(c, "c", 1, 0) == 1 && get(s, 3) == "abc" && held());
  CHECK(send(c, "d", 1, MSG_MORE) == 1 && held());
  CHECK(set(c, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && get(s, 1) == "d");
  const std::string segments(2500, 's');
  CHECK(send(c, segments.data(), segments.size(), MSG_MORE) == 2500 && get(s, 2000).size() == 2000);
  CHECK(held());
  FILE* f = std::tmpfile();
  CHECK(std::fputs("file", f) >= 0 && std::fflush(f) == 0);
  off_t at = 0;
  CHECK(sendfile(c, fileno(f), &at, 100) == 4 && get(s, 504).size() == 504);
  CHECK(send(c, "end", 3, MSG_MORE) == 3 && held() && close(c) == 0 && get(s, 4) == "end");
}

void errno_kept() {
  const auto [c, s] = connection();
  errno = 77;
  expect_talk(c, s);
  CHECK(events_of(c, 5, POLLIN) == 0 && option(c, SOL_SOCKET, SO_ERROR) == 0);
  CHECK(close(c) == 0);
  CHECK(errno == 77);
}

constexpr Scenario kScenarios[] = {
    {"talk", talk}, {"sigpipe", sigpipe},       {"stream", stream}, {"sendfile", sendfile_scenario},
    {"more", more}, {"errno_kept", errno_kept},
};

}  // namespace

std::span<const Scenario> data_scenarios() { return kScenarios; }

}  // namespace loom::probe
