// Preloaded into the daemon: a kernel of before 6.5, which knows no SO_PEERPIDFD (77).
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    int (*real)(int, int, int, void *, socklen_t *) = dlsym(RTLD_NEXT, "getsockopt");
    if (level == SOL_SOCKET && name == 77) {
        errno = EINVAL;
        return -1;
    }
    return real(fd, level, name, value, length);
}
