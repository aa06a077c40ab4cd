/* An application of the line-echo transport.
 *
 *   line-echo-app listen ADDRESS PORT    accepts one connection after the other and sends lines
 * back line-echo-app connect ADDRESS PORT   sends the lines of its input, prints those that come
 * back
 *
 * It says "listening" once it accepts connections. VCL_CONFIG names the daemon to attach to. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vcl/vppcom.h>

enum { kTransportProto = 200 }; /* wire.h */

static int fail(const char* what, int error) {
  fprintf(stderr, "%s: %s\n", what, vppcom_retval_str(error));
  return 1;
}

static int write_all(uint32_t session, const char* text, size_t length) {
  while (length != 0) {
    const int n = vppcom_session_write(session, (void*)text, length);
    if (n < 0) return n;
    text += n;
    length -= (size_t)n;
  }
  return VPPCOM_OK;
}

/* Until the peer closes. */
static int echo(uint32_t session) {
  char text[4096];
  for (;;) {
    int n = vppcom_session_read(session, text, sizeof text);
    if (n <= 0) return n;
    if ((n = write_all(session, text, (size_t)n)) != VPPCOM_OK) return n;
  }
}

static int serve(uint32_t listener, vppcom_endpt_t* at) {
  int e = vppcom_session_bind(listener, at);
  if (e == VPPCOM_OK) e = vppcom_session_listen(listener, 8);
  if (e != VPPCOM_OK) return fail("listen", e);
  puts("listening");
  fflush(stdout);
  for (;;) {
    uint8_t ip[16];
    vppcom_endpt_t peer = {.ip = ip};
    const int session = vppcom_session_accept(listener, &peer, 0);
    if (session < 0) return fail("accept", session);
    e = echo((uint32_t)session);
    if (e != VPPCOM_OK) fail("echo", e); /* the next one may do better */
    vppcom_session_close((uint32_t)session);
  }
}

/* One line out, the same number of bytes back. */
static int ask(uint32_t session, vppcom_endpt_t* at) {
  int e = vppcom_session_connect(session, at);
  if (e != VPPCOM_OK) return fail("connect", e);
  char* line = NULL;
  size_t room = 0;
  for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
    if ((e = write_all(session, line, (size_t)length)) != VPPCOM_OK) return fail("write", e);
    for (ssize_t got = 0; got < length;) {
      const int n = vppcom_session_read(session, line, room);
      if (n <= 0) return fail("read", n);
      fwrite(line, 1, (size_t)n, stdout);
      got += n;
    }
    fflush(stdout);
  }
  free(line);
  return vppcom_session_close(session) == VPPCOM_OK ? 0 : 1;
}

int main(int argc, char** argv) {
  struct in_addr address;
  const int port = argc == 4 ? atoi(argv[3]) : 0;
  if (port < 1 || port > 65535 || inet_pton(AF_INET, argv[2], &address) != 1) {
    fprintf(stderr, "usage: %s listen|connect ADDRESS PORT\n", argv[0]);
    return 2;
  }
  int e = vppcom_app_create("line-echo-app");
  if (e != VPPCOM_OK) return fail("attach", e);
  const int session = vppcom_session_create(kTransportProto, 0);
  if (session < 0) return fail("session", session);
  vppcom_endpt_t at = {
      .is_ip4 = VPPCOM_IS_IP4, .ip = (uint8_t*)&address, .port = htons((uint16_t)port)};
  e = strcmp(argv[1], "listen") == 0 ? serve((uint32_t)session, &at) : ask((uint32_t)session, &at);
  vppcom_app_destroy();
  return e;
}
