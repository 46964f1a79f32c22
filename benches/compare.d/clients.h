// The connections of the clients, what they ask for over HTTP/1.1, HTTP/2 and WebSocket, and what
// becomes of it; load.c says when something is asked.
#pragma once
#include "common.h"
#include "tls.h"

enum { HTTP1_MODE, HTTP2_MODE, WEBSOCKET_MODE };
enum { REFUSED, CUT_OFF, STATUS, LENGTH, PROTOCOL, NO_ANSWER, NOT_RESUMED, FAILURES };
static const char *const failure_names[] = {"refused", "cut off", "not 200", "wrong length",
                                            "protocol", "no answer", "not resumed"};
enum { MESSAGE = 100, CONNECTING_MAX = 64, PIDS_MAX = 16, WAIT_SECONDS = 5 };

struct stream {
  int64_t due;
  uint32_t body;
  bool open, good;
};
struct connection {
  int socket; // -1 while closed
  enum { CLOSED, CONNECTING, SECURING, UPGRADING, OPEN } state;
  struct buffer in, out;
  bool writing, in_body;
  size_t body_left;
  struct stream *streams; // in a ring by their number; HTTP/1.1 and WebSocket have one
  uint32_t next;
  int64_t window;
  size_t received;
  struct buffer blocked; // numbers of streams whose body does not fit the window
#ifdef WITH_TLS
  SSL *ssl;
  SSL_SESSION *session;
#endif
};
struct request {
  char *bytes;
  size_t length;
};

// What is asked for.
static int port, mode, tls, connections = 64, streams = 1, fresh, idle, body, expect = 100;
static double rate, warmup = 0.5, seconds = 2;
static const char *path = "/bytes/100", *host = "shop.example.com", *targets;
static int pids[PIDS_MAX], pid_count;
// What becomes of it.
static struct request *requests;
static int request_count, epoll;
static struct connection *all;
static int *slots; // connections with a free stream, the one that is free for longest first
static uint64_t slot_first, slot_end;
static uint64_t sent, open_requests, done, failed[FAILURES], opened, canary, stable, resumed;
static int64_t counted_from, counted_to = INT64_MAX;
static struct samples {
  uint32_t *values; // in 100 ns
  size_t count, size;
} latencies, lateness;
static char bytes[256 * 1024];
#ifdef WITH_TLS
static SSL_CTX *context;
#endif

static void sample(struct samples *to, int64_t time) {
  if (to->count == to->size) {
    to->size = to->size ? 2 * to->size : 1 << 16;
    to->values = realloc(to->values, to->size * sizeof *to->values);
    if (!to->values) die("realloc");
  }
  to->values[to->count++] = time / 100;
}

static void give_back(struct connection *it) {
  slots[slot_end++ % ((uint64_t)connections * streams)] = it - all;
}

static struct stream *stream_of(struct connection *it, uint32_t number) {
  return &it->streams[number / 2 % (4 * streams)];
}

// Ends a request, `kind` being FAILURES if it did not fail. At a fixed rate those count that were
// due in the time that is counted, else those that are answered in it.
static void finish(struct connection *it, struct stream *stream, int kind) {
  int64_t time = now(), when = rate ? stream->due : time;
  stream->open = false;
  open_requests--;
  give_back(it);
  if (when < counted_from || when >= counted_to) return;
  if (kind < FAILURES) {
    failed[kind]++;
  } else {
    done++;
    sample(&latencies, time - stream->due);
  }
}

// Connections

static void close_connection(struct connection *it) {
#ifdef WITH_TLS
  if (it->ssl) {
    if (tls == 2 && it->state == OPEN) {
      if (it->session) SSL_SESSION_free(it->session);
      it->session = SSL_get1_session(it->ssl);
    }
    SSL_set_quiet_shutdown(it->ssl, 1); // without it OpenSSL takes the session for a broken one
    SSL_shutdown(it->ssl);
    SSL_free(it->ssl);
    it->ssl = NULL;
  }
#endif
  close(it->socket);
  it->socket = -1;
  it->state = CLOSED;
  it->in.start = it->in.end = it->out.start = it->out.end = 0;
  it->blocked.start = it->blocked.end = 0;
  it->in_body = it->writing = false;
}

// Ends the connection, and what is under way on it by this failure.
static void fail(struct connection *it, int kind) {
  close_connection(it);
  for (int i = 0; i < 4 * streams; i++)
    if (it->streams[i].open) finish(it, &it->streams[i], kind);
}

static void want(struct connection *it, bool writing) {
  if (it->writing == writing) return;
  it->writing = writing;
  watch(epoll, EPOLL_CTL_MOD, it->socket, writing ? EPOLLIN | EPOLLOUT : EPOLLIN, it);
}

static ssize_t put(struct connection *it, const char *data, size_t length) {
#ifdef WITH_TLS
  if (it->ssl) {
    ERR_clear_error();
    int written = SSL_write(it->ssl, data, length);
    if (written <= 0) errno = tls_waits(it->ssl, written) ? EAGAIN : EPIPE;
    return written > 0 ? written : -1;
  }
#endif
  return send(it->socket, data, length, MSG_NOSIGNAL);
}

static ssize_t take(struct connection *it) {
#ifdef WITH_TLS
  if (it->ssl) {
    ERR_clear_error();
    int length = SSL_read(it->ssl, bytes, sizeof bytes);
    if (length <= 0) errno = tls_waits(it->ssl, length) ? EAGAIN : EPIPE;
    return length > 0 ? length : errno == EAGAIN ? -1 : 0;
  }
#endif
  return recv(it->socket, bytes, sizeof bytes, 0);
}

static void flush(struct connection *it) {
  while (it->state >= UPGRADING && length_of(&it->out)) {
    ssize_t written = put(it, it->out.data + it->out.start, length_of(&it->out));
    if (written < 0 && errno != EAGAIN) return fail(it, CUT_OFF);
    if (written < 0) return want(it, true);
    it->out.start += written;
  }
  want(it, it->state == CONNECTING);
}

static void connect_to(struct connection *it) {
  // Some addresses of our own, as each has but 28,000 ports.
  struct sockaddr_in to = loopback(port), from = loopback(0);
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + opened++ % 8);
  it->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (it->socket < 0) die("socket");
  set(it->socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(it->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
  if (bind(it->socket, (void *)&from, sizeof from)) die("bind");
  it->state = CONNECTING;
  it->writing = true;
  it->next = 1;
  watch(epoll, EPOLL_CTL_ADD, it->socket, EPOLLIN | EPOLLOUT, it);
  if (mode == HTTP2_MODE) {
    it->window = 65535;
    append(&it->out, PREFACE, strlen(PREFACE));
    begin_http2(&it->out);
  } else if (mode == WEBSOCKET_MODE) {
    char head[512];
    append(&it->out, head, sprintf(head, "GET /chat HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                                   "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host));
  }
  if (connect(it->socket, (void *)&to, sizeof to) && errno != EINPROGRESS) fail(it, REFUSED);
}

// Requests

static void message(struct connection *it, uint32_t number) {
  if (it->window < body) return append(&it->blocked, &number, 4);
  it->window -= body;
  frame(&it->out, DATA, END_STREAM, number, bytes, 0);
  it->out.end -= FRAME_HEAD;
  char *head = room(&it->out, FRAME_HEAD + body);
  head[1] = body >> 8, head[2] = body;
  uint32_t length = htonl(body - 5);
  head[FRAME_HEAD] = 0;
  memcpy(head + FRAME_HEAD + 1, &length, 4);
  memset(head + FRAME_HEAD + 5, 'x', body - 5);
  it->out.end += FRAME_HEAD + body;
}

static void websocket_frame(struct connection *it) {
  uint8_t text[6 + MESSAGE] = {0x82, 0x80 | MESSAGE, 1, 2, 3, 4};
  for (int i = 0; i < MESSAGE; i++) text[6 + i] = 'x' ^ (1 + i % 4);
  append(&it->out, text, sizeof text);
}

static void send_request(struct connection *it, int64_t due) {
  const struct request *request = &requests[sent++ % request_count];
  open_requests++;
  if (it->state == CLOSED) connect_to(it);
  if (it->state == CLOSED) { // refused at once
    struct stream *stream = &it->streams[0];
    *stream = (struct stream){.due = due, .open = true};
    return finish(it, stream, REFUSED);
  }
  uint32_t number = mode == HTTP2_MODE ? it->next : 0;
  struct stream *stream = stream_of(it, number);
  while (stream->open) stream = stream_of(it, number += 2); // a slow one that the ring has come to
  *stream = (struct stream){.due = due, .open = true};
  if (mode == HTTP2_MODE) {
    it->next = number + 2;
    frame(&it->out, HEADERS, END_HEADERS | (body ? 0 : END_STREAM), number, request->bytes,
          request->length);
    if (body) message(it, number);
  } else if (mode == HTTP1_MODE) {
    append(&it->out, request->bytes, request->length);
  } else if (it->state == OPEN) {
    websocket_frame(it);
  }
  flush(it);
}

static struct request http1_request(const char *path, const char *host) {
  char *text = malloc(4096 + body), *end = text;
  end += sprintf(end, "%s %.1000s HTTP/1.1\r\nHost: %.1000s\r\nUser-Agent: load\r\nAccept: */*\r\n",
                 body ? "POST" : "GET", path, host);
  if (fresh) end += sprintf(end, "Connection: close\r\n");
  if (body) end += sprintf(end, "Content-Length: %d\r\n", body);
  end = stpcpy(end, "\r\n");
  memset(end, 'b', body);
  return (struct request){text, end - text + body};
}

static struct request http2_request(const char *path, const char *host) {
  char *text = malloc(4096), *end = text;
  *end++ = body ? 0x83 : 0x82;
  *end++ = tls ? 0x87 : 0x86;
  *end++ = 4, *end++ = strlen(path), end = stpcpy(end, path);
  *end++ = 1, *end++ = strlen(host), end = stpcpy(end, host);
  end = field(end, "user-agent", "load");
  end = body ? field(field(end, "te", "trailers"), "content-type", "application/grpc")
             : field(end, "accept", "*/*");
  return (struct request){text, end - text};
}

// Answers

// Takes what came for HTTP/1.1; false if the connection is of no more use.
static bool read_http1(struct connection *it, const char *data, size_t length) {
  struct stream *stream = &it->streams[0];
  while (length) {
    if (!stream->open) return false; // what nobody asked for
    if (!it->in_body) {
      append(&it->in, data, length);
      char *head = it->in.data + it->in.start, *found;
      char *end = memmem(head, length_of(&it->in), "\r\n\r\n", 4);
      if (!end) return true;
      size_t rest = head + length_of(&it->in) - end - 4;
      it->in.start = it->in.end = 0;
      data += length - rest;
      length = rest;
      *end = 0;
      if (mode == WEBSOCKET_MODE) {
        if (strncmp(head, "HTTP/1.1 101", 12)) return fail(it, STATUS), true;
        it->state = OPEN;
        websocket_frame(it);
        return true;
      }
      if (strncmp(head, "HTTP/1.1 200", 12)) return fail(it, STATUS), true;
      if (!(found = strcasestr(head, "\r\ncontent-length:")) || atoi(found + 17) != expect)
        return fail(it, LENGTH), true;
      if ((found = strcasestr(head, "\r\nx-pool: "))) *(found[10] == 'c' ? &canary : &stable) += 1;
      it->in_body = true;
      it->body_left = expect;
    }
    size_t part = length < it->body_left ? length : it->body_left;
    it->body_left -= part;
    data += part;
    length -= part;
    if (!it->body_left) {
      it->in_body = false;
      if (fresh) close_connection(it);
      finish(it, stream, FAILURES);
      if (fresh) return true;
    }
  }
  return true;
}

static bool read_websocket(struct connection *it, const char *data, size_t length) {
  append(&it->in, data, length);
  while (length_of(&it->in) >= 2 + MESSAGE) {
    const uint8_t *text = (void *)(it->in.data + it->in.start);
    if (text[0] != 0x82 || text[1] != MESSAGE || text[2] != 'x' || text[1 + MESSAGE] != 'x' ||
        !it->streams[0].open)
      return false;
    it->in.start += 2 + MESSAGE;
    finish(it, &it->streams[0], FAILURES);
  }
  return true;
}

static bool read_http2_frame(struct connection *it, const char *head, size_t length) {
  const char *payload = head + FRAME_HEAD;
  uint32_t number = read32(head + 5);
  struct stream *stream = stream_of(it, number);
  switch (head[3]) {
  case HEADERS:
    // The status of the first block is its first field, and 200 stands in the static table.
    while (length && (*payload & 0xe0) == 0x20) payload++, length--;
    if (length && (uint8_t)*payload == 0x88) stream->good = true;
    break;
  case DATA:
    stream->body += length;
    it->received += length;
    if (it->received > UPDATE_AFTER) window_update(&it->out, it->received), it->received = 0;
    break;
  case SETTINGS:
    if (!(head[4] & ACK)) frame(&it->out, SETTINGS, ACK, 0, "", 0);
    return true;
  case PING:
    if (!(head[4] & ACK)) frame(&it->out, PING, ACK, 0, payload, length);
    return true;
  case WINDOW_UPDATE:
    if (!number) it->window += read32(payload) & 0x7fffffff;
    while (it->window >= body && length_of(&it->blocked)) {
      memcpy(&number, it->blocked.data + it->blocked.start, 4);
      it->blocked.start += 4;
      message(it, number);
    }
    return true;
  case RST_STREAM:
    if (stream->open) finish(it, stream, CUT_OFF);
    return true;
  case GOAWAY:
    return false;
  default:
    return true;
  }
  if (head[4] & END_STREAM) {
    // A gRPC answer ends with trailers, all others with their body.
    bool ends_well = stream->body == (uint32_t)expect && (head[3] == HEADERS) == (body > 0);
    if (!stream->open) return false;
    finish(it, stream, !stream->good ? STATUS : ends_well || !expect ? FAILURES : LENGTH);
  }
  return true;
}

static bool read_http2(struct connection *it, const char *data, size_t length) {
  append(&it->in, data, length);
  while ((length = whole_frame(&it->in))) {
    const char *head = it->in.data + it->in.start;
    it->in.start += length;
    if (!read_http2_frame(it, head, length - FRAME_HEAD)) return false;
  }
  return true;
}

static void begin(struct connection *it) {
#ifdef WITH_TLS
  if (tls && it->state == CONNECTING) it->ssl = tls_begin(context, it->socket, it->session);
  if (tls) {
    it->state = SECURING;
    ERR_clear_error();
    int result = SSL_connect(it->ssl);
    if (result != 1 && !tls_waits(it->ssl, result)) return fail(it, PROTOCOL);
    if (result != 1) return want(it, SSL_get_error(it->ssl, result) == WANT_WRITE);
    bool again = SSL_session_reused(it->ssl);
    resumed += again;
    if (tls == 2 && it->session && !again) return fail(it, NOT_RESUMED);
  }
#endif
  it->state = mode == WEBSOCKET_MODE ? UPGRADING : OPEN;
  flush(it);
}

static void ready(struct connection *it, uint32_t events) {
  if (it->state == CONNECTING) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(it->socket, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) return fail(it, REFUSED);
  }
  if (it->state < UPGRADING) return begin(it);
  if (events & EPOLLOUT) flush(it);
  bool more = events & (EPOLLIN | EPOLLHUP | EPOLLERR);
  while (more && it->state >= UPGRADING) {
    ssize_t length = take(it);
    if (length < 0 && errno == EAGAIN) break;
    if (length <= 0) return fail(it, CUT_OFF);
    // A socket is asked again if it had more than fits; TLS keeps records of its own.
    more = tls || length == sizeof bytes;
    bool well = mode == HTTP2_MODE   ? read_http2(it, bytes, length)
                : it->state != OPEN  ? read_http1(it, bytes, length)
                : mode == HTTP1_MODE ? read_http1(it, bytes, length)
                                     : read_websocket(it, bytes, length);
    if (!well) return fail(it, PROTOCOL);
  }
  if (it->state >= UPGRADING && length_of(&it->out)) flush(it);
}

static void wait_until(int64_t time) {
  struct epoll_event events[256];
  int64_t left = time - now();
  struct timespec timeout = {left / SECOND, left % SECOND};
  if (left < 0) timeout = (struct timespec){0};
  int number = epoll_pwait2(epoll, events, 256, &timeout, NULL);
  for (int i = 0; i < number; i++) {
    struct connection *it = events[i].data.ptr;
    if (it->state != CLOSED) ready(it, events[i].events);
  }
}
