#pragma once
// Latencies in log-linear buckets, 32 to each power of two, so an upper bound is at most 3.2 % above the truth.

#include <stdint.h>

enum { SUB_BITS = 5, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS) * SUB };
static uint64_t histogram[BUCKETS];
static uint64_t slowest_ns;

static inline void record(uint64_t ns) {
    if (ns > slowest_ns) slowest_ns = ns;
    if (ns < SUB) {
        histogram[ns]++;
        return;
    }
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    histogram[(shift + 1) * SUB + (unsigned)((ns >> shift) - SUB)]++;
}

static inline double percentile_us(uint64_t total, double share) {
    uint64_t rank = (uint64_t)((double)total * share), seen = 0;
    if (rank >= total) rank = total ? total - 1 : 0;
    for (unsigned b = 0; b < BUCKETS; b++) {
        seen += histogram[b];
        if (seen <= rank) continue;
        if (b < SUB) return b / 1e3;
        uint64_t upper = ((uint64_t)(b % SUB + SUB + 1) << (b / SUB - 1)) - 1;
        return (double)(upper < slowest_ns ? upper : slowest_ns) / 1e3;
    }
    return 0;
}
