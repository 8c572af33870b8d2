#pragma once
// Latencies in log-linear buckets: the scheme of HdrHistogram at three significant digits (Debian 12 has no C library
// of it). Each power of two is cut into 1,024 equal parts, so that what is read out, a bucket's upper end, is at most
// 0.1 % above what was measured; the slowest is kept exactly. Recording is an addition, without a branch on the size
// of the table: it holds every 64-bit number of nanoseconds.

#include <stdint.h>

enum { SUB_BITS = 10, SUB = 1 << SUB_BITS, BUCKETS = (65 - SUB_BITS) * SUB };
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
