// What the three programs share: time, growing buffers, sockets and frames of HTTP/2.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

static inline int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * SECOND + time.tv_nsec;
}

// Bytes between `start` and `end`.
struct buffer {
  char *data;
  size_t start, end, size;
};

static inline size_t length_of(const struct buffer *buffer) { return buffer->end - buffer->start; }

// Makes room for so many bytes at the end.
static inline char *room(struct buffer *buffer, size_t length) {
  if (buffer->start == buffer->end) buffer->start = buffer->end = 0;
  if (buffer->end + length > buffer->size && buffer->start) {
    memmove(buffer->data, buffer->data + buffer->start, length_of(buffer));
    buffer->end -= buffer->start;
    buffer->start = 0;
  }
  if (buffer->end + length > buffer->size) {
    buffer->size = 2 * (buffer->end + length);
    buffer->data = realloc(buffer->data, buffer->size);
    if (!buffer->data) die("realloc");
  }
  return buffer->data + buffer->end;
}

static inline void append(struct buffer *buffer, const void *data, size_t length) {
  memcpy(room(buffer, length), data, length);
  buffer->end += length;
}

static inline void release(struct buffer *buffer) {
  free(buffer->data);
  memset(buffer, 0, sizeof *buffer);
}

static inline struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static inline void set(int socket, int level, int option, int value) {
  if (setsockopt(socket, level, option, &value, sizeof value)) die("setsockopt");
}

static inline int listen_on(int port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = loopback(port);
  set(listener, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) die("listen");
  return listener;
}

static inline void watch(int epoll, int operation, int socket, uint32_t events, void *whom) {
  struct epoll_event event = {.events = events, .data.ptr = whom};
  if (epoll_ctl(epoll, operation, socket, &event)) die("epoll_ctl");
}

// Frames of HTTP/2 (RFC 9113).

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { FRAME_HEAD = 9, UPDATE_AFTER = 1 << 20 };
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static inline uint32_t read32(const char *bytes) {
  uint32_t number;
  memcpy(&number, bytes, 4);
  return ntohl(number);
}

static inline void frame(struct buffer *out, int type, int flags, uint32_t stream,
                         const void *payload, size_t length) {
  uint8_t head[FRAME_HEAD] = {length >> 16, length >> 8, length, type, flags,
                              stream >> 24, stream >> 16, stream >> 8, stream};
  append(out, head, sizeof head);
  append(out, payload, length);
}

// The length of the first frame, head included, or 0 if it is not whole yet.
static inline size_t whole_frame(const struct buffer *in) {
  const uint8_t *head = (void *)(in->data + in->start);
  if (length_of(in) < FRAME_HEAD) return 0;
  size_t length = FRAME_HEAD + (head[0] << 16 | head[1] << 8 | head[2]);
  return length_of(in) < length ? 0 : length;
}

static inline void window_update(struct buffer *out, uint32_t by) {
  uint32_t payload = htonl(by);
  frame(out, WINDOW_UPDATE, 0, 0, &payload, 4);
}

// What both sides say first: many streams, and windows that no peer will use up.
static inline void begin_http2(struct buffer *out) {
  uint8_t settings[] = {0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 16, 0, 0, 4, 0x3f, 0xff, 0xff, 0xff};
  frame(out, SETTINGS, 0, 0, settings, sizeof settings);
  window_update(out, 0x3fff0000);
}

// Appends a header field as a literal that is not indexed, its name given in full.
static inline char *field(char *at, const char *name, const char *value) {
  *at++ = 0;
  *at++ = strlen(name);
  at = stpcpy(at, name);
  *at++ = strlen(value);
  return stpcpy(at, value);
}
