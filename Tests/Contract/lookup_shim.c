// Makes look-ups of users fail as a directory service that is away makes them: with an error, not with "no such user".
// Or makes them slow, but for root's.
#include "panel.h"
#include <pwd.h>
#include <time.h>

static void dawdle(uid_t uid) {
    int64_t delay = panel()->lookup_delay_milliseconds;
    if (!delay || uid == 0) return;
    struct timespec time = {delay / 1000, delay % 1000 * 1000000};
    nanosleep(&time, NULL);
}

int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t length, struct passwd **result) {
    static int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **);
    if (!real) real = (int (*)(uid_t, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT, "getpwuid_r");
    dawdle(uid);
    int64_t error = panel()->lookup_errno;
    if (error) {
        panel()->faults_hit++;
        *result = NULL;
        return (int)error;
    }
    return real(uid, entry, buffer, length, result);
}

struct passwd *getpwuid(uid_t uid) {
    static struct passwd *(*real)(uid_t);
    if (!real) real = (struct passwd * (*)(uid_t)) dlsym(RTLD_NEXT, "getpwuid");
    dawdle(uid);
    int64_t error = panel()->lookup_errno;
    if (error) {
        panel()->faults_hit++;
        errno = (int)error;
        return NULL;
    }
    return real(uid);
}
