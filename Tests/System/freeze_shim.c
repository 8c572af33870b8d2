// Preloaded into the daemon: stands one of its threads still, for as long as a file of that name is there. Nothing of this
// is in the daemon itself.
//
//   /run/scaemtest/freeze-loop-0, -loop-1   an event loop, when it next waits for events
//   /run/scaemtest/freeze-writer            the writer, when it next waits for mutations
//   /run/scaemtest/slow-disk                whoever syncs a file
//   /run/scaemtest/slow-start               whoever takes the database's lock, which only a start does
//   /run/scaemtest/slow-reload              the daemon (not a command of its unit) as it opens its configuration
//
// /run/scaemtest/later: CLOCK_BOOTTIME, by which a wait for the disk is measured, is six minutes ahead.
//
// And /run/scaemtest/unlimited-memlock: the limit of locked memory looks unlimited, for machines whose root may not raise
// it (the process then needs CAP_IPC_LOCK, which the kernel takes for the same).
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "/run/scaemtest/"

static void wait_while(const char *name) {
    char path[64];
    snprintf(path, sizeof path, FOLDER "%s", name);
    const struct timespec pause = {0, 20 * 1000 * 1000};
    while (access(path, F_OK) == 0) nanosleep(&pause, NULL);
}

static void freeze(const char *expected) {
    char name[16], file[32];
    prctl(PR_GET_NAME, name);
    if (strncmp(name, expected, strlen(expected)) != 0) return;
    snprintf(file, sizeof file, "freeze-%s", name);
    wait_while(file);
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout) {
    int (*real)(int, struct epoll_event *, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
    freeze("loop-");
    return real(epoll, events, count, timeout);
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *deadline) {
    int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *) =
        dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    int result = real(condition, mutex, deadline);
    char name[16];
    prctl(PR_GET_NAME, name);
    if (strcmp(name, "writer") == 0) {
        // Without the queue's lock, as a writer that is stuck elsewhere would be.
        pthread_mutex_unlock(mutex);
        wait_while("freeze-writer");
        pthread_mutex_lock(mutex);
    }
    return result;
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    wait_while("slow-disk");
    return real(fd);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    wait_while("slow-disk");
    return real(fd);
}

int flock(int fd, int operation) {
    int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
    if (operation & LOCK_EX) wait_while("slow-start");
    return real(fd, operation);
}

// systemd gives NOTIFY_SOCKET to the service's main process alone (NotifyAccess=main).
static int open_as(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    const char *file = strrchr(path, '/');
    if (file && strcmp(file, "/config.toml") == 0 && getenv("NOTIFY_SOCKET")) wait_while("slow-reload");
    return real(path, flags, mode);
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        mode_t mode = 0;                                                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                           \
            va_list list;                                                                                              \
            va_start(list, flags);                                                                                     \
            mode = va_arg(list, mode_t);                                                                               \
            va_end(list);                                                                                              \
        }                                                                                                              \
        return open_as(#name, path, flags, mode);                                                                      \
    }
OPEN(open)
OPEN(open64)

int clock_gettime(clockid_t clock, struct timespec *time) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (result == 0 && clock == CLOCK_BOOTTIME && access(FOLDER "later", F_OK) == 0) time->tv_sec += 360;
    return result;
}

static int limit_of(const char *name, int resource, struct rlimit *limit) {
    int (*real)(int, struct rlimit *) = dlsym(RTLD_NEXT, name);
    int result = real(resource, limit);
    if (result == 0 && resource == RLIMIT_MEMLOCK && access(FOLDER "unlimited-memlock", F_OK) == 0)
        limit->rlim_cur = limit->rlim_max = RLIM_INFINITY;
    return result;
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit) { return limit_of("getrlimit", (int)resource, limit); }
int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *limit) {
    return limit_of("getrlimit64", (int)resource, (struct rlimit *)limit);
}
