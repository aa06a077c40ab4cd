/* The application interface of libvppcom: sockets of the Hostloom host stack, without going through
 * the kernel. Source compatible with programs written for VPP's VCL: same names, values and
 * structure layouts. C11 and C++.
 *
 * Sessions are named by a 32-bit handle: worker index in the upper 8 bits, session index in the
 * lower 24. Functions return a count or 0, or a negative errno (vppcom_error_t).
 * Threads: any thread may use any session; a thread that wants its own queues and tables registers
 * as a worker. */
#ifndef VCL_VPPCOM_H
#define VCL_VPPCOM_H

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VPPCOM_CONF_DEFAULT "/etc/vpp/vcl.conf"
#define HOSTLOOM_VCL_CONF_DEFAULT "/etc/hostloom/vcl.conf" /* looked for first */

#define VPPCOM_ENV_CONF "VCL_CONFIG"
#define VPPCOM_ENV_DEBUG "VCL_DEBUG"
#define VPPCOM_ENV_APP_PROXY_TRANSPORT_TCP "VCL_APP_PROXY_TRANSPORT_TCP"
#define VPPCOM_ENV_APP_PROXY_TRANSPORT_UDP "VCL_APP_PROXY_TRANSPORT_UDP"
#define VPPCOM_ENV_APP_NAMESPACE_ID "VCL_APP_NAMESPACE_ID"
#define VPPCOM_ENV_APP_NAMESPACE_SECRET "VCL_APP_NAMESPACE_SECRET"
#define VPPCOM_ENV_APP_SCOPE_LOCAL "VCL_APP_SCOPE_LOCAL"
#define VPPCOM_ENV_APP_SCOPE_GLOBAL "VCL_APP_SCOPE_GLOBAL"
#define VPPCOM_ENV_APP_USE_MQ_EVENTFD "VCL_APP_USE_MQ_EVENTFD"
#define VPPCOM_ENV_VPP_API_SOCKET "VCL_VPP_API_SOCKET"
#define VPPCOM_ENV_VPP_SAPI_SOCKET "VCL_VPP_SAPI_SOCKET"

#define INVALID_SESSION_ID ((uint32_t)~0)

typedef uint32_t vcl_session_handle_t;
typedef unsigned long vcl_si_set; /* bitmap by session index */

typedef enum {
  VPPCOM_PROTO_TCP = 0,
  VPPCOM_PROTO_UDP,
  VPPCOM_PROTO_NONE,
  VPPCOM_PROTO_TLS,
  VPPCOM_PROTO_QUIC,
  VPPCOM_PROTO_DTLS,
  VPPCOM_PROTO_SRTP,
  VPPCOM_PROTO_HTTP,
} vppcom_proto_t;

typedef enum {
  VPPCOM_IS_IP6 = 0,
  VPPCOM_IS_IP4,
} vppcom_is_ip4_t;

/* Types of endpoint TLVs: said with a datagram, and of that one alone. */
#define VCL_UDP_SEGMENT (VPPCOM_PROTO_UDP << 16) /* uint16_t: GSO size; received: GRO size */
#define VCL_IP_PKTINFO ((127 << 16) + 1) /* uint8_t[4] or [16]: source; received: destination */

typedef struct {
  uint32_t data_type;
  uint32_t data_len;
  uint8_t data[0];
} vppcom_endpt_tlv_t;

typedef struct vppcom_endpt_t_ {
  uint8_t unused;
  uint8_t is_ip4;
  uint8_t* ip;   /* caller's storage, 4 or 16 bytes */
  uint16_t port; /* network order */
  uint64_t unused2;
  uint32_t app_tlv_len; /* bytes; TLVs lie behind each other without padding */
  vppcom_endpt_tlv_t* app_tlvs;
} vppcom_endpt_t;

typedef struct {
  char* cert; /* PEM */
  char* key;
  uint32_t cert_len;
  uint32_t key_len;
} vppcom_cert_key_pair_t;

typedef struct {
  unsigned char* data;
  uint32_t len;
} vppcom_data_segment_t;
typedef vppcom_data_segment_t vppcom_data_segments_t[2];

typedef struct {
  uint32_t fds_ndx;
  vcl_session_handle_t sh;
  short events;
  short revents;
} vcl_poll_t;

typedef struct {
  size_t heapsize;
  uint32_t max_workers;
  size_t segment_baseva;
  size_t segment_size;
  size_t add_segment_size;
  uint32_t preallocated_fifo_pairs;
  uint32_t rx_fifo_size;
  uint32_t tx_fifo_size;
  uint32_t event_queue_size;
  uint8_t app_proxy_transport_tcp;
  uint8_t app_proxy_transport_udp;
  uint8_t app_scope_local;
  uint8_t app_scope_global;
  char* namespace_id;
  uint64_t namespace_secret;
  uint8_t use_mq_eventfd; /* always on */
  double app_timeout;     /* seconds */
  double session_timeout;
  char* event_log_path;
  char* vpp_app_socket_api; /* the daemon's attach socket */
  char* vpp_bapi_socket_name;
  char* app_name;
  uint32_t tls_engine;
  uint8_t mt_wrk_supported;
  uint8_t huge_page;
  uint8_t app_original_dst;
  uint8_t debug_level;
} vppcom_cfg_t;

typedef enum {
  VPPCOM_OK = 0,
  VPPCOM_EAGAIN = -EAGAIN,
  VPPCOM_EWOULDBLOCK = -EWOULDBLOCK,
  VPPCOM_EINPROGRESS = -EINPROGRESS,
  VPPCOM_EALREADY = -EALREADY,
  VPPCOM_EFAULT = -EFAULT,
  VPPCOM_ENOMEM = -ENOMEM,
  VPPCOM_EINVAL = -EINVAL,
  VPPCOM_EBADFD = -EBADFD,
  VPPCOM_EAFNOSUPPORT = -EAFNOSUPPORT,
  VPPCOM_ECONNABORTED = -ECONNABORTED,
  VPPCOM_ECONNRESET = -ECONNRESET,
  VPPCOM_ENOTCONN = -ENOTCONN,
  VPPCOM_ECONNREFUSED = -ECONNREFUSED,
  VPPCOM_ETIMEDOUT = -ETIMEDOUT,
  VPPCOM_EEXIST = -EEXIST,
  VPPCOM_ENOPROTOOPT = -ENOPROTOOPT,
  VPPCOM_EPIPE = -EPIPE,
  VPPCOM_ENOENT = -ENOENT,
  VPPCOM_EADDRINUSE = -EADDRINUSE,
  VPPCOM_ENOTSUP = -ENOTSUP,
} vppcom_error_t;

typedef enum {
  VPPCOM_ATTR_GET_NREAD,
  VPPCOM_ATTR_GET_NWRITE,
  VPPCOM_ATTR_GET_FLAGS,
  VPPCOM_ATTR_SET_FLAGS,
  VPPCOM_ATTR_GET_LCL_ADDR,
  VPPCOM_ATTR_SET_LCL_ADDR,
  VPPCOM_ATTR_GET_PEER_ADDR,
  VPPCOM_ATTR_GET_UNUSED,
  VPPCOM_ATTR_SET_UNUSED,
  VPPCOM_ATTR_GET_PROTOCOL,
  VPPCOM_ATTR_GET_LISTEN,
  VPPCOM_ATTR_GET_ERROR,
  VPPCOM_ATTR_GET_TX_FIFO_LEN,
  VPPCOM_ATTR_SET_TX_FIFO_LEN,
  VPPCOM_ATTR_GET_RX_FIFO_LEN,
  VPPCOM_ATTR_SET_RX_FIFO_LEN,
  VPPCOM_ATTR_GET_REUSEADDR,
  VPPCOM_ATTR_SET_REUSEADDR,
  VPPCOM_ATTR_GET_REUSEPORT,
  VPPCOM_ATTR_SET_REUSEPORT,
  VPPCOM_ATTR_GET_BROADCAST,
  VPPCOM_ATTR_SET_BROADCAST,
  VPPCOM_ATTR_GET_V6ONLY,
  VPPCOM_ATTR_SET_V6ONLY,
  VPPCOM_ATTR_GET_KEEPALIVE,
  VPPCOM_ATTR_SET_KEEPALIVE,
  VPPCOM_ATTR_GET_TCP_NODELAY,
  VPPCOM_ATTR_SET_TCP_NODELAY,
  VPPCOM_ATTR_GET_TCP_KEEPIDLE,
  VPPCOM_ATTR_SET_TCP_KEEPIDLE,
  VPPCOM_ATTR_GET_TCP_KEEPINTVL,
  VPPCOM_ATTR_SET_TCP_KEEPINTVL,
  VPPCOM_ATTR_GET_TCP_USER_MSS,
  VPPCOM_ATTR_SET_TCP_USER_MSS,
  VPPCOM_ATTR_SET_CONNECTED,
  VPPCOM_ATTR_SET_CKPAIR,
  VPPCOM_ATTR_SET_VRF,
  VPPCOM_ATTR_GET_VRF,
  VPPCOM_ATTR_GET_DOMAIN,
  VPPCOM_ATTR_SET_ENDPT_EXT_CFG,
  VPPCOM_ATTR_SET_DSCP,
  VPPCOM_ATTR_SET_IP_PKTINFO,
  VPPCOM_ATTR_GET_IP_PKTINFO,
  VPPCOM_ATTR_GET_ORIGINAL_DST,
  VPPCOM_ATTR_GET_NWRITEQ,
  VPPCOM_ATTR_GET_EXT_ENDPT,
  VPPCOM_ATTR_GET_COOKIE,
  VPPCOM_ATTR_SET_COOKIE,
  VPPCOM_ATTR_GET_STREAM_FLAGS,
  VPPCOM_ATTR_SET_STREAM_FLAGS,
  VPPCOM_ATTR_GET_APP_PROTO_ERR_CODE,
  VPPCOM_ATTR_SET_APP_PROTO_ERR_CODE,
  /* Hostloom's own */
  VPPCOM_ATTR_GET_LINGER = 64, /* int32_t seconds, -1 = off */
  VPPCOM_ATTR_SET_LINGER,
  VPPCOM_ATTR_GET_USER_TIMEOUT, /* uint32_t milliseconds */
  VPPCOM_ATTR_SET_USER_TIMEOUT,
  VPPCOM_ATTR_GET_CONGESTION, /* char[16] */
  VPPCOM_ATTR_SET_CONGESTION,
  /* Of TLS and DTLS, before listen or connect */
  VPPCOM_ATTR_SET_TLS_SERVER_NAME, /* char[], buflen bytes: to ask for, and to find in the
                                      certificate; without one that is the peer's address */
  VPPCOM_ATTR_SET_TLS_ALPN,        /* char[]: names, each behind a byte of length (RFC 7301) */
  VPPCOM_ATTR_SET_TLS_VERIFY,      /* uint32_t: of the peer's certificate 0 nothing is asked,
                                      1 it is checked if there is one, 2 it must be there */
  VPPCOM_ATTR_SET_TLS_TRUST,       /* char[]: PEM, certificates to believe instead of the host's */
  /* Of an open session; buflen becomes the length, and there is no end mark. These ask the daemon.
   */
  VPPCOM_ATTR_GET_TLS_VERSION,     /* char[]: "TLSv1.3" */
  VPPCOM_ATTR_GET_TLS_CIPHER,      /* char[] */
  VPPCOM_ATTR_GET_TLS_ALPN,        /* char[]: length 0, none */
  VPPCOM_ATTR_GET_TLS_SERVER_NAME, /* char[]: that the client has asked for */
  VPPCOM_ATTR_GET_TLS_PEER_CERT,   /* uint8_t[]: DER; length 0, none */
  VPPCOM_ATTR_GET_TLS_RESUMED,     /* uint32_t */
  VPPCOM_ATTR_GET_TLS_VERIFIED,    /* uint32_t: the peer's certificate was asked for, and is good */
  VPPCOM_ATTR_GET_MOST_PAYLOAD,    /* uint32_t, of DTLS: bytes that one write takes on its path now;
                                      a longer one is EMSGSIZE */
  VPPCOM_ATTR_GET_TLS_EARLY_DATA,  /* uint32_t: 0 none; 1 what was received so far came before the
                                      handshake was done, which it is not yet, and may have been
                                      sent by somebody who recorded it (RFC 8446 section 8); 2 it
                                      came so, and the handshake is done, which is an event as
                                      bytes are: who waits by EPOLLET with some unread hears */
  /* Of a listener of TLS, before listen; EINVAL on one that listens. Not for DTLS. */
  VPPCOM_ATTR_SET_TLS_EARLY_DATA, /* uint32_t: bytes of a client that are taken before its handshake
                                     is done; 0 none; at most 1 MB; none where clients are asked
                                     for certificates. Requests in them may be carried out twice
                                     (RFC 8446 section 8) */
  /* Of TLS and DTLS, before listen or connect */
  VPPCOM_ATTR_SET_TLS_PROFILE, /* char[], buflen bytes: the name of a `profile` in `tls { }` of the
                                  daemon's start-up file: versions, ciphers, groups. EINVAL by
                                  listen or connect: there is none */
  /* Of VPPCOM_PROTO_UDP */
  VPPCOM_ATTR_GET_ENDPT_TLVS, /* uint32_t: VPPCOM_ENDPT_TLV_*, 0 at first */
  VPPCOM_ATTR_SET_ENDPT_TLVS, /* what vppcom_session_recvfrom writes to its endpoint's app_tlvs */
} vppcom_attr_op_t;

#define VPPCOM_ENDPT_TLV_UDP_SEGMENT 1 /* one read may return several datagrams of that size */
#define VPPCOM_ENDPT_TLV_IP_PKTINFO 2

#pragma GCC visibility push(default)

/* --- Application and workers ----------------------------------------------------------------- */

/* Reads vcl.conf and the environment, attaches; the calling thread is worker 0. A null or empty
 * name becomes vcl_app_<pid>. EEXIST: called before. ECONNREFUSED: nobody listens on the attach
 * socket. */
int vppcom_app_create(const char* app_name);
/* The same from a structure; neither file nor environment is read. Zeros mean defaults. */
int vppcom_app_create_with_config(vppcom_cfg_t* cfg);
/* Closes everything and detaches. */
void vppcom_app_destroy(void);

/* Makes the calling thread a worker with queues of its own. EEXIST: it is one already, or the limit
 * (max-workers) is reached. */
int vppcom_worker_register(void);
/* Closes the sessions of the calling thread's worker, and the worker. */
void vppcom_worker_unregister(void);
int vppcom_worker_index(void);
void vppcom_worker_index_set(int index);
/* An epoll fd that becomes readable when the worker's message queue has news. Call any vppcom
 * function that waits, with timeout 0, to process them. Owned by the library. */
int vppcom_worker_mqs_epfd(void);
int vppcom_mq_epoll_fd(void); /* the same; older name */
/* 1 while the daemon is gone. */
int vppcom_worker_is_detached(void);

/* PEM: the certificate with its chain, and its key. A number above 0, for VPPCOM_ATTR_SET_CKPAIR;
 * the application's, as long as it is attached. Set on a session that listens, one or several (an
 * array) take the place of those it had: who connects from then on meets them. */
int vppcom_add_cert_key_pair(vppcom_cert_key_pair_t* ckpair);
/* ENOENT: none of the application's. Listeners and sessions that have it keep it. */
int vppcom_del_cert_key_pair(uint32_t ckpair_index);

int vppcom_unformat_proto(uint8_t* proto, char* proto_str);
const char* vppcom_proto_str(vppcom_proto_t proto);
const char* vppcom_retval_str(int retval);

/* --- Sessions -------------------------------------------------------------------------------- */

/* Local only. Returns a handle. */
int vppcom_session_create(uint8_t proto, uint8_t is_nonblocking);
int vppcom_session_bind(uint32_t session_handle, vppcom_endpt_t* ep);
/* q_len is the backlog. Waits for the daemon's answer. */
int vppcom_session_listen(uint32_t session_handle, uint32_t q_len);
/* flags: O_NONBLOCK for the new session. ep may be null; otherwise ep->ip has 16 bytes. */
int vppcom_session_accept(uint32_t session_handle, vppcom_endpt_t* client_ep, uint32_t flags);
int vppcom_session_connect(uint32_t session_handle, vppcom_endpt_t* server_ep);
int vppcom_session_stream_connect(uint32_t session_handle, uint32_t parent_session_handle);
int vppcom_session_read(uint32_t session_handle, void* buf, size_t n);
int vppcom_session_write(uint32_t session_handle, void* buf, size_t n);
/* As write; the last segment carries PSH. */
int vppcom_session_write_msg(uint32_t session_handle, void* buf, size_t n);
/* flags: 0 or MSG_PEEK. After VPPCOM_ATTR_SET_ENDPT_TLVS ep->app_tlvs has room for what was asked
 * (10 bytes for VCL_UDP_SEGMENT, 12 or of IPv6 24 for VCL_IP_PKTINFO), else EINVAL and nothing is
 * read; app_tlv_len becomes the length of what came. Before it nobody looks at them. After
 * VPPCOM_ATTR_SET_IP_PKTINFO VPPCOM_ATTR_GET_LCL_ADDR says where the last one went. */
int vppcom_session_recvfrom(uint32_t session_handle, void* buffer, uint32_t buflen, int flags,
                            vppcom_endpt_t* ep);
/* ep->app_tlvs: VCL_UDP_SEGMENT, VCL_IP_PKTINFO; other types are skipped. EINVAL: the list makes no
 * sense. */
int vppcom_session_sendto(uint32_t session_handle, void* buffer, uint32_t buflen, int flags,
                          vppcom_endpt_t* ep);
/* Zero copy: up to n_segments views of at most max_bytes unread bytes; returns the bytes they hold.
 * They stay valid until vppcom_session_free_segments releases them. */
int vppcom_session_read_segments(uint32_t session_handle, vppcom_data_segment_t* ds,
                                 uint32_t n_segments, uint32_t max_bytes);
void vppcom_session_free_segments(uint32_t session_handle, uint32_t n_bytes);
/* Gather write, all or nothing. */
int vppcom_session_write_segments(uint32_t session_handle, vppcom_data_segment_t* ds,
                                  uint32_t n_segments);
int vppcom_session_shutdown(uint32_t session_handle, int how);
int vppcom_session_close(uint32_t session_handle);
int vppcom_session_terminate(uint32_t session_handle); /* with a reset */
int vppcom_session_index(vcl_session_handle_t session_handle);
int vppcom_session_worker(vcl_session_handle_t session_handle);
int vppcom_session_is_stream(uint32_t session_handle);
int vppcom_session_is_connectable_listener(uint32_t session_handle);
int vppcom_session_listener(uint32_t session_handle);
int vppcom_session_n_accepted(uint32_t session_handle);
int vppcom_session_get_error(uint32_t session_handle);
int vppcom_session_attr(uint32_t session_handle, uint32_t op, void* buffer, uint32_t* buflen);

/* --- Waiting --------------------------------------------------------------------------------- */

/* Bitmaps by session index of the current worker. A negative time means for ever. */
int vppcom_select(int n_bits, vcl_si_set* read_map, vcl_si_set* write_map, vcl_si_set* except_map,
                  double seconds);
int vppcom_poll(vcl_poll_t* vp, uint32_t n_sids, double seconds);
int vppcom_epoll_create(void);
int vppcom_epoll_ctl(uint32_t vep_handle, int op, uint32_t session_handle,
                     struct epoll_event* event);
int vppcom_epoll_wait(uint32_t vep_handle, struct epoll_event* events, int maxevents,
                      double milliseconds);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
