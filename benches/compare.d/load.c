// The clients: a load at full speed or at fixed times, and what became of each request.
//
// Usage: load NAME=VALUE..., all numbers unless said otherwise:
//   port          where to; at 127.0.0.1
//   mode          http1, http2 or websocket (a text)
//   tls           0 no, 1 TLS 1.3, 2 with sessions resumed (then a full handshake is a failure)
//   connections, streams    so many at one time; streams of each HTTP/2 connection
//   rate          requests a second, at times fixed beforehand; 0 for as fast as answers come
//   warmup, seconds         before and while it is counted, e.g. 0.5
//   fresh         1: each request on a new connection
//   path, host    texts; or targets: a file with a path and a host a line, taken in turn
//   body, expect  bytes to send and to get; over HTTP/2 a body is a gRPC message
//   pids          whose CPU time to tell (0 is this process), such as 17,18,0
//   idle          1: one request on each connection, then waits for a byte on stdin, and one again
//
// Prints one JSON object. At a fixed rate a latency counts from the time at which its request was
// due, whatever became of those before (no coordinated omission): a request that no connection is
// free for waits for one, and its time runs. `late` is by how much the clients themselves were late
// with requests that found a free connection. One thread, epoll.
#include "clients.h"

static int64_t cpu_of(int pid) {
  struct timespec time;
  if (clock_gettime(pid ? (clockid_t)(~(unsigned)pid << 3 | 2) : CLOCK_PROCESS_CPUTIME_ID, &time))
    die("the clock of a process");
  return time.tv_sec * SECOND + time.tv_nsec;
}

struct moment {
  int64_t time, cpu[PIDS_MAX];
  uint64_t opened, resumed;
};

static struct moment moment(void) {
  struct moment moment = {.opened = opened, .resumed = resumed, .time = now()};
  for (int i = 0; i < pid_count; i++) moment.cpu[i] = cpu_of(pids[i]);
  return moment;
}

// Sends whatever is due, up to so many requests at one time and in all.
static void send_due(int64_t start, uint64_t open_max, uint64_t sent_max, int64_t until) {
  static bool behind; // a request had to wait for a connection
  int64_t time = now();
  while (open_requests < open_max && slot_first < slot_end && sent < sent_max) {
    int64_t due = rate ? start + (int64_t)(sent * SECOND / rate) : time;
    if (due > time) time = now();
    if (due > time || due >= until) {
      behind = false;
      return;
    }
    if (rate && !behind && due >= counted_from) sample(&lateness, time - due);
    send_request(&all[slots[slot_first++ % ((uint64_t)connections * streams)]], due);
  }
  behind = rate && slot_first == slot_end;
}

static void wait_for_open(void) {
  int64_t give_up = now() + WAIT_SECONDS * SECOND;
  while (open_requests && now() < give_up) wait_until(give_up);
  for (int i = 0; i < connections; i++)
    if (all[i].state != CLOSED && open_requests) fail(&all[i], NO_ANSWER);
}

static void timed(struct moment *from, struct moment *to) {
  int64_t start = now(), end = start + (warmup + seconds) * SECOND;
  uint64_t open_max = (uint64_t)connections * streams;
  counted_from = start + warmup * SECOND;
  bool counting = false;
  for (;;) {
    int64_t time = now();
    if (!counting && time >= counted_from) *from = moment(), counting = true;
    if (time >= end) break;
    send_due(start, open_max, UINT64_MAX, end);
    int64_t next = rate ? start + (int64_t)(sent * SECOND / rate) : end;
    if (!counting && next > counted_from) next = counted_from;
    wait_until(slot_first == slot_end || next > end ? end : next);
  }
  *to = moment();
  counted_to = rate ? end : to->time;
  wait_for_open();
}

static void on_each_connection(int times) {
  while (sent < (uint64_t)connections * times || open_requests) {
    send_due(0, CONNECTING_MAX, (uint64_t)connections * times, INT64_MAX);
    wait_until(now() + SECOND / 100);
  }
}

static int order(const void *one, const void *two) {
  uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)two;
  return (a > b) - (a < b);
}

static void print_samples(const char *name, struct samples *samples) {
  const struct { const char *name; double part; } parts[] = {
      {"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
  qsort(samples->values, samples->count, sizeof *samples->values, order);
  printf("\"%s\": {", name);
  for (int i = 0; i < 4 && samples->count; i++)
    printf("%s\"%s\": %.1f", i ? ", " : "", parts[i].name,
           samples->values[(size_t)(parts[i].part * (samples->count - 1))] / 10.0);
  printf("}, ");
}

static void print_result(const struct moment *from, const struct moment *to) {
  printf("{\"requests\": %lu, \"seconds\": %.6f, \"stable\": %lu, \"canary\": %lu, ", done,
         (to->time - from->time) / 1e9, stable, canary);
  printf("\"opened\": %lu, \"resumed\": %lu, ", to->opened - from->opened,
         to->resumed - from->resumed);
  print_samples("latency_us", &latencies);
  print_samples("late_us", &lateness);
  printf("\"cpu_ns\": [");
  for (int i = 0; i < pid_count; i++)
    printf("%s%ld", i ? ", " : "", to->cpu[i] - from->cpu[i]);
  printf("], \"failed\": {");
  for (int i = 0, first = 1; i < FAILURES; i++)
    if (failed[i]) {
      printf("%s\"%s\": %lu", first ? "" : ", ", failure_names[i], failed[i]);
      first = 0;
    }
  printf("}}\n");
}

static void read_arguments(int count, char **arguments) {
  const struct { const char *name; int *to; } numbers[] = {
      {"port", &port}, {"tls", &tls}, {"connections", &connections}, {"streams", &streams},
      {"fresh", &fresh}, {"body", &body}, {"expect", &expect}, {"idle", &idle}};
  const struct { const char *name; double *to; } reals[] = {
      {"rate", &rate}, {"warmup", &warmup}, {"seconds", &seconds}};
  const struct { const char *name, **to; } texts[] = {
      {"path", &path}, {"host", &host}, {"targets", &targets}};
  for (int i = 1; i < count; i++) {
    char *value = strchr(arguments[i], '=');
    if (!value) exit(2);
    *value++ = 0;
    for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j++)
      if (!strcmp(arguments[i], numbers[j].name)) *numbers[j].to = atoi(value);
    for (size_t j = 0; j < sizeof reals / sizeof *reals; j++)
      if (!strcmp(arguments[i], reals[j].name)) *reals[j].to = atof(value);
    for (size_t j = 0; j < sizeof texts / sizeof *texts; j++)
      if (!strcmp(arguments[i], texts[j].name)) *texts[j].to = value;
    if (!strcmp(arguments[i], "mode"))
      mode = !strcmp(value, "http2")       ? HTTP2_MODE
             : !strcmp(value, "websocket") ? WEBSOCKET_MODE
                                           : HTTP1_MODE;
    if (!strcmp(arguments[i], "pids"))
      for (char *pid = strtok(value, ","); pid && pid_count < PIDS_MAX; pid = strtok(NULL, ","))
        pids[pid_count++] = atoi(pid);
  }
}

static void add_request(const char *path, const char *host) {
  requests = realloc(requests, (request_count + 1) * sizeof *requests);
  requests[request_count++] =
      mode == HTTP2_MODE ? http2_request(path, host) : http1_request(path, host);
}

static void prepare(void) {
  char line_path[1001], line_host[1001];
  FILE *file = targets ? fopen(targets, "r") : NULL;
  if (targets && !file) die(targets);
  while (file && fscanf(file, "%1000s %1000s", line_path, line_host) == 2)
    add_request(line_path, line_host);
  if (!file) add_request(path, host);
  prctl(PR_SET_TIMERSLACK, 1);
  epoll = epoll_create1(0);
  all = calloc(connections, sizeof *all);
  slots = calloc((size_t)connections * streams, sizeof *slots);
  for (int j = 0; j < streams; j++)
    for (int i = 0; i < connections; i++) {
      if (!j) all[i].streams = calloc(4 * streams, sizeof(struct stream));
      give_back(&all[i]);
    }
#ifdef WITH_TLS
  if (tls) context = tls_context(mode == HTTP2_MODE ? "h2" : "http/1.1");
#else
  if (tls) fprintf(stderr, "built without TLS\n"), exit(1);
#endif
}

int main(int count, char **arguments) {
  struct moment from = {0}, to = {0};
  read_arguments(count, arguments);
  prepare();
  if (idle) {
    from = moment();
    on_each_connection(1);
    puts("open");
    fflush(stdout);
    getchar();
    on_each_connection(2);
    to = moment();
  } else {
    timed(&from, &to);
  }
  print_result(&from, &to);
}
