// A bare TCP relay, the floor of what any proxy can cost: bytes in, bytes out, one thread.
//
// Usage: relay PORT STABLE_PORT CANARY_PORT. It cannot tell requests apart, so it gives each tenth
// connection to the canary, and each connection of a client has its own towards an endpoint.
#include "common.h"

struct side {
  int socket;
  struct side *other;
  struct buffer waiting; // what this socket did not take yet
  bool closed;
};

static int epoll;
static char bytes[256 * 1024];

static void end(struct side *side) {
  struct side *both[] = {side, side->other};
  for (int i = 0; i < 2; i++) {
    close(both[i]->socket);
    both[i]->closed = true;
    release(&both[i]->waiting);
  }
}

static bool write_out(struct side *to, const char *data, size_t length) {
  ssize_t written = send(to->socket, data, length, MSG_NOSIGNAL);
  if (written < 0 && errno != EAGAIN) return false;
  if (written < 0) written = 0;
  if ((size_t)written < length) append(&to->waiting, data + written, length - written);
  return true;
}

static void ready(struct side *side, uint32_t events) {
  if (side->closed) return;
  if (events & EPOLLOUT) {
    struct buffer *waiting = &side->waiting;
    ssize_t written = send(side->socket, waiting->data + waiting->start, length_of(waiting),
                           MSG_NOSIGNAL);
    if (written < 0 && errno != EAGAIN) return end(side);
    if (written > 0) waiting->start += written;
    if (length_of(waiting)) return;
    watch(epoll, EPOLL_CTL_MOD, side->socket, EPOLLIN, side);
    watch(epoll, EPOLL_CTL_MOD, side->other->socket, EPOLLIN, side->other);
    return;
  }
  ssize_t length = recv(side->socket, bytes, sizeof bytes, 0);
  if (length < 0 && errno == EAGAIN) return;
  if (length <= 0 || !write_out(side->other, bytes, length)) return end(side);
  if (length_of(&side->other->waiting)) { // nothing more is read before it is gone
    watch(epoll, EPOLL_CTL_MOD, side->socket, 0, side);
    watch(epoll, EPOLL_CTL_MOD, side->other->socket, EPOLLOUT, side->other);
  }
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  int listener = listen_on(atoi(arguments[1])), connections = 0;
  struct epoll_event events[256];
  struct side *ended[512];
  epoll = epoll_create1(0);
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
  for (;;) {
    int number = epoll_wait(epoll, events, 256, -1), gone = 0;
    for (int i = 0; i < number; i++) {
      struct side *side = events[i].data.ptr;
      if (side && !side->closed) {
        ready(side, events[i].events);
        if (side->closed) ended[gone++] = side;
      }
      int client;
      while (!side && (client = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        struct sockaddr_in to = loopback(atoi(arguments[connections++ % 10 ? 2 : 3]));
        struct side *pair = calloc(2, sizeof *pair);
        int endpoint = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(endpoint, (void *)&to, sizeof to)) die("connect");
        pair[0] = (struct side){.socket = client, .other = &pair[1]};
        pair[1] = (struct side){.socket = endpoint, .other = &pair[0]};
        for (int j = 0; j < 2; j++) {
          set(pair[j].socket, IPPROTO_TCP, TCP_NODELAY, 1);
          watch(epoll, EPOLL_CTL_ADD, pair[j].socket, EPOLLIN, &pair[j]);
        }
      }
    }
    // Only now, as both sides may have been among the events.
    while (gone--) free(ended[gone] < ended[gone]->other ? ended[gone] : ended[gone]->other);
  }
}
