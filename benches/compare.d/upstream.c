// The endpoints of both pools, one thread: cheap enough not to be what is measured.
//
// Usage: upstream PORT:POOL... Each answer bears `x-pool: POOL`. HTTP/1.1, by path:
//   /bytes/N  N bytes, after the whole request body was read     /echo  the head of the request
//   /fail     500                                                /cut   half of what it announces
// An upgrade to websocket is answered by an echo of small frames. Over HTTP/2 (prior knowledge,
// which the first bytes tell) each request gets the same gRPC answer: head, one message of 100
// bytes, trailers with grpc-status 0; what was asked is not looked at.
#include "common.h"

enum { MESSAGE = 5 + 100, HEAD_MAX = 64 * 1024 };
struct pool {
  char name[16], head[64], answer[256];
  size_t answer_length;
  int listener;
};
struct connection {
  int socket;
  struct pool *pool;
  enum { FIRST, HTTP1, HTTP2, WEBSOCKET } kind;
  struct buffer in, out, blocked; // streams whose answer does not fit the window
  size_t to_send, to_read;        // bytes of a body
  int64_t window;
  size_t received;
  bool closing, writing;
};

static int epoll;
static char bytes[256 * 1024], filler[64 * 1024];

// HTTP/1.1

static void answer(struct connection *it, const char *status, size_t length) {
  char head[256];
  append(&it->out, head, sprintf(head, "HTTP/1.1 %s\r\ncontent-type: text/plain\r\nx-pool: %s\r\n"
                                 "content-length: %zu\r\n\r\n", status, it->pool->name, length));
}

// Takes one request from what came in; false if there is none yet.
static bool http1(struct connection *it) {
  char *head = it->in.data + it->in.start, path[1024], *end, *found;
  if (it->to_send) return false;
  if (it->to_read) {
    size_t part = length_of(&it->in) < it->to_read ? length_of(&it->in) : it->to_read;
    it->in.start += part;
    it->to_read -= part;
    if (it->to_read || !part) return false;
    answer(it, "200 OK", 100);
    it->to_send = 100;
    return true;
  }
  if (!length_of(&it->in) || !(end = memmem(head, length_of(&it->in), "\r\n\r\n", 4))) {
    it->closing |= length_of(&it->in) > HEAD_MAX;
    return false;
  }
  size_t length = end + 4 - head;
  it->in.start += length;
  end[2] = 0;
  it->closing |= strcasestr(head, "\r\nconnection: close") != NULL;
  if (sscanf(head, "%*s %1023s", path) != 1) strcpy(path, "/fail");
  if (strcasestr(head, "\r\nupgrade: websocket")) {
    char text[256]; // the answer to the key of RFC 6455's own example
    append(&it->out, text, sprintf(text, "HTTP/1.1 101 Switching Protocols\r\n"
                                   "upgrade: websocket\r\nconnection: Upgrade\r\n"
                                   "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                   "x-pool: %s\r\n\r\n", it->pool->name));
    it->kind = WEBSOCKET;
  } else if ((found = strcasestr(head, "\r\ncontent-length:")) && atoi(found + 17)) {
    it->to_read = atoi(found + 17);
  } else if (strcasestr(head, "\r\ntransfer-encoding:") || strstr(path, "/fail")) {
    answer(it, "500 Internal Server Error", 0);
  } else if (strstr(path, "/echo")) {
    answer(it, "200 OK", length - 2);
    append(&it->out, head, length - 2);
  } else if (strstr(path, "/cut")) {
    answer(it, "200 OK", 100);
    append(&it->out, filler, 50);
    it->closing = true;
  } else {
    it->to_send = (found = strstr(path, "/bytes/")) ? atoi(found + 7) : 100;
    answer(it, "200 OK", it->to_send);
  }
  return true;
}

static bool websocket(struct connection *it) {
  uint8_t *text = (void *)(it->in.data + it->in.start);
  size_t length = length_of(&it->in) < 2 ? 0 : text[1] & 0x7f;
  if (length_of(&it->in) < 6 + length || !length) return false;
  if (length > 125 || !(text[1] & 0x80)) return it->closing = true, false;
  append(&it->out, (uint8_t[]){text[0], length}, 2);
  for (size_t i = 0; i < length; i++) text[6 + i] ^= text[2 + i % 4];
  append(&it->out, text + 6, length);
  it->in.start += 6 + length;
  return true;
}

// HTTP/2

static void prepare(struct pool *pool) {
  struct buffer answer = {0};
  char head[128] = {(char)0x88}, *end = field(head + 1, "content-type", "application/grpc");
  end = field(end, "x-pool", pool->name);
  frame(&answer, HEADERS, END_HEADERS, 0, head, end - head);
  char message[MESSAGE] = {0, 0, 0, 0, 100};
  memset(message + 5, 'x', 100);
  frame(&answer, DATA, 0, 0, message, MESSAGE);
  end = field(head, "grpc-status", "0");
  frame(&answer, HEADERS, END_HEADERS | END_STREAM, 0, head, end - head);
  pool->answer_length = length_of(&answer);
  memcpy(pool->answer, answer.data, pool->answer_length);
}

static void answer_stream(struct connection *it, uint32_t stream) {
  if (it->window < MESSAGE) return append(&it->blocked, &stream, 4);
  it->window -= MESSAGE;
  append(&it->out, it->pool->answer, it->pool->answer_length);
  char *at = it->out.data + it->out.end - it->pool->answer_length;
  uint32_t number = htonl(stream);
  while (at < it->out.data + it->out.end) { // each frame gets the stream's number
    memcpy(at + 5, &number, 4);
    at += FRAME_HEAD + ((uint8_t)at[1] << 8 | (uint8_t)at[2]);
  }
}

static bool http2(struct connection *it) {
  size_t length = whole_frame(&it->in);
  if (!length) return false;
  char *head = it->in.data + it->in.start, *payload = head + FRAME_HEAD;
  uint32_t stream = read32(head + 5);
  it->in.start += length;
  length -= FRAME_HEAD;
  switch (head[3]) {
  case DATA:
    it->received += length;
    if (it->received > UPDATE_AFTER) window_update(&it->out, it->received), it->received = 0;
    // fall through
  case HEADERS:
    it->closing |= head[3] == HEADERS && !(head[4] & END_HEADERS); // CONTINUATION is not read
    if (head[4] & END_STREAM) answer_stream(it, stream);
    break;
  case SETTINGS:
    if (!(head[4] & ACK)) frame(&it->out, SETTINGS, ACK, 0, "", 0);
    break;
  case PING:
    if (!(head[4] & ACK)) frame(&it->out, PING, ACK, 0, payload, length);
    break;
  case WINDOW_UPDATE:
    if (!stream) it->window += read32(payload) & 0x7fffffff;
    while (it->window >= MESSAGE && length_of(&it->blocked)) {
      memcpy(&stream, it->blocked.data + it->blocked.start, 4);
      it->blocked.start += 4;
      answer_stream(it, stream);
    }
  }
  return true;
}

// Connections

static bool first(struct connection *it) {
  size_t length = length_of(&it->in), preface = strlen(PREFACE);
  const char *data = it->in.data + it->in.start;
  if (!length) return false;
  if (memcmp(data, PREFACE, length < preface ? length : preface)) {
    it->kind = HTTP1;
  } else if (length >= preface) {
    it->kind = HTTP2;
    it->window = 65535;
    it->in.start += preface;
    begin_http2(&it->out);
  }
  return it->kind != FIRST;
}

static bool step(struct connection *it) {
  bool (*const steps[])(struct connection *) = {first, http1, http2, websocket};
  return steps[it->kind](it);
}

// Writes what there is, small bodies in one piece with their head; false if it has ended.
static bool write_out(struct connection *it) {
  for (;;) {
    if (it->to_send && it->to_send <= sizeof filler) {
      append(&it->out, filler, it->to_send);
      it->to_send = 0;
    }
    bool head = length_of(&it->out);
    if (!head && !it->to_send) break;
    const char *from = head ? it->out.data + it->out.start : filler;
    size_t length = head ? length_of(&it->out) : sizeof filler;
    int more = head && it->to_send ? MSG_MORE : 0;
    ssize_t written = send(it->socket, from, length, MSG_NOSIGNAL | more);
    if (written < 0 && errno != EAGAIN) return false;
    if (written < 0) break;
    if (head) it->out.start += written;
    else it->to_send -= written;
  }
  bool waiting = length_of(&it->out) || it->to_send;
  if (waiting != it->writing) {
    watch(epoll, EPOLL_CTL_MOD, it->socket, waiting ? EPOLLOUT : EPOLLIN, it);
    it->writing = waiting;
  }
  return !it->closing || waiting;
}

static bool ready(struct connection *it) {
  if (!it->writing) {
    ssize_t length = recv(it->socket, bytes, sizeof bytes, 0);
    if (length < 0 && errno == EAGAIN) return true;
    if (length <= 0) return false;
    append(&it->in, bytes, length);
  }
  do {
    while (step(it) && !it->closing) {
    }
    if (!write_out(it)) return false;
  } while (!it->writing && step(it));
  return it->writing || write_out(it);
}

static void end(struct connection *it) {
  close(it->socket);
  release(&it->in);
  release(&it->out);
  release(&it->blocked);
  free(it);
}

int main(int count, char **arguments) {
  struct pool pools[8] = {0};
  struct epoll_event events[256];
  memset(filler, 'x', sizeof filler);
  epoll = epoll_create1(0);
  for (int i = 1; i < count && i <= 8; i++) {
    struct pool *pool = &pools[i - 1];
    int port;
    if (sscanf(arguments[i], "%d:%15s", &port, pool->name) != 2) return 2;
    prepare(pool);
    pool->listener = listen_on(port);
    watch(epoll, EPOLL_CTL_ADD, pool->listener, EPOLLIN, pool);
  }
  for (;;) {
    int number = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < number; i++) {
      struct pool *pool = events[i].data.ptr;
      if (pool < pools || pool >= pools + 8) {
        struct connection *it = events[i].data.ptr;
        if (!ready(it)) end(it);
        continue;
      }
      int client;
      while ((client = accept4(pool->listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        struct connection *it = calloc(1, sizeof *it);
        it->socket = client;
        it->pool = pool;
        set(client, IPPROTO_TCP, TCP_NODELAY, 1);
        watch(epoll, EPOLL_CTL_ADD, client, EPOLLIN, it);
      }
    }
  }
}
