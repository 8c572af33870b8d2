#pragma once
// What Swift's Glibc module leaves out of Linux's own interfaces, and variadic calls, which Swift cannot make. Nothing
// here decides anything. Without _GNU_SOURCE, as Swift's own module is built: else the two differ in their types.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <linux/stat.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
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

/// getsockname(2) of a Unix socket: the bytes of its path, which are put into `path`; 0 where it has none.
static inline size_t linux_socket_path(int fd, char path[108]) {
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 || address.sun_family != AF_UNIX) return 0;
    memcpy(path, address.sun_path, sizeof address.sun_path);
    return strnlen(path, sizeof address.sun_path);
}

/// accept(2): a connection that is not blocking and closed on exec, or -1 with errno.
int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
static inline int linux_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); }

/// syncfs(2): the file system of a descriptor's file is on the disk; -1 with errno.
int syncfs(int fd);
static inline int linux_sync_file_system(int fd) { return syncfs(fd); }

/// prctl(2), PR_SET_NAME: what ps(1) shows of the calling thread, cut to 15 bytes.
static inline void linux_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

/// Asks the processor to fetch the cache line at an address, which need not be readable. GCC manual, __builtin_prefetch.
static inline void linux_prefetch(const void *address) { __builtin_prefetch(address); }

/// Why rename(2) will not put another file in a name's place, as far as statx(2) knows: EPERM, immutable or append-only; EBUSY, a
/// mount point; 0, nothing that it knows of.
static inline int linux_what_keeps_a_file(const char *path) {
    struct statx status;
    if (syscall(SYS_statx, AT_FDCWD, path, 0x100 /* AT_SYMLINK_NOFOLLOW */, 0, &status) != 0) return 0;
    if (status.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) return EPERM;
    return status.stx_attributes & STATX_ATTR_MOUNT_ROOT ? EBUSY : 0;
}

/// Whether this thread may do with others' files what their owners may: CAP_FOWNER, capabilities(7), in effect. root may lack it.
static inline int linux_acts_for_owners(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &head, sets) == 0 && sets[0].effective >> CAP_FOWNER & 1;
}

/// prctl(2), PR_SET_DUMPABLE.
static inline int linux_set_dumpable(int dumpable) { return prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0); }

/// unix(7), SIOCOUTQ: how much memory of what was sent the peer has not read yet, or -1 with errno. 0 is "nothing is on
/// its way".
static inline int linux_unread_bytes(int fd) {
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -1;
}

/// sendmsg(2) of one datagram with one descriptor (unix(7), SCM_RIGHTS), without waiting for the receiver; -1 sends none.
static inline ssize_t linux_send_with_descriptor(int socket, const struct sockaddr_un *address, socklen_t length,
                                                 const void *bytes, size_t count, int descriptor) {
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {(void *)bytes, count};
    struct msghdr message = {(void *)address, length, &part, 1, NULL, 0, 0};
    if (descriptor >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &descriptor, sizeof(int));
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/// mmap(2) of memory that stays one after a clone(2); NULL with errno.
static inline void *linux_map_shared(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/// pidfd_open(2): close-on-exec, readable when the process has ended; -1 with errno.
static inline int linux_open_pidfd(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/// A pidfd of the process at the other end of a Unix socket, close-on-exec: as the kernel knows it (unix(7), SO_PEERPIDFD),
/// or where it cannot say (before 6.5) by its pid; -1 with errno.
static inline int linux_peer_process(int fd, pid_t pid) {
    int process = -1;
    socklen_t length = sizeof process;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &process, &length) == 0) return process;
    return errno == EINVAL || errno == ENOPROTOOPT ? linux_open_pidfd(pid) : -1;
}

/// Whether the process of a pidfd has been waited for, so that its pid may be another's: pidfd_send_signal(2) of no signal.
static inline int linux_is_gone(int process) {
    return syscall(SYS_pidfd_send_signal, process, 0, NULL, 0) != 0 && errno == ESRCH;
}

/// clone(2) as fork(2) does it, but with one table of descriptors for both (CLONE_FILES). In a process of one thread only.
/// No signal says that it has ended.
static inline pid_t linux_clone_with_files(void) { return (pid_t)syscall(SYS_clone, 0x00000400, NULL, NULL, NULL, NULL); }
