// Stops the wall clock and CLOCK_BOOTTIME of the process that it is preloaded into, at what the panel says.
// CLOCK_MONOTONIC, which only paces things, goes on. The C library's own functions are reached by dlsym.
#include "panel.h"
#include <sys/time.h>
#include <time.h>

static void fill(struct timespec *time, int64_t nanoseconds) {
    time->tv_sec = nanoseconds / 1000000000;
    time->tv_nsec = nanoseconds % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    struct panel *says = panel();
    if (says->frozen) {
        if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
            fill(time, says->wall_nanoseconds);
            return 0;
        }
        if (clock == CLOCK_BOOTTIME) {
            fill(time, says->boot_nanoseconds);
            return 0;
        }
    }
    return real(clock, time);
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
