// origin: the server behind every proxy of a run. Three ports of 127.0.0.1, printed as `echo N`, `source N` and `http N`:
//   echo    sends back what it receives
//   source  reads 8 bytes (big endian: 16 bits of speed, 48 of length), sends that many bytes, and closes. A speed is counted in
//           100 kB/s and kept in steps of 50 ms; 0 is as fast as it goes
//   http    answers requests without a body on kept connections, GET /128 with 128 bytes
// Usage: origin CORE
#include "sockets.h"

enum { chunk = 256 * 1024, max_events = 256, max_fd = 1 << 15, tick_ns = 50 * 1000 * 1000 };

enum kind { KIND_ECHO, KIND_SOURCE, KIND_HTTP };

struct connection {
  bool open;
  enum kind kind;
  uint8_t request[8];
  char head[2048];
  uint32_t have;   // of the request
  uint64_t left;   // to send
  uint64_t pace;   // bytes a tick; 0 without a pace
  uint64_t credit; // what the ticks up to now allow
};

static struct connection connections[max_fd];
static int paced[max_fd], paced_count;
static uint64_t next_tick;
static char buffer[chunk];

static int listen_on_loopback(uint16_t *port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);  // accepted sockets inherit it
  struct sockaddr_in a = loopback(0);
  socklen_t n = sizeof a;
  if (bind(fd, (struct sockaddr *)&a, n) != 0) fail("bind");
  if (listen(fd, 4096) != 0) fail("listen");
  if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) fail("getsockname");
  *port = ntohs(a.sin_port);
  return fd;
}

static void drop(int fd) {
  connections[fd].open = false;
  for (int i = 0; connections[fd].pace > 0 && i < paced_count; i++) {
    if (paced[i] == fd) paced[i--] = paced[--paced_count];
  }
  close(fd);
}

// Echoes what is there. The messages of the benchmark are far smaller than a socket buffer, so a short write is a bug of the run.
static void echo(int fd) {
  for (;;) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) drop(fd);
      return;
    }
    ssize_t sent = send(fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent != n) {
      drop(fd);
      return;
    }
    if ((size_t)n < sizeof buffer) return;
  }
}

static void pour(int epoll, int fd) {
  struct connection *c = &connections[fd];
  if (c->pace > 0) {
    // The client says nothing more, so this is its end.
    if (recv(fd, buffer, 1, 0) >= 0 || errno != EAGAIN) drop(fd);
    return;
  }
  while (c->have < sizeof c->request) {
    ssize_t n = recv(fd, c->request + c->have, sizeof c->request - c->have, 0);
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) drop(fd);
      return;
    }
    c->have += (uint32_t)n;
    if (c->have == sizeof c->request) {
      for (int i = 0; i < 8; i++) c->left = c->left << 8 | c->request[i];
      c->pace = (c->left >> 48) * 5000;
      c->left &= (1ull << 48) - 1;
      if (c->pace > 0) {
        if (paced_count == 0) next_tick = now_ns();
        paced[paced_count++] = fd;
        return;
      }
      watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT, (uint64_t)fd);
    }
  }
  while (c->left > 0) {
    ssize_t n = send(fd, buffer, c->left < chunk ? (size_t)c->left : chunk, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno != EAGAIN) drop(fd);
      return;
    }
    c->left -= (uint64_t)n;
  }
  drop(fd);
}

// Sends what the ticks that have passed allow. Returns how many milliseconds there are to the next one; -1 without anyone to serve.
static int pour_paced(void) {
  uint64_t now = now_ns(), ticks = 0;
  for (; paced_count > 0 && next_tick <= now; next_tick += tick_ns) ticks++;
  // Backwards: who is dropped leaves its place to one that has been served.
  for (int i = paced_count - 1; ticks > 0 && i >= 0; i--) {
    int fd = paced[i];
    struct connection *c = &connections[fd];
    c->credit += ticks * c->pace;
    while (c->open && c->left > 0 && c->credit > 0) {
      uint64_t most = c->left < c->credit ? c->left : c->credit;
      ssize_t n = send(fd, buffer, most < chunk ? (size_t)most : chunk, MSG_NOSIGNAL);
      if (n < 0) {
        if (errno != EAGAIN) drop(fd);
        break;
      }
      c->left -= (uint64_t)n;
      c->credit -= (uint64_t)n;
    }
    if (c->open && c->left == 0) drop(fd);
  }
  return paced_count == 0 ? -1 : (int)((next_tick - now) / 1000000) + 1;
}

// Sends what is left of the body. False when the connection takes no more now, or is over.
static bool send_body(int epoll, int fd) {
  struct connection *c = &connections[fd];
  while (c->left > 0) {
    ssize_t n = send(fd, buffer, c->left < chunk ? (size_t)c->left : chunk, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT, (uint64_t)fd);
      else drop(fd);
      return false;
    }
    c->left -= (uint64_t)n;
  }
  return true;
}

// The number behind the last slash of the request's target.
static uint64_t wanted(const char *head) {
  const char *end = strchr(head + 4, ' '), *slash = end;
  while (slash != NULL && slash > head && *slash != '/') slash--;
  return slash == NULL ? 0 : strtoull(slash + 1, NULL, 10);
}

static void answer(int epoll, int fd) {
  struct connection *c = &connections[fd];
  if (c->left > 0) {
    if (!send_body(epoll, fd)) return;
    watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN, (uint64_t)fd);
  }
  for (;;) {
    ssize_t n = recv(fd, c->head + c->have, sizeof c->head - 1 - c->have, 0);
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) drop(fd);
      return;
    }
    c->have += (uint32_t)n;
    c->head[c->have] = 0;
    if (c->have < 4 || memcmp(c->head + c->have - 4, "\r\n\r\n", 4) != 0) {
      if (c->have < sizeof c->head - 1) continue;
      return drop(fd);
    }
    uint64_t length = wanted(c->head);
    c->have = 0;
    char head[256];
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                        "content-type: application/octet-stream\r\ncontent-length: %lu\r\n\r\n", length);
    uint64_t first = length < sizeof buffer ? length : sizeof buffer;
    struct iovec parts[2] = {{head, (size_t)size}, {buffer, first}};
    ssize_t sent = writev(fd, parts, 2);
    if (sent < size) return drop(fd);
    c->left = length - (uint64_t)(sent - size);
    if (!send_body(epoll, fd)) return;
  }
}

int main(int count, char **arguments) {
  prepare_process(count > 1 ? atoi(arguments[1]) : -1);
  memset(buffer, 'x', sizeof buffer);
  uint16_t ports[3];
  int listeners[3];
  for (int kind = KIND_ECHO; kind <= KIND_HTTP; kind++) listeners[kind] = listen_on_loopback(&ports[kind]);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail("epoll_create1");
  for (int kind = KIND_ECHO; kind <= KIND_HTTP; kind++) {
    watch(epoll, EPOLL_CTL_ADD, listeners[kind], EPOLLIN, (uint64_t)listeners[kind]);
  }
  printf("echo %u\nsource %u\nhttp %u\n", ports[KIND_ECHO], ports[KIND_SOURCE], ports[KIND_HTTP]);
  fflush(stdout);

  struct epoll_event events[max_events];
  for (;;) {
    int n = epoll_wait(epoll, events, max_events, pour_paced());
    for (int i = 0; i < n; i++) {
      int fd = (int)events[i].data.u64;
      if (fd == listeners[KIND_ECHO] || fd == listeners[KIND_SOURCE] || fd == listeners[KIND_HTTP]) {
        enum kind kind = fd == listeners[KIND_ECHO] ? KIND_ECHO : fd == listeners[KIND_SOURCE] ? KIND_SOURCE : KIND_HTTP;
        int accepted;
        while ((accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          if (accepted >= max_fd) {
            close(accepted);
            continue;
          }
          struct connection *c = &connections[accepted];
          c->open = true;
          c->kind = kind;
          c->have = 0;
          c->left = c->pace = c->credit = 0;
          watch(epoll, EPOLL_CTL_ADD, accepted, EPOLLIN, (uint64_t)accepted);
        }
      } else if (!connections[fd].open) {
        continue;
      } else if (connections[fd].kind == KIND_HTTP) {
        answer(epoll, fd);
      } else if (connections[fd].kind == KIND_SOURCE) {
        pour(epoll, fd);
      } else {
        echo(fd);
      }
    }
  }
}
