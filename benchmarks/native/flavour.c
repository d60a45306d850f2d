/* One flavour of liburcu, FLAVOUR: memb, mb, bp or qsbr. Its read side is inlined here, which is the fastest that it offers. */
#define _GNU_SOURCE
#define _LGPL_SOURCE
#include "flavour.h"

#define memb 1
#define mb 2
#define bp 3
#define qsbr 4
#if FLAVOUR == memb
#define RCU_MEMBARRIER
#include <urcu.h>
#elif FLAVOUR == mb
#define RCU_MB
#include <urcu.h>
#elif FLAVOUR == bp
#include <urcu-bp.h>
#else
#include <urcu-qsbr.h>
#endif
#undef memb
#undef mb
#undef bp
#undef qsbr

#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)
#define QUOTED(a) #a
#define NAME(a) QUOTED(a)

static uint64_t sections(long count) {
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        rcu_read_lock();
        BARRIER();
        rcu_read_unlock();
        BARRIER();
    }
    return now() - begun;
}

static uint64_t grace_periods(long count) {
    uint64_t begun = now();
    for (long i = 0; i < count; i++)
        synchronize_rcu();
    return now() - begun;
}

static void enter(void) { rcu_register_thread(); }
static void leave(void) { rcu_unregister_thread(); }

#ifdef _URCU_QSBR_H
static uint64_t reported_sections(long count) {
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        rcu_read_lock();
        BARRIER();
        rcu_read_unlock();
        rcu_quiescent_state();
        BARRIER();
    }
    return now() - begun;
}
static void idle(void) { rcu_thread_offline(); }
static void busy(void) { rcu_thread_online(); }
#else
#define reported_sections NULL
static void idle(void) {}
static void busy(void) {}
#endif

const Flavour NAMED(flavour_, FLAVOUR) = {NAME(FLAVOUR), sections, reported_sections, grace_periods, enter, leave, idle, busy};
