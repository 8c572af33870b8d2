#pragma once
// What Swift's Glibc module leaves out of Linux's own interfaces, and variadic calls, which Swift cannot make. Nothing
// here decides anything. Without _GNU_SOURCE, as Swift's own module is built: else the two differ in their types.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/// socket(7): the peer's credentials as of connect(2) or listen(2); 0, or -1 with errno.
static inline int linux_peer_credentials(int fd, pid_t *pid, uid_t *uid, gid_t *gid) {
    struct {
        pid_t pid;
        uid_t uid;
        gid_t gid;
    } credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
    *pid = credentials.pid;
    *uid = credentials.uid;
    *gid = credentials.gid;
    return 0;
}

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

/// unix(7), SO_PEERGROUPS: the peer's supplementary groups as of connect(2). *count is the room in `groups`, then what
/// is needed or filled; 0, or -1 with errno (ERANGE: more room is needed).
static inline int linux_peer_groups(int fd, gid_t *groups, unsigned *count) {
    socklen_t length = *count * sizeof(gid_t);
    int result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length);
    *count = length / sizeof(gid_t);
    return result;
}

/// open(2) with a mode; Swift imports no variadic function.
static inline int linux_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

/// accept(2): a connection that is not blocking and closed on exec, or -1 with errno.
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
static inline int linux_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); }

/// prctl(2), PR_SET_NAME: what ps(1) shows of the calling thread, cut to 15 bytes.
static inline void linux_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

/// Asks the processor to fetch the cache line at an address, which need not be readable. GCC manual, __builtin_prefetch.
static inline void linux_prefetch(const void *address) { __builtin_prefetch(address); }

/// prctl(2), PR_SET_DUMPABLE.
static inline int linux_set_dumpable(int dumpable) { return prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0); }
