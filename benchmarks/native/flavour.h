/* What native.c knows of one flavour of liburcu. Each is compiled from flavour.c, for itself. */
#ifndef FLAVOUR_H
#define FLAVOUR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef struct {
    const char *name;
    /* Nanoseconds of so many read-side sections, in a thread that is a reader of this flavour. */
    uint64_t (*sections)(long count);
    /* The same, with what else the flavour asks of its readers now and then after each. NULL: it asks nothing. */
    uint64_t (*reported_sections)(long count);
    /* Nanoseconds of so many grace periods. */
    uint64_t (*grace_periods)(long count);
    /* Around the life of a reader. Out of sections it is idle, and no grace period waits for it. */
    void (*enter)(void), (*leave)(void), (*idle)(void), (*busy)(void);
} Flavour;

extern const Flavour flavour_memb, flavour_mb, flavour_bp, flavour_qsbr;

static inline uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The compiler can leave nothing out, and move nothing, across this. It is no instruction. */
#define BARRIER() __asm__ volatile("" ::: "memory")

#endif
