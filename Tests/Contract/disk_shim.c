// Makes writes to, or syncs of, the files below one folder fail with an errno, as a disk that is full, read-only or
// broken does, or makes its syncs slow. Files opened before keep their descriptors, as on a real disk.
#include "panel.h"
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

// Whether a descriptor is a file below the watched folder.
static int watched(int fd) {
    static const char *folder;
    if (!folder) folder = getenv("SCAEM_TEST_DISK");
    if (!folder) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int kept = errno;
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0 && path[strlen(folder)] == '/';
}

static int fails(int64_t error, int fd) {
    if (!error || !watched(fd)) return 0;
    panel()->faults_hit++;
    errno = (int)error;
    return 1;
}

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    return fails(panel()->write_errno, fd) ? -1 : real(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    return fails(panel()->write_errno, fd) ? -1 : real(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    return fails(panel()->write_errno, fd) ? -1 : real(fd, bytes, count, at);
}

int ftruncate(int fd, off_t length) {
    REAL(int, ftruncate, int, off_t);
    return fails(panel()->write_errno, fd) ? -1 : real(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    return fails(panel()->write_errno, fd) ? -1 : real(fd, length);
}

int posix_fallocate(int fd, off_t at, off_t length) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    return fails(panel()->write_errno, fd) ? errno : real(fd, at, length);
}

static void dawdle(int fd) {
    int64_t delay = panel()->sync_delay_milliseconds;
    if (!delay || !watched(fd)) return;
    struct timespec time = {delay / 1000, delay % 1000 * 1000000};
    nanosleep(&time, NULL);
}

int fsync(int fd) {
    REAL(int, fsync, int);
    dawdle(fd);
    return fails(panel()->sync_errno, fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    dawdle(fd);
    return fails(panel()->sync_errno, fd) ? -1 : real(fd);
}
