// Makes look-ups of users fail as a directory service that is away makes them: with an error, not with "no such user".
// Or holds them, but for root's, as one does that does not answer.
#include "panel.h"
#include <pwd.h>

static void wait_for_others(uid_t uid) {
    if (uid != 0) pass(&panel()->lookup_gate, &panel()->lookup_waiting);
}

int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t length, struct passwd **result) {
    static int (*real)(uid_t, struct passwd *, char *, size_t, struct passwd **);
    if (!real) real = (int (*)(uid_t, struct passwd *, char *, size_t, struct passwd **))dlsym(RTLD_NEXT, "getpwuid_r");
    wait_for_others(uid);
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
    wait_for_others(uid);
    int64_t error = panel()->lookup_errno;
    if (error) {
        panel()->faults_hit++;
        errno = (int)error;
        return NULL;
    }
    return real(uid);
}
