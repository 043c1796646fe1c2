/*
 * A client of the Ringwarden driver server in one header, for C11 on Linux. It follows docs/protocol.md, whose sections the comments name.
 *
 *   #include "ringwarden.h"                      before other headers: it asks the C library for what it needs
 *
 *   rw_session session;
 *   rw_lease lease;
 *   rw_queue queue;
 *   if (rw_connect(&session, "/run/ringwarden/ringwarden.sock", "alice") == 0 && rw_open_device(&session, "nvme0", &lease) == 0 &&
 *       rw_open_queue(&session, &lease, 64, &queue) == 0 && rw_read(&session, &queue, 0, 0, 1, block) == 0)
 *     ...
 *   else
 *     fprintf(stderr, "%s\n", session.error);
 *   rw_disconnect(&session);                     ends everything: queue, lease, memory
 *
 * A program that `ringwarden run` starts has session and lease already: rw_inherit takes them over.
 *
 * Two ways to do I/O: rw_read and rw_write send the data with the message and wait for the answer; the rings (rw_share_queue, rw_ring_...) need no message,
 * and no system call while both sides are busy.
 *
 * Every function returns 0, or -1 with the reason in `session.error`. Nothing here is for two threads at once. Events are read and dropped.
 */
#ifndef RINGWARDEN_H
#define RINGWARDEN_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "entries and completions are little-endian: this header copies them as they are"
#endif
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "the indices of the rings have to be lock-free");

/* ---- Request entry, completion, operations -------------------------------------------------------------------------------------------------- */

enum { RW_READ = 1, RW_WRITE = 2, RW_FLUSH = 3, RW_WRITE_ZEROES = 4, RW_COMPARE = 5, RW_DEALLOCATE = 6 };
enum { RW_FORCE_UNIT_ACCESS = 1, RW_INLINE = 2 };
/* Bytes of a message, in either direction. */
enum { RW_MESSAGE_BYTES = 4194304 };

typedef struct {
  uint8_t operation;
  uint8_t flags;
  uint16_t share;      /* index of the share */
  uint32_t generation; /* of the lease */
  uint64_t tag;        /* yours: comes back in the completion; unique among the requests in flight on the queue */
  uint64_t lba;        /* first block, from the start of the share */
  uint32_t blocks;
  uint32_t region; /* handle of the memory */
  uint64_t offset; /* bytes from its start, a multiple of 4 */
  uint32_t length; /* bytes of data: blocks x block_bytes */
  uint32_t lease;
  uint16_t queue;
  uint8_t reserved[14]; /* zero */
} rw_entry;
_Static_assert(sizeof(rw_entry) == 64, "a request entry has 64 bytes");

typedef struct {
  uint64_t tag;
  uint16_t code;   /* 0: done; otherwise one of the codes of docs/protocol.md */
  uint16_t field;  /* which field of the entry offended */
  uint16_t status; /* what the device said, with code 200 */
  uint16_t queue;
  uint64_t value; /* what the field held */
  uint32_t generation;
  uint32_t bytes; /* of data that were transferred */
} rw_completion;
_Static_assert(sizeof(rw_completion) == 32, "a completion has 32 bytes");

/* ---- What a client holds -------------------------------------------------------------------------------------------------------------------- */

typedef struct {
  int fd;
  uint64_t last_id, last_tag;
  uint8_t *message; /* the last one that came */
  size_t length, room;
  char error[512];
} rw_session;

typedef struct {
  uint32_t handle, generation;
  uint32_t block_bytes, max_blocks; /* of share 0 */
  uint64_t blocks;                  /* of share 0 */
} rw_lease;

typedef struct {
  const rw_lease *lease;
  uint16_t index;
  uint32_t entries;
  uint32_t request_bytes, completion_bytes;
} rw_queue;

static inline int rw_fail(rw_session *session, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(session->error, sizeof session->error, format, values);
  va_end(values);
  return -1;
}

static inline int rw_fail_errno(rw_session *session, const char *what) { return rw_fail(session, "%s: %s", what, strerror(errno)); }

/* ---- msgpack: what is sent ------------------------------------------------------------------------------------------------------------------ */

typedef struct {
  uint8_t *data;
  size_t length, room;
} rw_out;

/* Memory that cannot be had ends the program: there is nothing sensible that a message half-written could be used for. */
static inline void *rw_grow(void *memory, size_t bytes) {
  void *grown = realloc(memory, bytes);
  if (grown == NULL) abort();
  return grown;
}

static inline void rw_put_bytes(rw_out *out, const void *bytes, size_t length) {
  if (length > out->room - out->length) {
    if (length > SIZE_MAX / 4) abort();
    out->room = 2 * out->length + 2 * length;
    out->data = (uint8_t *)rw_grow(out->data, out->room);
  }
  if (length > 0) memcpy(out->data + out->length, bytes, length);
  out->length += length;
}

/* A type byte, and a number of `bytes` bytes behind it, the most significant first. */
static inline void rw_put_head(rw_out *out, uint8_t type, uint64_t number, int bytes) {
  uint8_t head[9] = {type};
  for (int i = 0; i < bytes; i++) head[1 + i] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
  rw_put_bytes(out, head, 1 + (size_t)bytes);
}

static inline void rw_put_number(rw_out *out, uint64_t number) {
  if (number < 0x80) rw_put_head(out, (uint8_t)number, 0, 0);
  else if (number <= UINT32_MAX) rw_put_head(out, 0xce, number, 4);
  else rw_put_head(out, 0xcf, number, 8);
}

static inline void rw_put_text(rw_out *out, const char *text) {
  rw_put_head(out, 0xda, strlen(text), 2);
  rw_put_bytes(out, text, strlen(text));
}

static inline void rw_put_binary(rw_out *out, const void *bytes, size_t length) {
  rw_put_head(out, 0xc6, length, 4);
  rw_put_bytes(out, bytes, length);
}

/* A message of `fields` fields beside its type. */
static inline void rw_put_message(rw_out *out, const char *type, int fields) {
  rw_put_head(out, (uint8_t)(0x80 + 1 + fields), 0, 0);
  rw_put_text(out, "type");
  rw_put_text(out, type);
}

/* ---- msgpack: what came --------------------------------------------------------------------------------------------------------------------- */

enum rw_kind { RW_NONE, RW_NUMBER, RW_TEXT, RW_BINARY, RW_BOOLEAN, RW_ARRAY, RW_MAP };

/* A value, and where the next one begins. Of an array or a map, `length` is its number of elements or pairs, and `next` the first of them. */
typedef struct {
  enum rw_kind kind;
  uint64_t number;
  const uint8_t *bytes;
  size_t length;
  const uint8_t *next;
} rw_value;

static inline uint64_t rw_big_endian(const uint8_t *at, int bytes) {
  uint64_t number = 0;
  for (int i = 0; i < bytes; i++) number = number << 8 | at[i];
  return number;
}

/* Reads the value at `at`. Its kind is RW_NONE when there is none, or one that this protocol does not have. */
static inline rw_value rw_get(const uint8_t *at, const uint8_t *end) {
  rw_value value = {.kind = RW_NONE};
  if (at == NULL || at >= end) return value;
  const uint8_t type = *at++;
  int width = 0; /* bytes of the number behind the type */
  if (type < 0x80) value.kind = RW_NUMBER, value.number = type;
  else if (type < 0x90) value.kind = RW_MAP, value.number = type & 15;
  else if (type < 0xa0) value.kind = RW_ARRAY, value.number = type & 15;
  else if (type < 0xc0) value.kind = RW_TEXT, value.number = type & 31;
  else if (type == 0xc2 || type == 0xc3) value.kind = RW_BOOLEAN, value.number = type & 1;
  else if (type >= 0xc4 && type <= 0xc6) value.kind = RW_BINARY, width = 1 << (type - 0xc4);
  else if (type == 0xcb) value.kind = RW_NUMBER, width = 8;
  else if (type >= 0xcc && type <= 0xcf) value.kind = RW_NUMBER, width = 1 << (type - 0xcc);
  else if (type >= 0xd9 && type <= 0xdb) value.kind = RW_TEXT, width = 1 << (type - 0xd9);
  else if (type == 0xdc || type == 0xdd) value.kind = RW_ARRAY, width = type == 0xdc ? 2 : 4;
  else if (type == 0xde || type == 0xdf) value.kind = RW_MAP, width = type == 0xde ? 2 : 4;
  if (width > end - at) return (rw_value){.kind = RW_NONE};
  if (width > 0) value.number = rw_big_endian(at, width);
  at += width;
  if (type == 0xcb) {
    /* The server sends numbers above 2^32-1 as float64. */
    double number;
    memcpy(&number, &value.number, sizeof number);
    if (!(number >= 0 && number <= 9007199254740991.0)) return (rw_value){.kind = RW_NONE};
    value.number = (uint64_t)number;
  }
  if (value.kind != RW_NUMBER && value.kind != RW_BOOLEAN) {
    if (value.number > (uint64_t)(end - at)) return (rw_value){.kind = RW_NONE};
    value.length = (size_t)value.number;
    value.bytes = at;
    if (value.kind == RW_TEXT || value.kind == RW_BINARY) at += value.length;
  }
  value.next = at;
  return value;
}

/* Where the value after this one begins; NULL when it cannot be read. */
static inline const uint8_t *rw_after(rw_value value, const uint8_t *end, int depth) {
  if (value.kind == RW_NONE || depth > 8) return NULL;
  const uint8_t *at = value.next;
  size_t inside = value.kind == RW_ARRAY ? value.length : value.kind == RW_MAP ? 2 * value.length : 0;
  for (; inside > 0 && at != NULL; inside--) at = rw_after(rw_get(at, end), end, depth + 1);
  return at;
}

/* The field of a map. */
static inline rw_value rw_field_of(rw_value map, const uint8_t *end, const char *name) {
  const uint8_t *at = map.next;
  for (size_t pair = 0; map.kind == RW_MAP && pair < map.length; pair++) {
    const rw_value key = rw_get(at, end);
    const rw_value value = rw_get(key.next, end);
    if (key.kind == RW_TEXT && key.length == strlen(name) && memcmp(key.bytes, name, key.length) == 0) return value;
    at = rw_after(value, end, 0);
  }
  return (rw_value){.kind = RW_NONE};
}

static inline const uint8_t *rw_end(const rw_session *session) { return session->message + session->length; }

/* The field of the message that came last. */
static inline rw_value rw_field(const rw_session *session, const char *name) {
  return rw_field_of(rw_get(session->message, rw_end(session)), rw_end(session), name);
}

static inline bool rw_is(rw_value value, const char *text) {
  return value.kind == RW_TEXT && value.length == strlen(text) && memcmp(value.bytes, text, value.length) == 0;
}

/* ---- Connection: WebSocket frames over a Unix socket ---------------------------------------------------------------------------------------- */

static inline int rw_write_all(rw_session *session, const uint8_t *data, size_t length) {
  while (length > 0) {
    const ssize_t sent = send(session->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return rw_fail_errno(session, "send");
    data += sent;
    length -= (size_t)sent;
  }
  return 0;
}

static inline int rw_read_all(rw_session *session, uint8_t *into, size_t length) {
  while (length > 0) {
    const ssize_t got = recv(session->fd, into, length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return rw_fail_errno(session, "recv");
    if (got == 0) return rw_fail(session, "the server closed the connection");
    into += got;
    length -= (size_t)got;
  }
  return 0;
}

enum { RW_BINARY_FRAME = 2, RW_CLOSE = 8, RW_PING = 9, RW_PONG = 10 };

/* A frame of a client has to be masked. The mask protects proxies between the two, of which a Unix socket has none: zero is as good as any. */
static inline int rw_send_frame(rw_session *session, int opcode, const uint8_t *data, size_t length) {
  rw_out head = {0};
  const uint8_t first = (uint8_t)(0x80 | opcode);
  rw_put_bytes(&head, &first, 1);
  if (length < 126) rw_put_head(&head, (uint8_t)(0x80 | length), 0, 0);
  else if (length <= UINT16_MAX) rw_put_head(&head, 0x80 | 126, length, 2);
  else rw_put_head(&head, 0x80 | 127, length, 8);
  rw_put_bytes(&head, "\0\0\0\0", 4);
  rw_put_bytes(&head, data, length);
  const int result = rw_write_all(session, head.data, head.length);
  free(head.data);
  return result;
}

/* Sends the message and frees it. */
static inline int rw_send(rw_session *session, rw_out *out) {
  const int result = rw_send_frame(session, RW_BINARY_FRAME, out->data, out->length);
  free(out->data);
  *out = (rw_out){0};
  return result;
}

/* Waits for the next message, which may come in several frames. Pings are answered on the way. */
static inline int rw_receive(rw_session *session) {
  session->length = 0;
  for (bool complete = false; !complete;) {
    uint8_t head[2], wide[8];
    if (rw_read_all(session, head, 2) != 0) return -1;
    const int opcode = head[0] & 15;
    uint64_t length = head[1] & 127;
    if (length >= 126) {
      const int bytes = length == 126 ? 2 : 8;
      if (rw_read_all(session, wide, (size_t)bytes) != 0) return -1;
      length = rw_big_endian(wide, bytes);
    }
    if (length > RW_MESSAGE_BYTES - session->length) return rw_fail(session, "the server sent more than a message may have");
    if (session->length + length > session->room) {
      session->room = session->length + (size_t)length;
      session->message = (uint8_t *)rw_grow(session->message, session->room);
    }
    /* A control frame may come between the frames of a message: it is read behind what is there of the message, and forgotten. */
    uint8_t *data = session->message + session->length;
    if (length > 0 && rw_read_all(session, data, (size_t)length) != 0) return -1;
    if (opcode == RW_CLOSE) {
      if (length < 2) return rw_fail(session, "the server ended the session");
      return rw_fail(session, "the server ended the session: %u %.*s", data[0] << 8 | data[1], (int)length - 2, (const char *)data + 2);
    }
    if (opcode == RW_PING && rw_send_frame(session, RW_PONG, data, (size_t)length) != 0) return -1;
    if (opcode < RW_CLOSE) {
      session->length += (size_t)length;
      complete = (head[0] & 0x80) != 0;
    }
  }
  return 0;
}

/* Puts the error message that came last into `session->error`. */
static inline int rw_refused(rw_session *session) {
  const rw_value name = rw_field(session, "name"), field = rw_field(session, "field"), value = rw_field(session, "value"), why = rw_field(session, "message");
  return rw_fail(session, "refused with %llu %.*s: %.*s (%.*s: %.*s)", (unsigned long long)rw_field(session, "code").number, (int)name.length,
                 (const char *)name.bytes, (int)why.length, (const char *)why.bytes, (int)field.length, (const char *)field.bytes, (int)value.length,
                 (const char *)value.bytes);
}

/* A request of `fields` fields beside its type and id. Finish it with the fields, then rw_ask. */
static inline rw_out rw_request(rw_session *session, const char *type, int fields) {
  rw_out out = {0};
  rw_put_message(&out, type, 1 + fields);
  rw_put_text(&out, "id");
  rw_put_number(&out, ++session->last_id);
  return out;
}

/* Waits for the answer to the last request, which then is the message that came last. */
static inline int rw_answer(rw_session *session) {
  for (;;) {
    if (rw_receive(session) != 0) return -1;
    const rw_value type = rw_field(session, "type");
    if (rw_is(type, "error")) return rw_refused(session);
    if (rw_is(type, "answer") && rw_field(session, "id").number == session->last_id) return 0;
  }
}

static inline int rw_ask(rw_session *session, rw_out *request) { return rw_send(session, request) == 0 ? rw_answer(session) : -1; }

static inline int rw_socket(rw_session *session, const char *path, size_t length) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (length >= sizeof address.sun_path) return rw_fail(session, "%.*s: longer than the path of a socket may be", (int)length, path);
  memcpy(address.sun_path, path, length);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
  rw_fail(session, "%.*s: %s", (int)length, path, strerror(errno));
  if (fd >= 0) close(fd);
  return -1;
}

/* The handshake of WebSocket. Its key protects from proxies that answer from memory: here it is the example of RFC 6455, and so is the answer to it. */
static inline int rw_handshake(rw_session *session) {
  static const char request[] =
      "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ringwarden.v1\r\n\r\n";
  if (rw_write_all(session, (const uint8_t *)request, sizeof request - 1) != 0) return -1;
  char head[2048] = "";
  size_t length = 0;
  /* Byte by byte: what follows the empty line is a frame already. */
  while (strstr(head, "\r\n\r\n") == NULL) {
    if (length == sizeof head - 1) return rw_fail(session, "the server's handshake has no end");
    if (rw_read_all(session, (uint8_t *)head + length, 1) != 0) return -1;
    head[++length] = '\0';
  }
  if (strncmp(head, "HTTP/1.1 101", 12) != 0 || strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == NULL) {
    return rw_fail(session, "not a Ringwarden server: %.*s", (int)strcspn(head, "\r"), head);
  }
  return 0;
}

/* Ends the session. Whatever it held is gone. Keeps `error`. */
static inline void rw_disconnect(rw_session *session) {
  static const uint8_t normal[] = {1000 >> 8, 1000 & 255};
  char kept[sizeof session->error];
  memcpy(kept, session->error, sizeof kept);
  if (session->fd >= 0) {
    rw_send_frame(session, RW_CLOSE, normal, sizeof normal);
    close(session->fd);
  }
  free(session->message);
  session->fd = -1;
  session->message = NULL;
  session->length = session->room = 0;
  memcpy(session->error, kept, sizeof kept);
}

/* Connects to the server's Unix socket, says hello as a tenant, and makes a domain for memory. */
static inline int rw_connect(rw_session *session, const char *path, const char *tenant) {
  *session = (rw_session){.fd = -1};
  session->fd = rw_socket(session, path, strlen(path));
  if (session->fd < 0) return -1;
  if (rw_handshake(session) == 0) {
    rw_out hello = rw_request(session, "hello", 2);
    rw_put_text(&hello, "version");
    rw_put_number(&hello, 1);
    rw_put_text(&hello, "tenant");
    rw_put_text(&hello, tenant);
    if (rw_ask(session, &hello) == 0) {
      rw_out domain = rw_request(session, "setDomain", 0);
      if (rw_ask(session, &domain) == 0) return 0;
    }
  }
  rw_disconnect(session);
  return -1;
}

/* ---- Device, queue -------------------------------------------------------------------------------------------------------------------------- */

/* Reads the answer to openDevice. */
static inline int rw_read_lease(rw_session *session, const char *device, rw_lease *lease) {
  const uint8_t *end = rw_end(session);
  const rw_value shares = rw_field(session, "shares");
  if (shares.kind != RW_ARRAY || shares.length == 0) return rw_fail(session, "%s: no share on it", device);
  const rw_value share = rw_get(shares.next, end);
  *lease = (rw_lease){
      .handle = (uint32_t)rw_field(session, "lease").number,
      .generation = (uint32_t)rw_field(session, "generation").number,
      .block_bytes = (uint32_t)rw_field_of(share, end, "blockBytes").number,
      .max_blocks = (uint32_t)rw_field_of(share, end, "maxBlocks").number,
      .blocks = rw_field_of(share, end, "blocks").number,
  };
  if (lease->block_bytes == 0 || lease->max_blocks == 0) return rw_fail(session, "%s: an answer without shares", device);
  return 0;
}

/* Opens a device that others may use, too, with hardware queues that leases share. */
static inline int rw_open_device(rw_session *session, const char *device, rw_lease *lease) {
  rw_out request = rw_request(session, "openDevice", 3);
  rw_put_text(&request, "device");
  rw_put_text(&request, device);
  rw_put_text(&request, "mode");
  rw_put_text(&request, "shared");
  rw_put_text(&request, "queues");
  rw_put_text(&request, "shared");
  return rw_ask(session, &request) == 0 ? rw_read_lease(session, device, lease) : -1;
}
/* Whether `ringwarden run` opened a session for this program, and nobody took it yet. */
static inline bool rw_is_launched(void) {
  const char *process = getenv("RINGWARDEN_PID");
  return getenv("RINGWARDEN_FD") != NULL && process != NULL && strtoll(process, NULL, 10) == getpid();
}

/* Takes over that session and its lease, in the place of rw_connect and rw_open_device. The programs that this one starts do not get it. */
static inline int rw_inherit(rw_session *session, rw_lease *lease) {
  *session = (rw_session){.fd = -1};
  if (!rw_is_launched()) return rw_fail(session, "this program was not started by \"ringwarden run\"");
  const int fd = atoi(getenv("RINGWARDEN_FD"));
  const char *device = getenv("RINGWARDEN_DEVICE");
  unsetenv("RINGWARDEN_FD");
  unsetenv("RINGWARDEN_PID");
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return rw_fail_errno(session, "RINGWARDEN_FD");
  session->fd = fd;
  /* The launcher sent hello, setDomain and openDevice, with the ids 1 to 3; their answers wait to be read. */
  while (session->last_id < 3) {
    session->last_id++;
    if (rw_answer(session) != 0) break;
    if (session->last_id == 3 && rw_read_lease(session, device == NULL ? "device" : device, lease) == 0) return 0;
  }
  rw_disconnect(session);
  return -1;
}

/* A queue for up to `entries` requests in flight: a power of two from 2 to 1024. The lease has to stay where it is. */
static inline int rw_open_queue(rw_session *session, const rw_lease *lease, uint32_t entries, rw_queue *queue) {
  rw_out request = rw_request(session, "openQueue", 2);
  rw_put_text(&request, "lease");
  rw_put_number(&request, lease->handle);
  rw_put_text(&request, "entries");
  rw_put_number(&request, entries);
  if (rw_ask(session, &request) != 0) return -1;
  *queue = (rw_queue){
      .lease = lease,
      .index = (uint16_t)rw_field(session, "queue").number,
      .entries = (uint32_t)rw_field(session, "entries").number,
      .request_bytes = (uint32_t)rw_field(session, "requestBytes").number,
      .completion_bytes = (uint32_t)rw_field(session, "completionBytes").number,
  };
  if (rw_field(session, "ringVersion").number != 1) return rw_fail(session, "rings of a version that this header does not know");
  return 0;
}

/* A request for blocks of a share: `region` and `offset` say where the data are, unless they travel with the message (RW_INLINE in `flags`). */
static inline rw_entry rw_transfer(const rw_queue *queue, int operation, uint16_t share, uint64_t lba, uint32_t blocks) {
  return (rw_entry){
      .operation = (uint8_t)operation,
      .share = share,
      .generation = queue->lease->generation,
      .lba = lba,
      .blocks = blocks,
      .length = blocks * queue->lease->block_bytes,
      .lease = queue->lease->handle,
      .queue = queue->index,
  };
}

static inline int rw_check(rw_session *session, const rw_completion *completion) {
  if (completion->code == 0) return 0;
  return rw_fail(session, "request %llu ended with code %u (field %u, value %llu, status 0x%x)", (unsigned long long)completion->tag, completion->code,
                 completion->field, (unsigned long long)completion->value, completion->status);
}

/* ---- Inline data: one request, its data with the message ------------------------------------------------------------------------------------ */

static inline int rw_submit_inline(rw_session *session, const rw_queue *queue, rw_entry entry, const void *data, void *into) {
  entry.flags |= RW_INLINE;
  entry.tag = ++session->last_tag;
  rw_out submit = {0};
  rw_put_message(&submit, "submit", data == NULL ? 3 : 4);
  rw_put_text(&submit, "lease");
  rw_put_number(&submit, entry.lease);
  rw_put_text(&submit, "queue");
  rw_put_number(&submit, entry.queue);
  rw_put_text(&submit, "entries");
  rw_put_binary(&submit, &entry, sizeof entry);
  if (data != NULL) {
    rw_put_text(&submit, "data");
    rw_put_binary(&submit, data, entry.length);
  }
  if (rw_send(session, &submit) != 0) return -1;
  for (;;) {
    if (rw_receive(session) != 0) return -1;
    const rw_value type = rw_field(session, "type"), entries = rw_field(session, "entries"), read = rw_field(session, "data");
    if (rw_is(type, "error")) return rw_refused(session);
    if (!rw_is(type, "completions") || rw_field(session, "queue").number != queue->index) continue;
    rw_completion completion;
    if (entries.kind != RW_BINARY || entries.length != sizeof completion) return rw_fail(session, "not the completion of one request");
    memcpy(&completion, entries.bytes, sizeof completion);
    if (completion.tag != entry.tag) return rw_fail(session, "the completion of another request");
    if (rw_check(session, &completion) != 0) return -1;
    if (into == NULL) return 0;
    if (read.kind != RW_BINARY || read.length != entry.length) return rw_fail(session, "a completion without its data");
    memcpy(into, read.bytes, read.length);
    return 0;
  }
}

/* Reads blocks of a share. At most `max_blocks` of the lease, and 4063232 bytes. */
static inline int rw_read(rw_session *session, const rw_queue *queue, uint16_t share, uint64_t lba, uint32_t blocks, void *into) {
  return rw_submit_inline(session, queue, rw_transfer(queue, RW_READ, share, lba, blocks), NULL, into);
}

/* Writes blocks of a share. Durable after a flush, or with RW_FORCE_UNIT_ACCESS. */
static inline int rw_write(rw_session *session, const rw_queue *queue, uint16_t share, uint64_t lba, uint32_t blocks, const void *data) {
  return rw_submit_inline(session, queue, rw_transfer(queue, RW_WRITE, share, lba, blocks), data, NULL);
}

/* ---- Shared memory: regions and rings ------------------------------------------------------------------------------------------------------- */

/* Memory that requests can name, mapped into this process. */
typedef struct {
  uint32_t handle;
  size_t bytes; /* whole pages */
  uint8_t *memory;
} rw_region;

/*
 * The rings of a queue. The order of things:
 *
 *   while (rw_ring_put(&ring, &entry)) ...        as many as there are, and as there is room for
 *   rw_ring_commit(&ring);                        shows them to the server
 *   while (rw_ring_take(&ring, &completion)) ...  what has ended
 *   rw_ring_wait(&session, &ring);                sleeps until something has
 *
 * The server may end the lease at any time. It then takes the completion ring away: who touches it gets SIGBUS.
 */
typedef struct {
  rw_entry *entries;
  const rw_completion *completions;
  _Atomic uint32_t *request_tail, *completion_head, *needs_wakeup;
  const _Atomic uint32_t *request_head, *completion_tail, *server_needs_wakeup;
  uint32_t size;
  uint32_t tail;       /* after the last request put */
  uint32_t head;       /* after the last completion taken */
  uint32_t known_tail; /* completions up to here are there */
  int doorbell;
  uint8_t *request_memory, *completion_memory;
  size_t request_bytes, completion_bytes;
} rw_ring;

/* Fetches descriptors with the ticket of the answer that came last. Returns the connection that they came on, or -1. */
static inline int rw_fetch(rw_session *session, int *descriptors, size_t count) {
  const rw_value ticket = rw_field(session, "ticket"), path = rw_field(session, "path");
  if (ticket.kind != RW_BINARY || path.kind != RW_TEXT) return rw_fail(session, "an answer without a ticket");
  const int fd = rw_socket(session, (const char *)path.bytes, path.length);
  if (fd < 0) return -1;
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(2 * sizeof(int))];
  } control = {0};
  uint8_t status = 0;
  struct iovec part = {.iov_base = &status, .iov_len = 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t got = send(fd, ticket.bytes, ticket.length, MSG_NOSIGNAL);
  if (got >= 0) got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  const struct cmsghdr *header = got == 1 ? CMSG_FIRSTHDR(&message) : NULL;
  const bool carries = header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS;
  if (carries && status == 0 && header->cmsg_len == CMSG_LEN(count * sizeof(int))) {
    memcpy(descriptors, CMSG_DATA(header), count * sizeof(int));
    return fd;
  }
  close(fd);
  if (got < 0) return rw_fail_errno(session, "descriptor socket");
  return rw_fail(session, "the ticket was refused with status %u", status);
}

static inline void *rw_map(rw_session *session, int fd, size_t bytes, int protection) {
  void *memory = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);
  if (memory != MAP_FAILED) return memory;
  rw_fail_errno(session, "mmap");
  return NULL;
}

/* Makes a region of zeroed memory and maps it. Needs an open lease: a region that is shared can be used on the devices that are open by then. */
static inline int rw_map_region(rw_session *session, size_t bytes, rw_region *region) {
  rw_out request = rw_request(session, "mapMemory", 1);
  rw_put_text(&request, "bytes");
  rw_put_number(&request, bytes);
  if (rw_ask(session, &request) != 0) return -1;
  *region = (rw_region){.handle = (uint32_t)rw_field(session, "region").number, .bytes = (size_t)rw_field(session, "bytes").number};
  request = rw_request(session, "shareRegion", 1);
  rw_put_text(&request, "region");
  rw_put_number(&request, region->handle);
  if (rw_ask(session, &request) != 0) return -1;
  int file;
  const int connection = rw_fetch(session, &file, 1);
  if (connection < 0) return -1;
  close(connection);
  region->memory = (uint8_t *)rw_map(session, file, region->bytes, PROT_READ | PROT_WRITE);
  close(file);
  if (region->memory == NULL) return -1;
  /* Nobody can get another mapping for writing from now on: only then can requests use the region. */
  request = rw_request(session, "sealRegion", 1);
  rw_put_text(&request, "region");
  rw_put_number(&request, region->handle);
  return rw_ask(session, &request);
}

/* Moves a queue that was not used yet to rings in shared memory. rw_read and rw_write are refused for it from then on. */
static inline int rw_share_queue(rw_session *session, const rw_queue *queue, rw_ring *ring) {
  rw_out request = rw_request(session, "shareQueue", 2);
  rw_put_text(&request, "lease");
  rw_put_number(&request, queue->lease->handle);
  rw_put_text(&request, "queue");
  rw_put_number(&request, queue->index);
  if (rw_ask(session, &request) != 0) return -1;
  int files[2];
  *ring = (rw_ring){.size = queue->entries, .request_bytes = queue->request_bytes, .completion_bytes = queue->completion_bytes};
  ring->doorbell = rw_fetch(session, files, 2);
  if (ring->doorbell < 0) return -1;
  uint8_t *requests = ring->request_memory = (uint8_t *)rw_map(session, files[0], ring->request_bytes, PROT_READ | PROT_WRITE);
  uint8_t *completions = ring->completion_memory = (uint8_t *)rw_map(session, files[1], ring->completion_bytes, PROT_READ);
  close(files[0]);
  close(files[1]);
  if (requests == NULL || completions == NULL) return -1;
  ring->request_tail = (_Atomic uint32_t *)(void *)requests;
  ring->completion_head = (_Atomic uint32_t *)(void *)(requests + 64);
  ring->needs_wakeup = (_Atomic uint32_t *)(void *)(requests + 128);
  ring->entries = (rw_entry *)(void *)(requests + 4096);
  ring->request_head = (const _Atomic uint32_t *)(void *)completions;
  ring->completion_tail = (const _Atomic uint32_t *)(void *)(completions + 64);
  ring->server_needs_wakeup = (const _Atomic uint32_t *)(void *)(completions + 128);
  ring->completions = (const rw_completion *)(void *)(completions + 4096);
  return 0;
}

/* One byte, which means nothing. A connection that is full wakes the server anyway, and one that has ended wakes nobody. */
static inline void rw_ring_ring(const rw_ring *ring) {
  const uint8_t byte = 1;
  const ssize_t sent = send(ring->doorbell, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)sent;
}

/* Call it after an index was stored, never before: the server sets its flag first and looks at the indices second. All accesses are sequentially consistent. */
static inline void rw_ring_wake_engine(const rw_ring *ring) {
  if (atomic_load(ring->server_needs_wakeup) == 1) rw_ring_ring(ring);
}

/* Writes a request; false when there is no room. The server sees it after rw_ring_commit. Its data are in a region, and its tag is one that is not in use. */
static inline bool rw_ring_put(rw_ring *ring, const rw_entry *entry) {
  if (ring->tail - atomic_load(ring->request_head) >= ring->size) return false;
  ring->entries[ring->tail & (ring->size - 1)] = *entry;
  ring->tail++;
  return true;
}

/* Shows the server what was put. Once for a batch. */
static inline void rw_ring_commit(rw_ring *ring) {
  atomic_store(ring->request_tail, ring->tail);
  rw_ring_wake_engine(ring);
}

/* Gives the server the slots of the completions that were taken. If it has requests of ours that it did not take, it may wait for those slots. */
static inline void rw_ring_make_room(rw_ring *ring) {
  atomic_store(ring->completion_head, ring->head);
  if (atomic_load(ring->server_needs_wakeup) == 1 && atomic_load(ring->request_head) != ring->tail) rw_ring_ring(ring);
}

/* Takes the oldest completion; false when there is none. */
static inline bool rw_ring_take(rw_ring *ring, rw_completion *completion) {
  if (ring->head == ring->known_tail) {
    if (ring->head != atomic_load(ring->completion_head)) rw_ring_make_room(ring);
    ring->known_tail = atomic_load(ring->completion_tail);
    if (ring->head == ring->known_tail) return false;
  }
  *completion = ring->completions[ring->head & (ring->size - 1)];
  ring->head++;
  return true;
}

/* Sleeps until there is a completion. Only with requests in flight. */
static inline int rw_ring_wait(rw_session *session, rw_ring *ring) {
  int result = 0;
  atomic_store(ring->needs_wakeup, 1);
  /* Once more, after the flag is set: what ended before the server could see it brings no wake-up. */
  while (result == 0 && atomic_load(ring->completion_tail) == ring->head) {
    uint8_t bytes[64];
    ssize_t got = recv(ring->doorbell, bytes, sizeof bytes, 0);
    /* All that is there: behind the last byte may be the end of the queue, after which the completion ring is not to be touched. */
    while (got > 0) got = recv(ring->doorbell, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got == 0) result = rw_fail(session, "the queue has ended");
    else if (errno != EINTR && errno != EAGAIN) result = rw_fail_errno(session, "doorbell");
  }
  atomic_store(ring->needs_wakeup, 0);
  return result;
}

/* Lets go of what rw_share_queue gave. The queue itself ends with its session. */
static inline void rw_ring_close(rw_ring *ring) {
  if (ring->doorbell >= 0) close(ring->doorbell);
  if (ring->request_memory != NULL) munmap(ring->request_memory, ring->request_bytes);
  if (ring->completion_memory != NULL) munmap(ring->completion_memory, ring->completion_bytes);
  *ring = (rw_ring){.doorbell = -1};
}

#endif
