// origin: the server behind every proxy of a run. Two ports of 127.0.0.1, printed as `echo N` and `source N`:
//   echo    sends back what it receives
//   source  reads 8 bytes (big endian: a length), sends that many bytes, and closes
// Usage: origin CORE
#include "sockets.h"

enum { chunk = 256 * 1024, max_events = 256, max_fd = 1 << 17 };

struct connection {
  bool open;
  bool source;
  uint8_t request[8];
  uint32_t have;   // of the request
  uint64_t left;   // to send
};

static struct connection connections[max_fd];
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
  while (c->have < sizeof c->request) {
    ssize_t n = recv(fd, c->request + c->have, sizeof c->request - c->have, 0);
    if (n <= 0) {
      if (n == 0 || errno != EAGAIN) drop(fd);
      return;
    }
    c->have += (uint32_t)n;
    if (c->have == sizeof c->request) {
      for (int i = 0; i < 8; i++) c->left = c->left << 8 | c->request[i];
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

int main(int count, char **arguments) {
  prepare_process(count > 1 ? atoi(arguments[1]) : -1);
  memset(buffer, 'x', sizeof buffer);
  uint16_t echo_port, source_port;
  int echo_fd = listen_on_loopback(&echo_port), source_fd = listen_on_loopback(&source_port);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail("epoll_create1");
  watch(epoll, EPOLL_CTL_ADD, echo_fd, EPOLLIN, (uint64_t)echo_fd);
  watch(epoll, EPOLL_CTL_ADD, source_fd, EPOLLIN, (uint64_t)source_fd);
  printf("echo %u\nsource %u\n", echo_port, source_port);
  fflush(stdout);

  struct epoll_event events[max_events];
  for (;;) {
    int n = epoll_wait(epoll, events, max_events, -1);
    for (int i = 0; i < n; i++) {
      int fd = (int)events[i].data.u64;
      if (fd == echo_fd || fd == source_fd) {
        int accepted;
        while ((accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          if (accepted >= max_fd) {
            close(accepted);
            continue;
          }
          connections[accepted] = (struct connection){.open = true, .source = fd == source_fd};
          watch(epoll, EPOLL_CTL_ADD, accepted, EPOLLIN, (uint64_t)accepted);
        }
      } else if (!connections[fd].open) {
        continue;
      } else if (connections[fd].source) {
        pour(epoll, fd);
      } else {
        echo(fd);
      }
    }
  }
}
