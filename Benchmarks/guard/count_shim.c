// Counts what a process allocates and syncs, into a file that it shares with who watches; holds its syncs back while
// it is told to; and stops CLOCK_BOOTTIME, by which the daemon does now and then what no request asked for: a run on
// a busy machine takes longer, and must not count more. Preloaded by guard.py, whose Counters.FIELDS are the same
// four numbers.

#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct counters {
    volatile int64_t allocations;
    volatile int64_t syncs;
    volatile int64_t gate_is_shut;  // not 0: syncs wait before they are made
    volatile int64_t at_the_gate;   // how many do
};

static struct counters before_main;
static struct counters *counters = &before_main;

__attribute__((constructor)) static void open_counters(void) {
    const char *path = getenv("SCAEM_GUARD_COUNTERS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) abort();
    void *shared = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) abort();
    close(fd);
    counters = shared;
}

static void add(volatile int64_t *counter, int64_t number) { __atomic_add_fetch(counter, number, __ATOMIC_SEQ_CST); }

// glibc's own names for its allocator: looking the next one up with dlsym(3) would allocate.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) {
    add(&counters->allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    add(&counters->allocations, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    add(&counters->allocations, 1);
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    add(&counters->allocations, 1);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    void *memory = aligned_alloc(alignment, size);
    if (!memory) return ENOMEM;
    *result = memory;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static struct timespec boot;
    static int (*volatile real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (clock != CLOCK_BOOTTIME) return real(clock, time);
    // The daemon asks first while it has one thread.
    if (boot.tv_sec == 0) real(clock, &boot);
    *time = boot;
    return 0;
}

static int count_sync(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    add(&counters->syncs, 1);
    add(&counters->at_the_gate, 1);
    const struct timespec moment = {.tv_nsec = 1000000};
    while (counters->gate_is_shut) nanosleep(&moment, NULL);
    add(&counters->at_the_gate, -1);
    return real(fd);
}

int fdatasync(int fd) { return count_sync("fdatasync", fd); }
int fsync(int fd) { return count_sync("fsync", fd); }
