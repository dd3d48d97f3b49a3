// load: the client of every run. Talks to 127.0.0.1:PORT, where a proxy (or the origin itself) listens.
//
//   load CORE PORT pingpong CONNECTIONS COUNT WARMUP   64 bytes there and back, COUNT times over all connections
//   load CORE PORT connect  IN_FLIGHT   COUNT WARMUP   connect, 64 bytes there and back, close; COUNT connections
//   load CORE PORT bulk     CONNECTIONS BYTES          download BYTES in all, then close
//   load CORE PORT paced    CONNECTIONS BYTES origin|client SPEED   the same at SPEED bytes a second in all, kept by the origin's
//                                                      sending or by the client's reading, in steps of 50 ms
//   load CORE PORT idle     CONNECTIONS                64 bytes there and back once, then hold the connections
//   load CORE PORT http     CONNECTIONS COUNT WARMUP TARGET [FIELD]   GET on kept connections, COUNT over all of them
// followed by nothing, or (not http) by  TARGET_PORT USER PASSWORD: SOCKS5 CONNECT to 127.0.0.1:TARGET_PORT with RFC 1929.
// An http answer counts when it is a 200 with a content-length, and so many bytes have followed.
//
// Prints `ready` when connected and warmed up, then waits for a line on standard input (the measured part begins),
// prints one JSON line when it is over, and waits for another line before it closes what is still open.
#include "sockets.h"

enum { message = 64, max_events = 256, sink = 256 * 1024, tick_ns = 50 * 1000 * 1000 };

enum mode { PINGPONG, CONNECT, BULK, PACED, IDLE, HTTP };

// What a connection waits for. The SOCKS5 states are left out without a user.
enum state { CONNECTING, METHOD, AUTHENTICATED, REPLY, TALKING, BODY, HOLDING, OVER };

struct connection {
  int fd;
  enum state state;
  uint32_t have;     // bytes of the awaited answer
  uint8_t answer[4096];
  uint64_t began;    // of the current message, or of the connection
  uint64_t left;     // bulk, http: bytes to come
  uint64_t due;      // paced by the client: bytes it may read now
};

static enum mode mode;
static uint16_t port, target_port;
static uint64_t origin_speed, client_speed; // of one connection, bytes a second; 0 without a pace
static const char *user, *password;
static int epoll;
static struct connection *connections;
static int parallel;
static uint64_t begun, finished, failed, goal, bytes;
static uint32_t *latencies;
static uint64_t latency_count, latency_room;
static char out[1024];
static size_t out_length = message;

static void open_connection(int index) {
  struct connection *c = &connections[index];
  *c = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .state = CONNECTING};
  if (c->fd < 0) fail("socket");
  set_option(c->fd, IPPROTO_TCP, TCP_NODELAY, 1);
  c->began = now_ns();
  struct sockaddr_in a = loopback(port);
  if (connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS) fail("connect");
  watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT, (uint64_t)index);
}

static void send_all(struct connection *c, const void *data, size_t length) {
  // Fits into an empty socket buffer; anything else is a broken run.
  if (send(c->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) failed++;
}

static void record(uint64_t began) {
  uint64_t took = now_ns() - began;
  if (latency_count < latency_room) latencies[latency_count++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
}

static void send_message(struct connection *c) {
  c->have = 0;
  if (mode != CONNECT) c->began = now_ns();
  send_all(c, out, out_length);
}

// The tunnel stands: the first bytes of the workload.
static void start_talking(struct connection *c) {
  c->state = TALKING;
  c->have = 0;
  if (mode == BULK) {
    uint8_t request[8];
    uint64_t wish = origin_speed / 100000 << 48 | c->left;
    for (int i = 0; i < 8; i++) request[i] = (uint8_t)(wish >> (56 - 8 * i));
    send_all(c, request, sizeof request);
  } else {
    send_message(c);
  }
}

static void after_connect(int index) {
  struct connection *c = &connections[index];
  int error = 0;
  socklen_t n = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
  if (error != 0) {
    errno = error;
    fail("connect");
  }
  watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN, (uint64_t)index);
  if (user != NULL) {
    c->state = METHOD;
    send_all(c, "\x05\x01\x02", 3);
  } else {
    start_talking(c);
  }
}

// How many bytes the answer awaited in this state has; more may become known with its first bytes.
static uint32_t expected(const struct connection *c) {
  switch (c->state) {
  case METHOD:
  case AUTHENTICATED: return 2;
  case REPLY:
    if (c->have < 5) return 5;
    return c->answer[3] == 1 ? 10 : c->answer[3] == 4 ? 22 : 7u + c->answer[4];
  default: return message;
  }
}

static void close_connection(struct connection *c) {
  close(c->fd);
  c->fd = -1;
  c->state = OVER;
}

// A whole answer is there. Returns false when the connection is over.
static void advance(int index) {
  struct connection *c = &connections[index];
  c->have = 0;
  switch (c->state) {
  case METHOD: {
    if (c->answer[1] != 2) { failed++; break; }
    uint8_t request[520];
    size_t u = strlen(user), p = strlen(password), at = 0;
    request[at++] = 1;
    request[at++] = (uint8_t)u;
    memcpy(request + at, user, u);
    at += u;
    request[at++] = (uint8_t)p;
    memcpy(request + at, password, p);
    c->state = AUTHENTICATED;
    send_all(c, request, at + p);
    break;
  }
  case AUTHENTICATED: {
    if (c->answer[1] != 0) { failed++; break; }
    uint8_t request[10] = {5, 1, 0, 1, 127, 0, 0, 1, (uint8_t)(target_port >> 8), (uint8_t)target_port};
    c->state = REPLY;
    send_all(c, request, sizeof request);
    break;
  }
  case REPLY:
    if (c->answer[1] != 0) { failed++; break; }
    start_talking(c);
    break;
  case TALKING:
    record(c->began);
    finished++;
    if (mode == PINGPONG && begun < goal) {
      begun++;
      send_message(c);
    } else if (mode == CONNECT) {
      close_connection(c);
      if (begun < goal) {
        begun++;
        open_connection(index);
      }
    } else {
      c->state = HOLDING;
    }
    break;
  case CONNECTING:
  case BODY:
  case HOLDING:
  case OVER: break;
  }
}

// The length that a head declares; negative when it is no 200 with a length.
static int64_t content_length(char *head) {
  if (strncmp(head, "HTTP/1.1 200", 12) != 0) return -1;
  for (char *line = head; (line = strstr(line, "\r\n")) != NULL; line += 2) {
    if (strncasecmp(line + 2, "content-length:", 15) == 0) return atoll(line + 17);
  }
  return -1;
}

// Reads an answer: a head, then as many bytes as it declares, which are thrown away.
static void read_answer(int index) {
  static char discard[sink];
  struct connection *c = &connections[index];
  for (;;) {
    bool inHead = c->state == TALKING;
    ssize_t n = inHead ? recv(c->fd, c->answer + c->have, sizeof c->answer - 1 - c->have, 0)
                       : recv(c->fd, discard, c->left < sink ? c->left : sink, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      failed++;
      finished++;
      close_connection(c);
      return;
    }
    bytes += (uint64_t)n;
    if (inHead) {
      c->have += (uint32_t)n;
      c->answer[c->have] = 0;
      char *end = strstr((char *)c->answer, "\r\n\r\n");
      if (end == NULL && c->have < sizeof c->answer - 1) continue;
      int64_t length = end == NULL ? -1 : content_length((char *)c->answer);
      uint64_t here = end == NULL ? 0 : c->have - (uint64_t)(end + 4 - (char *)c->answer);
      if (length < 0 || here > (uint64_t)length) {
        if (failed == 0) fprintf(stderr, "load: %.200s\n", (char *)c->answer);
        failed++;
        finished++;
        close_connection(c);
        return;
      }
      c->left = (uint64_t)length - here;
      c->state = BODY;
    } else {
      c->left -= (uint64_t)n;
    }
    if (c->left > 0) continue;
    record(c->began);
    finished++;
    if (begun < goal) {
      begun++;
      c->state = TALKING;
      send_message(c);
    } else {
      c->state = HOLDING;
    }
    return;
  }
}

static void readable(int index) {
  static char discard[sink];
  struct connection *c = &connections[index];
  if (mode == HTTP && (c->state == TALKING || c->state == BODY)) return read_answer(index);
  if (mode == BULK && c->state == TALKING) {
    for (int i = 0; i < 4; i++) {
      ssize_t n = recv(c->fd, discard, sink, 0);
      if (n > 0) {
        bytes += (uint64_t)n;
        c->left -= (uint64_t)n;
        if (c->left > 0) continue;
      }
      if (n < 0 && errno == EAGAIN) return;
      if (c->left > 0) failed++;
      finished++;
      close_connection(c);
      return;
    }
    return;
  }
  uint32_t want = expected(c);
  ssize_t n = recv(c->fd, c->answer + c->have, want - c->have, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    failed++;
    close_connection(c);
    finished++;
    if (mode == CONNECT && begun < goal) {
      begun++;
      open_connection(index);
    }
    return;
  }
  c->have += (uint32_t)n;
  if (c->have == expected(c)) advance(index);
}

// Runs until `goal` units are finished. Ends with an error when nothing at all happens for 20 seconds.
static void run_until_goal(void) {
  struct epoll_event events[max_events];
  while (finished < goal && failed < 1000) {
    int n = epoll_wait(epoll, events, max_events, 20000);
    if (n == 0) {
      fprintf(stderr, "load: nothing happened for 20 seconds (%lu of %lu done)\n", finished, goal);
      exit(1);
    }
    for (int i = 0; i < n; i++) {
      int index = (int)events[i].data.u64;
      if (connections[index].state == CONNECTING) {
        after_connect(index);
      } else if (connections[index].state != OVER) {
        readable(index);
      }
    }
  }
}

// Reads what the ticks that have passed allow, as a slow client does, until all is over.
static void read_at_pace(void) {
  static char discard[sink];
  uint64_t next = now_ns(), last = next, idle_limit = 20ull * 1000 * 1000 * 1000;
  while (finished < goal && failed < 1000) {
    if (now_ns() - last > idle_limit) {
      fprintf(stderr, "load: nothing happened for 20 seconds (%lu bytes)\n", bytes);
      exit(1);
    }
    next += tick_ns;
    struct timespec until = {.tv_sec = (time_t)(next / 1000000000), .tv_nsec = (long)(next % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
    for (int i = 0; i < parallel; i++) {
      struct connection *c = &connections[i];
      if (c->state == OVER) continue;
      if (c->state == CONNECTING) {
        after_connect(i);
        continue;
      }
      c->due += client_speed / 20;
      while (c->due > 0) {
        ssize_t n = recv(c->fd, discard, c->due < sink ? c->due : sink, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) break;
        if (n > 0) {
          last = now_ns();
          bytes += (uint64_t)n;
          c->left -= (uint64_t)n;
          c->due -= (uint64_t)n;
          if (c->left > 0) continue;
        }
        if (c->left > 0) failed++;
        finished++;
        close_connection(c);
        break;
      }
    }
  }
}

static void phase(uint64_t count) {
  begun = finished = latency_count = bytes = 0;
  goal = count;
}

static void open_all(void) {
  for (int i = 0; i < parallel && (uint64_t)i < goal; i++) {
    begun++;
    open_connection(i);
  }
}

// One message on each connection that stands.
static void restart_all(void) {
  for (int i = 0; i < parallel && begun < goal; i++) {
    if (connections[i].state != HOLDING) continue;
    begun++;
    connections[i].state = TALKING;
    send_message(&connections[i]);
  }
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static double percentile(double share) {
  return latency_count == 0 ? 0 : latencies[(uint64_t)((double)(latency_count - 1) * share)] / 1000.0;
}

static void wait_for_line(void) {
  char line[64];
  if (fgets(line, sizeof line, stdin) == NULL) exit(0);
}

int main(int count, char **arguments) {
  const char *names[] = {"pingpong", "connect", "bulk", "paced", "idle", "http"};
  int at = 4;
  if (count < 5) {
    fprintf(stderr, "usage: load CORE PORT pingpong|connect|bulk|paced|idle|http … (see the head of load.c)\n");
    return 2;
  }
  for (mode = PINGPONG; mode < HTTP && strcmp(arguments[3], names[mode]) != 0; mode++) {}
  prepare_process(atoi(arguments[1]));
  port = (uint16_t)atoi(arguments[2]);
  parallel = atoi(arguments[at++]);
  uint64_t amount = mode == IDLE ? 0 : strtoull(arguments[at++], NULL, 10);
  uint64_t warmup = mode == PINGPONG || mode == CONNECT || mode == HTTP ? strtoull(arguments[at++], NULL, 10) : 0;
  if (mode == PACED) {
    if (count - at < 2) {
      fprintf(stderr, "load: paced needs origin|client and a speed in bytes a second\n");
      return 2;
    }
    bool by_client = strcmp(arguments[at], "client") == 0;
    *(by_client ? &client_speed : &origin_speed) = strtoull(arguments[at + 1], NULL, 10) / (uint64_t)parallel;
    if ((origin_speed | client_speed) < 100000 || (origin_speed | client_speed) / 100000 > 65535 || count - at > 2) {
      fprintf(stderr, "load: paced takes 100 kB/s to 6.5 GB/s a connection, and no SOCKS5\n");
      return 2;
    }
    at += 2;
    mode = BULK;
  }
  memset(out, 'm', sizeof out);
  if (mode == HTTP) {
    const char *target = count > at ? arguments[at] : "/", *field = count > at + 1 ? arguments[at + 1] : "";
    // In absolute form the host is that of the target.
    char host[128];
    if (sscanf(target, "http://%127[^/]", host) != 1) snprintf(host, sizeof host, "127.0.0.1:%u", port);
    out_length = (size_t)snprintf(out, sizeof out, "GET %s HTTP/1.1\r\nhost: %s\r\nuser-agent: load\r\naccept: */*\r\n%s%s\r\n", target,
                                  host, field, *field ? "\r\n" : "");
    if (out_length >= sizeof out) {
      fprintf(stderr, "load: the request is too long\n");
      return 2;
    }
  } else if (count - at >= 3) {
    target_port = (uint16_t)atoi(arguments[at]);
    user = arguments[at + 1];
    password = arguments[at + 2];
  }
  connections = calloc((size_t)parallel, sizeof *connections);
  latency_room = mode == BULK ? 0 : amount + (uint64_t)parallel;
  latencies = malloc((latency_room + 1) * sizeof *latencies);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (connections == NULL || latencies == NULL || epoll < 0) fail("start");

  // Before `ready`: the connections of the message workloads, and the warm-up.
  if (mode == PINGPONG || mode == IDLE || mode == HTTP) {
    phase((uint64_t)parallel);
    open_all();
    run_until_goal();
  }
  if ((mode == PINGPONG || mode == HTTP) && warmup > 0) {
    phase(warmup);
    restart_all();
    run_until_goal();
  } else if (mode == CONNECT && warmup > 0) {
    phase(warmup);
    open_all();
    run_until_goal();
  }
  printf("ready\n");
  fflush(stdout);
  wait_for_line();

  uint64_t start = now_ns();
  switch (mode) {
  case PINGPONG:
  case HTTP:
    phase(amount);
    restart_all();
    run_until_goal();
    break;
  case CONNECT:
    phase(amount);
    open_all();
    run_until_goal();
    break;
  case BULK:
    phase((uint64_t)parallel);
    open_all();
    for (int i = 0; i < parallel; i++) connections[i].left = amount / (uint64_t)parallel;
    if (client_speed > 0) read_at_pace();
    else run_until_goal();
    break;
  case PACED: // has become BULK
  case IDLE: break;
  }
  double seconds = (double)(now_ns() - start) / 1e9;
  qsort(latencies, latency_count, sizeof *latencies, by_value);
  printf("{\"units\": %lu, \"failed\": %lu, \"bytes\": %lu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f}\n", finished,
         failed, bytes, seconds, percentile(0.5), percentile(0.99));
  fflush(stdout);
  wait_for_line();
  return 0;
}
