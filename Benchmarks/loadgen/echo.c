// An echo server on a Unix stream socket, one thread, epoll: what the kernel allows a server that does nothing. It ends
// by itself after the given number of seconds.
//
//   usage: echo PATH SECONDS

#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char buffer[256 * 1024];

static void __attribute__((noreturn)) fail(const char *what) {
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

/// What was read goes back whole: the load generator never has more outstanding than a socket's buffers hold, so that
/// a blocking write cannot lock the two against each other for good.
static void echo(int fd) {
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) {
        close(fd);
        return;
    }
    for (ssize_t sent = 0; sent < n;) {
        ssize_t m = send(fd, buffer + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (m <= 0) {
            close(fd);
            return;
        }
        sent += m;
    }
}

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int seconds = argc == 3 ? atoi(argv[2]) : 0;
    if (seconds < 1 || seconds > 86400 || strlen(argv[1]) >= sizeof address.sun_path) {
        fputs("usage: echo PATH SECONDS\n", stderr);
        return 64;
    }
    alarm((unsigned)seconds);
    strcpy(address.sun_path, argv[1]);
    unlink(argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0)
        fail(argv[1]);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) fail("epoll");
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != listener) {
                echo(events[i].data.fd);
                continue;
            }
            event.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (event.data.fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) != 0) fail("epoll_ctl");
        }
    }
}
