// What cannot stand in the header (see there), and else would be a static inline.
#define _GNU_SOURCE
#include "CShim.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int shim_open_directory(const uint8_t *path) {
  return open((const char *)path, 010000000 /* O_PATH */ | O_DIRECTORY | O_CLOEXEC);
}
int shim_open_beneath(int directory, const uint8_t *path, int follows_links) {
  struct { uint64_t flags, mode, resolve; } how = {
      O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, 0x08 /* BENEATH */ | 0x02 /* NO_MAGICLINKS */};
  if (!follows_links) how.resolve |= 0x04; // NO_SYMLINKS
  return (int)syscall(437 /* openat2 */, directory, (const char *)path, &how, sizeof how);
}
int shim_open_step(int directory, const uint8_t *name, int is_last) {
  int flags = is_last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : 010000000 /* O_PATH */ | O_DIRECTORY;
  return openat(directory, (const char *)name, flags | O_NOFOLLOW | O_CLOEXEC);
}
int shim_file_status(int fd, struct shim_file *file) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -1;
  file->size = (int64_t)status.st_size;
  file->modified_seconds = (int64_t)status.st_mtim.tv_sec;
  file->modified_nanoseconds = (int32_t)status.st_mtim.tv_nsec;
  file->kind = S_ISREG(status.st_mode) ? SHIM_FILE_REGULAR
      : S_ISDIR(status.st_mode)        ? SHIM_FILE_DIRECTORY
                                       : SHIM_FILE_OTHER;
  file->inode = (uint64_t)status.st_ino;
  file->device = (uint64_t)status.st_dev;
  return 0;
}
ssize_t shim_read_at(int fd, uint8_t *buffer, size_t from, size_t length, int64_t offset) {
  ssize_t count;
  do count = pread(fd, buffer + from, length, offset);
  while (count < 0 && errno == EINTR);
  return count;
}
