// What the tests tell the shims, in a file that both sides map: 64-bit numbers (FIELDS in faults.py).
#pragma once
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct panel {
    volatile int64_t frozen;           // not 0: the two clocks stand still at what follows
    volatile int64_t wall_nanoseconds;  // since the epoch
    volatile int64_t boot_nanoseconds;  // since the boot
    volatile int64_t lookup_errno;      // not 0: look-ups of users fail with it
    volatile int64_t write_errno;       // not 0: writes to the watched folder fail with it
    volatile int64_t sync_errno;        // not 0: syncs of the watched folder fail with it
    volatile int64_t faults_hit;        // how often a fault was injected
    volatile int64_t lookup_gate;       // not 0: look-ups of users, but for root's, wait until it is
    int64_t lookup_waiting;             // how many wait there
    volatile int64_t sync_delay_milliseconds;  // how long each sync of the watched folder takes at least
    int64_t steps;                      // calls that opened or changed something in the watched folder
    volatile int64_t fault_step;        // not 0: at this step the fault strikes
    volatile int64_t fault_errno;       // what the step fails with; 0: the process is killed before it
    volatile int64_t fault_lasts;       // not 0: all later steps fail too, until fault_step is 0
    volatile int64_t sync_gate;         // not 0: syncs of the watched folder wait until it is
    int64_t sync_waiting;               // how many wait there
    int64_t sync_passes;                // how many go through the shut gate before one waits
    volatile int64_t database_gate;     // not 0: syncs of the watched folder's tokens.db itself wait until it is
    int64_t database_waiting;           // how many wait there
    volatile int64_t read_gate;         // not 0: the writer's reads of the watched folder's tokens.db wait until it is
    int64_t read_waiting;               // how many wait there
};

static struct panel *panel(void) {
    static struct panel *mapped;
    struct panel *known = __atomic_load_n(&mapped, __ATOMIC_ACQUIRE);
    if (known) return known;
    const char *path = getenv("SCAEM_TEST_PANEL");
    if (!path) abort();
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) abort();
    void *address = mmap(NULL, sizeof(struct panel), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (address == MAP_FAILED) abort();
    __atomic_store_n(&mapped, address, __ATOMIC_RELEASE);
    return address;
}

// A gate holds who comes for as long as it is shut.
static inline void pass(volatile int64_t *gate, int64_t *waiting) {
    if (!*gate) return;
    struct timespec look = {0, 1000000};
    __atomic_add_fetch(waiting, 1, __ATOMIC_SEQ_CST);
    while (*gate) nanosleep(&look, NULL);
    __atomic_sub_fetch(waiting, 1, __ATOMIC_SEQ_CST);
}
