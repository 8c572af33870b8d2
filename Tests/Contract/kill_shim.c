// Kills the daemon (SIGKILL) at a named point of answering a unit. The point stands in a file, which goes as it is hit: so
// the next instance, which is started with the same environment, lives.
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int wanted(const char *point) {
    const char *path = getenv("SCAEM_TEST_KILL_AT");
    if (!path) return 0;
    int kept = errno;
    char text[32] = {0};
    ssize_t count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        count = read(fd, text, sizeof text - 1);
        close(fd);
    }
    errno = kept;
    return count > 0 && strcmp(text, point) == 0;
}

static void end_at(const char *point) {
    if (!wanted(point)) return;
    unlink(getenv("SCAEM_TEST_KILL_AT"));
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags) {
    REAL(int, accept4, int, struct sockaddr *, socklen_t *, int);
    int result = real(fd, address, length, flags);
    struct sockaddr_un own = {0};
    socklen_t room = sizeof own;
    if (result >= 0 && getsockname(fd, (struct sockaddr *)&own, &room) == 0 && strstr(own.sun_path, "credential"))
        end_at("accepted");
    return result;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    ssize_t result = real(fd, message, flags);
    if (result > 0 && message->msg_controllen > 0) end_at("stored");
    return result;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    REAL(int, getsockopt, int, int, int, void *, socklen_t *);
    int result = real(fd, level, name, value, length);
    if (level == SOL_SOCKET && name == SO_PRIORITY) end_at("kept");
    return result;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    REAL(int, setsockopt, int, int, int, const void *, socklen_t);
    int result = real(fd, level, name, value, length);
    if (level == SOL_SOCKET && name == SO_PRIORITY) end_at(*(const int *)value == 1 ? "marked" : "marked-refusal");
    return result;
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    ssize_t result = real(fd, bytes, count, flags);
    if (count == 72) {
        end_at("sent");
        if (wanted("read")) {
            // The peer reads at once: nothing is left to see of what was sent.
            int left = 1;
            while (ioctl(fd, SIOCOUTQ, &left) == 0 && left > 0) poll(NULL, 0, 1);
            end_at("read");
        }
    } else if (count > 4096) {
        end_at("refusing");
    }
    return result;
}

int shutdown(int fd, int how) {
    REAL(int, shutdown, int, int);
    int result = real(fd, how);
    if (how == SHUT_WR) end_at("shut");
    return result;
}
