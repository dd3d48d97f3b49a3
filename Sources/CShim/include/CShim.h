#pragma once
// What Swift's Glibc module does not declare. Glibc's clang module is built without _GNU_SOURCE, so the names that
// it hides are declared here by hand; everything else is a static inline that the Swift optimiser can inline.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

// Declared by hand: the headers show these only with _GNU_SOURCE.
extern int accept4(int, struct sockaddr *, socklen_t *, int);
extern int pipe2(int *, int);
extern long syscall(long, ...);
extern ssize_t splice(int, int64_t *, int, int64_t *, size_t, unsigned int);
extern void *memmem(const void *, size_t, const void *, size_t);
extern int pthread_setname_np(pthread_t, const char *);
extern int pthread_setaffinity_np(pthread_t, size_t, const cpu_set_t *);
extern int pthread_getaffinity_np(pthread_t, size_t, cpu_set_t *);

// The calls of the hot path go to the kernel without libc's wrappers: in a process with threads those open and close a
// cancellation point (POSIX, 2.9.5) around each call, and nobody here cancels threads. Builds for a sanitizer define
// SHIM_WITH_WRAPPERS, for it looks at what the wrappers read and write (Swift's importer does not tell this header of it).
#if !defined(SHIM_WITH_WRAPPERS) && (!defined(SYS_recvfrom) || !defined(SYS_sendto) || !defined(SYS_epoll_pwait))
#define SHIM_WITH_WRAPPERS 1
#endif

static inline ssize_t shim_recv(int fd, void *buffer, size_t length, int flags) {
#ifdef SHIM_WITH_WRAPPERS
  return recv(fd, buffer, length, flags);
#else
  return syscall(SYS_recvfrom, fd, buffer, length, flags, NULL, NULL);
#endif
}
static inline ssize_t shim_send(int fd, const void *bytes, size_t length, int flags) {
#ifdef SHIM_WITH_WRAPPERS
  return send(fd, bytes, length, flags);
#else
  return syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0);
#endif
}
static inline int shim_close(int fd) {
#ifdef SHIM_WITH_WRAPPERS
  return close(fd);
#else
  return (int)syscall(SYS_close, fd);
#endif
}
static inline int shim_connect(int fd, const struct sockaddr *address, socklen_t length) {
#ifdef SHIM_WITH_WRAPPERS
  return connect(fd, address, length);
#else
  return (int)syscall(SYS_connect, fd, address, length);
#endif
}

// epoll: an event carries a descriptor and the generation of its slot instead of a pointer, so that an event which
// was queued before a close is recognised as stale.
enum {
  SHIM_EPOLL_ADD = EPOLL_CTL_ADD,
  SHIM_EPOLL_DEL = EPOLL_CTL_DEL,
  SHIM_EPOLL_MOD = EPOLL_CTL_MOD,
};
static const uint32_t SHIM_EPOLLIN = EPOLLIN;
static const uint32_t SHIM_EPOLLOUT = EPOLLOUT;
static const uint32_t SHIM_EPOLLRDHUP = EPOLLRDHUP;
static const uint32_t SHIM_EPOLLHUP = EPOLLHUP;
static const uint32_t SHIM_EPOLLERR = EPOLLERR;
static const uint32_t SHIM_EPOLLET = 1u << 31;
static const uint32_t SHIM_EPOLLEXCLUSIVE = 1u << 28;

static inline int shim_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static inline int shim_epoll_ctl(int ep, int op, int fd, uint32_t events, uint32_t generation) {
  struct epoll_event e;
  e.events = events;
  e.data.u64 = (uint64_t)(uint32_t)fd | ((uint64_t)generation << 32);
  return epoll_ctl(ep, op, fd, &e);
}

static inline int shim_epoll_wait(int ep, struct epoll_event *events, int capacity, int milliseconds) {
#ifdef SHIM_WITH_WRAPPERS
  return epoll_wait(ep, events, capacity, milliseconds);
#else
  return (int)syscall(SYS_epoll_pwait, ep, events, capacity, milliseconds, NULL, (size_t)8);
#endif
}
static inline uint32_t shim_epoll_events(const struct epoll_event *e) { return e->events; }
static inline int shim_epoll_descriptor(const struct epoll_event *e) { return (int)(uint32_t)e->data.u64; }
static inline uint32_t shim_epoll_generation(const struct epoll_event *e) { return (uint32_t)(e->data.u64 >> 32); }

static inline int shim_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

// Sockets
static inline int shim_accept(int fd, struct sockaddr *address, socklen_t *length) {
#ifdef SHIM_WITH_WRAPPERS
  return accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
  return (int)syscall(SYS_accept4, fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
#endif
}
static inline int shim_stream_socket(int family) {
  return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}
// Peer of a Unix socket. Returns 0 and the peer's user id, or -1.
static inline int shim_peer_uid(int fd, uint32_t *uid) {
  struct { int32_t pid; uint32_t uid; uint32_t gid; } credentials = {0, 0, 0};
  socklen_t length = sizeof(credentials);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
  *uid = credentials.uid;
  return 0;
}

// Pipes and splice
static inline int shim_pipe(int *ends) { return pipe2(ends, SOCK_NONBLOCK | SOCK_CLOEXEC); } // the same values as O_*
extern int fcntl(int, int, ...);
static inline int shim_set_pipe_size(int fd, int bytes) { return fcntl(fd, 1031 /* F_SETPIPE_SZ */, bytes); }
static inline ssize_t shim_splice(int from, int to, size_t length) {
#ifdef SHIM_WITH_WRAPPERS
  return splice(from, NULL, to, NULL, length, 1 /* MOVE */ | 2 /* NONBLOCK */);
#else
  return syscall(SYS_splice, from, NULL, to, NULL, length, 1 /* MOVE */ | 2 /* NONBLOCK */);
#endif
}

// Files. Paths are bytes that end in NUL.
enum { SHIM_FILE_REGULAR = 1, SHIM_FILE_DIRECTORY = 2, SHIM_FILE_OTHER = 3 };
struct shim_file {
  int64_t size;
  int64_t modified_seconds;
  int32_t modified_nanoseconds;
  int32_t kind;
  uint64_t inode;
  uint64_t device;
};
// Defined in shim.c: whoever includes <sys/stat.h> here takes `stat` from Swift's Glibc module, and with it from every file
// that does not import this one.
//
// Opens a directory to look below it; the descriptor reads nothing itself. -1 and errno.
int shim_open_directory(const uint8_t *path);
// Opens for reading what lies below a directory: no "..", no absolute path and no link leads out of it, and nothing that is
// opened can block (a FIFO) or act (a terminal). Returns -1 and errno: ENOSYS or EPERM where the kernel or a sandbox does
// not know openat2, EXDEV or ELOOP for what would lead out.
int shim_open_beneath(int directory, const uint8_t *path, int follows_links);
// One step of the same by hand, for one name without a slash: follows no link at all.
int shim_open_step(int directory, const uint8_t *name, int is_last);
int shim_file_status(int fd, struct shim_file *file);
// Reads into the part of a buffer that begins at `from`.
ssize_t shim_read_at(int fd, uint8_t *buffer, size_t from, size_t length, int64_t offset);

// Threads
static inline void shim_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }
// Binds the calling thread to one processor. Returns 0 or an errno value.
static inline int shim_pin_thread(int processor) {
  unsigned long mask[16] = {0};
  const unsigned bits = 8 * sizeof(unsigned long);
  if (processor < 0 || processor >= (int)(16 * bits)) return EINVAL;
  mask[processor / bits] = 1ul << (processor % bits);
  return pthread_setaffinity_np(pthread_self(), sizeof(mask), (cpu_set_t *)mask);
}
// How many processors this process may run on (a container's limit included), at least 1.
static inline int shim_usable_processors(void) {
  unsigned long mask[16] = {0};
  if (pthread_getaffinity_np(pthread_self(), sizeof(mask), (cpu_set_t *)mask) != 0) return 1;
  int count = 0;
  for (int i = 0; i < 16; i++) count += __builtin_popcountl(mask[i]);
  return count > 0 ? count : 1;
}

// Time: nanoseconds of CLOCK_MONOTONIC.
static inline uint64_t shim_monotonic(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

// Randomness from the kernel. Returns the bytes filled in, or -1.
static inline ssize_t shim_getrandom(void *buffer, size_t length) { return getrandom(buffer, length, 0); }

static inline int shim_errno(void) { return errno; }
