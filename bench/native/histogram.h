/* Latencies in nanoseconds, in log-linear buckets: a value read back is at most 0.8 % off. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

#define SUB_BITS 7
#define SUB_BUCKETS (1 << SUB_BITS)

struct histogram {
    uint64_t count;
    uint64_t buckets[64 - SUB_BITS][SUB_BUCKETS];
};

static inline void histogram_add(struct histogram* h, uint64_t ns) {
    int shift = 0;
    if (ns >= SUB_BUCKETS) shift = 64 - __builtin_clzll(ns) - SUB_BITS;
    h->buckets[shift][ns >> shift]++;
    h->count++;
}

/* Returns the middle of the bucket of the given fraction, in microseconds. */
static inline double histogram_us(const struct histogram* h, double fraction) {
    uint64_t wanted = (uint64_t)(fraction * (double)h->count), seen = 0;
    for (int shift = 0; shift < 64 - SUB_BITS; shift++)
        for (int sub = 0; sub < SUB_BUCKETS; sub++) {
            seen += h->buckets[shift][sub];
            if (seen > wanted) return (((double)sub + 0.5) * (double)(1ULL << shift)) / 1000.0;
        }
    return 0.0;
}

#endif
