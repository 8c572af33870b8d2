// The disk of the process that it is preloaded into, below one folder: its writes and syncs fail with an errno, as on a
// disk that is full, read-only or broken, or its syncs are slow or held. Each call that opens or changes something there is a
// numbered step: at one of them the process is killed, or the call fails, once or from then on. What was done is written
// to a trace, from which power.py makes what a lost power leaves. Files opened before keep their descriptors, as on a
// real disk.
#include "panel.h"
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

// Whether a path, which is absolute and has no links, is the watched folder or in it.
static int is_watched(const char *path) {
    static const char *folder;
    if (!folder) folder = getenv("SCAEM_TEST_DISK");
    if (!folder) return 0;
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

// Whether a descriptor is of something there; `path`, of PATH_MAX bytes, gets its name.
static int watched_file(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int kept = errno;
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    errno = kept;
    if (length < 0) return 0;
    path[length] = 0;
    return is_watched(path);
}

// Whether a name, which need not exist, is there; `path`, of PATH_MAX bytes, gets it without links.
static int watched_name(const char *name, char *path) {
    char folder[PATH_MAX], last[PATH_MAX], resolved[PATH_MAX];
    if (strlen(name) >= PATH_MAX) return 0;
    int kept = errno;
    const char *found = realpath(dirname(strcpy(folder, name)), resolved);
    errno = kept;
    if (!found || strlen(found) + strlen(name) + 2 > PATH_MAX) return 0;
    strcpy(path, found);
    strcat(strcat(path, "/"), basename(strcpy(last, name)));
    return is_watched(path);
}

// One more step: whether it is to fail, with errno set. `error` is what all calls of its kind fail with, or 0.
static int fails(int64_t error) {
    struct panel *says = panel();
    int64_t number = __atomic_add_fetch(&says->steps, 1, __ATOMIC_SEQ_CST), at = says->fault_step;
    if (at && (number == at || (number > at && says->fault_lasts))) {
        if (!says->fault_errno) {
            kill(getpid(), SIGKILL);
            for (;;) pause();
        }
        error = says->fault_errno;
    }
    if (!error) return 0;
    says->faults_hit++;
    errno = (int)error;
    return 1;
}

// The trace. `kind` is one of KINDS in power.py; what is done and its record are one step for all threads.

enum { WRITE, TRUNCATE, SYNC, SYNC_FAILED, CREATE, UNLINK, RENAME, LINK };

static pthread_mutex_t tracing = PTHREAD_MUTEX_INITIALIZER;

static void begin(void) { pthread_mutex_lock(&tracing); }

static void end(int done, int32_t kind, const char *path, const char *other, int64_t at, const void *bytes, int64_t count) {
    static int trace = -2;
    int kept = errno;
    if (trace == -2) {
        const char *name = getenv("SCAEM_TEST_TRACE");
        trace = name ? open(name, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    }
    if (done && trace >= 0) {
        struct stat about = {0};
        if (kind < UNLINK) stat(path, &about);
        int64_t head[] = {kind, panel()->steps, about.st_ino, at, count, strlen(path), strlen(other)};
        struct iovec parts[] = {{head, sizeof head}, {(void *)path, head[5]}, {(void *)other, head[6]},
                                {(void *)bytes, bytes ? count : 0}};
        if (writev(trace, parts, 4) < 0) abort();
    }
    pthread_mutex_unlock(&tracing);
    errno = kept;
}

// Writes.

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return real(fd, bytes, count);
    if (fails(panel()->write_errno)) return -1;
    begin();
    int64_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t result = real(fd, bytes, count);
    end(result > 0, WRITE, path, "", at, bytes, result);
    return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return real(fd, bytes, count, at);
    if (fails(panel()->write_errno)) return -1;
    begin();
    ssize_t result = real(fd, bytes, count, at);
    end(result > 0, WRITE, path, "", at, bytes, result);
    return result;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return real(fd, length);
    if (fails(panel()->write_errno)) return -1;
    begin();
    int result = real(fd, length);
    end(result == 0, TRUNCATE, path, "", length, NULL, 0);
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

// Syncs.

static int sync_by(int (*real)(int), int fd) {
    char path[PATH_MAX];
    if (!watched_file(fd, path)) return real(fd);
    int64_t delay = panel()->sync_delay_milliseconds;
    struct timespec time = {delay / 1000, delay % 1000 * 1000000};
    if (delay) nanosleep(&time, NULL);
    if (__atomic_fetch_sub(&panel()->sync_passes, 1, __ATOMIC_SEQ_CST) <= 0)
        pass(&panel()->sync_gate, &panel()->sync_waiting);
    const char *file = strrchr(path, '/');
    if (file && strcmp(file, "/tokens.db") == 0) pass(&panel()->database_gate, &panel()->database_waiting);
    int failed = fails(panel()->sync_errno);
    begin();
    int result = failed ? -1 : real(fd);
    end(1, failed ? SYNC_FAILED : SYNC, path, "", 0, NULL, 0);
    return result;
}

// SQLite's reads of pages. The others' go on, as they do where the kernel has what they ask for and not what the writer does.
ssize_t pread64(int fd, void *buffer, size_t count, off64_t offset) {
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    char path[PATH_MAX], thread[16] = "";
    if (panel()->read_gate && watched_file(fd, path)) {
        const char *file = strrchr(path, '/');
        pthread_getname_np(pthread_self(), thread, sizeof thread);
        if (file && strcmp(file, "/tokens.db") == 0 && strcmp(thread, "writer") == 0)
            pass(&panel()->read_gate, &panel()->read_waiting);
    }
    return real(fd, buffer, count, offset);
}

int fsync(int fd) {
    REAL(int, fsync, int);
    return sync_by(real, fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return sync_by(real, fd);
}

// Names.

int open64(const char *name, int flags, ...) {
    REAL(int, open64, const char *, int, ...);
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    char path[PATH_MAX];
    if (!watched_name(name, path)) return real(name, flags, mode);
    if (fails(0)) return -1;
    begin();
    int result = real(name, flags, mode);
    end(result >= 0 && flags & O_CREAT, CREATE, path, "", 0, NULL, 0);
    return result;
}

int open(const char *name, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    return open64(name, flags, mode);
}

int mkdir(const char *name, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    char path[PATH_MAX];
    if (!watched_name(name, path)) return real(name, mode);
    if (fails(0)) return -1;
    begin();
    int result = real(name, mode);
    end(result == 0, CREATE, path, "", 0, NULL, 0);
    return result;
}

int unlink(const char *name) {
    REAL(int, unlink, const char *);
    char path[PATH_MAX];
    if (!watched_name(name, path)) return real(name);
    if (fails(0)) return -1;
    begin();
    int result = real(name);
    end(result == 0, UNLINK, path, "", 0, NULL, 0);
    return result;
}

static int two_names(int (*real)(const char *, const char *), int kind, const char *old, const char *new) {
    char from[PATH_MAX], to[PATH_MAX];
    if (!watched_name(old, from) || !watched_name(new, to)) return real(old, new);
    if (fails(0)) return -1;
    begin();
    int result = real(old, new);
    end(result == 0, kind, from, to, 0, NULL, 0);
    return result;
}

int rename(const char *old, const char *new) {
    REAL(int, rename, const char *, const char *);
    return two_names(real, RENAME, old, new);
}

int link(const char *old, const char *new) {
    REAL(int, link, const char *, const char *);
    return two_names(real, LINK, old, new);
}
