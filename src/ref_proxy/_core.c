/* The mechanism in C. Read `_core_py.py` first, which explains the words and the algorithm; this file does the same at speed.
 *
 * What differs is where a publication's members are kept. With the GIL nothing can come between two statements here, so a
 * cell has one list of open sections and plain counters. Without it a cell starts with one *stripe*, a list with a lock of its
 * own, and gets many as soon as two threads meet at that lock; a thread always uses the same one, so the lock is its own.
 *
 *   access    lock the stripe; load the cell's publication [LOAD]; link the section and count it [JOIN]; unlock
 *   end       lock the stripe; unlink, and count it off [LEAVE]; unlock; the last one out of a retired publication wakes [WAKE]
 *   publish   store the new publication [PUBLISH]; then, stripe by stripe, under its lock, turn the stripe to it: the stripe's
 *             count moves to `left` of the old publication [SCAN]; then take off the one that `left` started with [UNBIAS]
 *
 * Why this is enough (the conclusions are numbered, the code cites them):
 *   (1) [JOIN] against [SCAN]: the stripe's lock orders them. Either the section is linked first, and then it is in the count
 *       that moves to `left`; or the scan is first, and then [LOAD], after taking the lock that the scan gave back, sees what
 *       [PUBLISH] stored before it. No section can hold a resource that the remover does not wait for.
 *   (2) An access that sees a newer publication than its stripe was turned to turns it itself, so a count never mixes two.
 *   (3) `left` starts at one, which is taken off after the last stripe was turned: while counts are moving it cannot be zero.
 *       It reaches zero once, and whoever takes off the last one, and nobody else, completes the publication.
 *   (4) The cell owns a publication while it is current, and then, in its list of retired ones, until it is complete. A section
 *       is open only before that: so it borrows the publication, and the resource in it, without a reference of its own.
 *   (5) What readers wrote in their sections is seen by the remover (S12): a section that ended before the scan gave the stripe's
 *       lock to it; a later one took itself off `left`, with release, and the reader of the zero acquires.
 *   (6) No Python code runs and no reference is given back while a stripe is locked. A lock's holder therefore always comes to
 *       its unlock, without waiting for anything; an access may interrupt another one wherever Python code can run.
 *
 * Why no GIL is needed (Py_MOD_GIL_NOT_USED): all that threads share is either constant after creation, or guarded by a stripe's
 * lock or the cell's `publishing` lock, or one of the atomics below.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __linux__
#include <dlfcn.h>
#endif

#include "include/ref_proxy.h"

#ifdef PYPY_VERSION
#error "PyPy runs the Python twin"
#endif

/* What nearly always holds, or never: it keeps the way of an access straight. */
#if defined(__GNUC__) || defined(__clang__)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define COLD __attribute__((cold, noinline))
#define HOT inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline))
/* Between two stores: else compilers make one of 16 bytes of them, which is slower here, for what is stored is loaded again at once,
 * each half for itself, and has to go through a vector register on its way: half of what an access in C cost. */
#define APART() __asm__ volatile("" ::: "memory")
#else
#define likely(x) (x)
#define unlikely(x) (x)
#define COLD
#define HOT inline
#define NEVER_INLINE
#define APART() ((void)0)
#endif

/* ---- Locks and atomics: all there are, in one place ---- */

#ifdef Py_GIL_DISABLED
#include <sched.h>
#include <stdatomic.h>
enum { STRIPES = 64 }; /* a power of two; threads are numbered one by one, so up to this many run without meeting */
#define ATOMIC(type) _Atomic(type)
#define load(p) atomic_load_explicit((p), memory_order_acquire)
#define store(p, value) atomic_store_explicit((p), (value), memory_order_release)
#define add(p, n) ((void)atomic_fetch_add_explicit((p), (n), memory_order_relaxed))
#define drop_is_last(p) (atomic_fetch_sub_explicit((p), 1, memory_order_acq_rel) == 1)
#define swap_if(p, was, value) \
    atomic_compare_exchange_strong_explicit((p), &(was), (value), memory_order_acq_rel, memory_order_acquire)

/* A lock is held for a few loads and stores (6), and nearly always taken by the same thread: so one atomic operation takes it,
 * and giving it back is a plain store, half of what a PyMutex costs. A waiter that stays unlucky sleeps, so that a holder of
 * lower priority comes to run. */
typedef ATOMIC(bool) Lock;
static inline bool try_lock(Lock *lock) { return !atomic_exchange_explicit(lock, true, memory_order_acquire); }
static inline void unlock(Lock *lock) { store(lock, false); }

COLD static void lock_slowly(Lock *lock) {
    for (int tries = 0; atomic_load_explicit(lock, memory_order_relaxed) || !try_lock(lock); tries++) {
        if (tries > 200)
            nanosleep(&(struct timespec){0, 20000}, NULL);
        else if (tries > 100)
            sched_yield();
    }
}

static inline void lock(Lock *lock) {
    if (unlikely(!try_lock(lock)))
        lock_slowly(lock);
}

/* Whether this thread made the object, and its reference count has not been merged. */
#define is_own(object) _Py_IsOwnedByCurrentThread((PyObject *)(object))
#else
typedef char Lock;
#define ATOMIC(type) type
#define lock(l) ((void)(l))
#define unlock(l) ((void)(l))
#define load(p) (*(p))
#define store(p, value) ((void)(*(p) = (value)))
#define add(p, n) ((void)(*(p) += (n)))
#define drop_is_last(p) (--*(p) == 0)
#define swap_if(p, was, value) (*(p) == (was) && (*(p) = (value), true))
#define is_own(object) true
#endif

/* Nanoseconds that go on while the machine sleeps, where the system counts those, as `clock.py` has them. Reading them takes half as
 * long as an access. The tick takes a seventh of that: it is another one every 10 ms at least, whenever any thread runs. */
#if defined(CLOCK_BOOTTIME) && defined(CLOCK_MONOTONIC_COARSE)
typedef int ClockReader(clockid_t, struct timespec *);

/* clock_gettime(), without the way through the C library where that has the kernel's page at hand, as glibc does: a quarter of what
 * the tick takes. Found as Folly finds it. For 64 bits alone: on others the two may not mean the same struct. */
static ClockReader *find_clock_reader(void) {
#if defined(__linux__) && defined(__LP64__)
    const char *names[] = {"__vdso_clock_gettime", "__kernel_clock_gettime"}; /* of x86 and RISC-V, and of others */
    void *page = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    for (size_t i = 0; page != NULL && i < sizeof names / sizeof *names; i++) {
        ClockReader *reader;
        *(void **)&reader = dlsym(page, names[i]); /* as POSIX has it: C knows no other way from a `void *` to a function */
        if (reader != NULL)
            return reader;
    }
#endif
    return clock_gettime;
}

static inline int64_t in_nanoseconds(struct timespec moment) { return (int64_t)moment.tv_sec * 1000000000 + moment.tv_nsec; }

static int64_t boottime(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return in_nanoseconds(now);
}

static inline int64_t tick(ClockReader *reader) {
    struct timespec now;
    (void)reader(CLOCK_MONOTONIC_COARSE, &now);
    return in_nanoseconds(now);
}
#else
typedef void ClockReader;
#define find_clock_reader() NULL
static int64_t boottime(void) {
#if PY_VERSION_HEX < 0x030D0000
    return _PyTime_GetMonotonicClock();
#else
    PyTime_t now = 0;
    (void)PyTime_MonotonicRaw(&now);
    return now;
#endif
}
#define tick(reader) ((void)(reader), boottime())
#endif

/* From 3.12 on the interpreter knows a way round `__getattr__` for methods, and from 3.14 on without the GIL too, for those that it
 * need not count references to: see method_new(). Before that: handle_getattro(). */
#if PY_VERSION_HEX < 0x030C0000 || (defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000)
#define GETATTR_IS_SLOW 1
#else
#define GETATTR_IS_SLOW 0
#endif

/* Up to 3.13 `with` makes an object to call `__enter__` with, and one for `__exit__`: see `Special`. */
#define WITH_BINDS (PY_VERSION_HEX < 0x030E0000)

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_OBJECT_EX T_OBJECT_EX
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_READONLY READONLY
#endif

static PyModuleDef core_module;

/* ---- What there is ---- */

typedef struct Publication Publication;
typedef struct Record Record;
typedef struct Section Section;
typedef struct Cell Cell;

/* Ended sections to be used again: memory and type reference stay, so that threads do not fight over the type's reference count.
 * With the GIL there is one store a module. Without it there is one a stripe, with room for one section, guarded by the
 * stripe's lock. That lock is not taken again to free a section: it is PARKED when it ends, while Python still holds it, and its
 * deallocation says, with one store [VACATE], that it is SPARE; the access that takes it out [REUSE] looks for that. In between
 * it blocks the place: others are allocated and freed. Who deallocates a section need not ask under the lock whether it is
 * parked: it has ended before. */
enum { LOOSE, PARKED, SPARE };
typedef struct {
    Section *first;
#ifndef Py_GIL_DISABLED
    int count;
#endif
} Spares;

typedef struct {
    Lock lock;
    Publication *turned; /* the publication that `open` counts */
    size_t open;
    Record *sections; /* newest first, of whatever publication */
    Spares spares;     /* used without the GIL, under the lock; with it there is one store a module */
} Stripe;

enum { INNER_NAMES = 7 }; /* for guarded calls */

typedef struct {
    PyTypeObject *cell_type, *proxy_type, *section_type, *handle_type, *method_type;
    PyObject *revoked;
    PyObject *inner_names[INNER_NAMES], *getattr;
    PyObject *tracer; /* NULL, or what is told of the accesses to traced cells */
    ClockReader *clock_reader;
    Spares spares;
    Lock lock;   /* guards the tracer, and the list of cells */
    Cell *cells; /* all of them, for a forked child */
    unsigned forks;
    uint64_t exiting; /* 0, or the thread that ends the interpreter: see core_at_exit() */
} State;

struct Publication {
    PyObject *resource;
    unsigned long long number;
    ATOMIC(size_t) left; /* (3) */
    Publication *newer;  /* in the cell's list of retired ones */
};

/* Of a lease: what stands for its end when that was found; and how many nanoseconds before it the clock is read each time. That is
 * many ticks: one that is late, in a virtual machine that was not given its processor, must not be longer. */
enum { LAPSED = -1, CLOSE = 100000000 };

struct Cell {
    PyObject_HEAD
    State *state;
    PyObject *name, *wake;
    ATOMIC(Publication *) current; /* NULL: denied */
    PyObject *final;               /* what was current when it was denied, until clear() */
    Publication *oldest;           /* retired and not complete, in order */
    unsigned long long number;     /* of the newest publication */
    Lock publishing;               /* guards the four above; `current` is read without it */
    bool slow;                     /* accesses to it go the slow way: traced, with a gate or a lease, or core_at_exit() has run */
    bool traced;                   /* for debugging: accesses to it are told of; constant */
    unsigned forks;                /* how many after_fork() has been through with this cell */
    Py_buffer *gate;               /* NULL: none; constant from before its first proxy on: see cell_watch() */
    ATOMIC(int64_t) until;         /* of boottime(), when the lease is over; 0: there is none; LAPSED */
    ATOMIC(int64_t) looked;        /* the tick() at which it was last seen not to be */
    Cell *next, **previous;        /* in the module's list */
#ifdef Py_GIL_DISABLED
    ATOMIC(Stripe *) many;
    void *many_memory;
#endif
    Stripe one;
};

typedef struct {
    PyObject_HEAD
    Cell *cell;
    PyObject *name, *weakrefs;
    ATOMIC(bool) closed;
} Proxy;

/* What a stripe knows of a section. Most are the first part of a Section, which Python made. Those of the C interface stand alone,
 * where their users put them: on the stack of a C function as a rule. */
struct Record {
    ATOMIC(Publication *) publication; /* borrowed (4); NULL: refused, or ended; changed under the stripe's lock */
    Stripe *stripe;            /* NULL: the access was refused */
    Record *next, **previous;  /* in its stripe */
    Proxy *proxy;
    uint64_t thread; /* never used again, unlike `ident` */
    unsigned long ident;
    bool detached;
    bool alone; /* of the C interface: the memory, and the reference to the proxy, are its user's */
};

struct Section {
    PyObject_HEAD
#if WITH_BINDS
    vectorcallfunc call; /* section_call() */
#endif
    Record record;
    union {
        PyObject *gift; /* a reference for the first __enter__ to hand out without a lock: touched by none but the thread that
                           made the section, and at the end of its memory */
        Section *spare; /* with the GIL, among the spares: the next of them */
    };
    bool collected; /* finalised by the collector, which does that to an object once: so its memory is not used again */
    bool lent;      /* no object yet: a guarded call's own, see section_open() */
#ifdef Py_GIL_DISABLED
    ATOMIC(char) keeping; /* LOOSE, PARKED or SPARE */
#endif
};

/* ---- Stripes ---- */

#ifdef Py_GIL_DISABLED
COLD static void grow(Cell *cell) {
    size_t size = (sizeof(Stripe) + 63) & ~(size_t)63; /* no two on a cache line */
    _Static_assert(sizeof(Stripe) <= 64, "a stripe fits a cache line");
    char *memory = PyMem_RawCalloc(STRIPES + 1, size);
    if (memory == NULL)
        return; /* one stripe is slower, and as good */
    lock(&cell->publishing);
    bool wanted = load(&cell->many) == NULL;
    if (wanted) {
        cell->many_memory = memory;
        store(&cell->many, (Stripe *)(((uintptr_t)memory + 63) & ~(uintptr_t)63)); /* [GROW] not during a scan: see [STRIPE] */
    }
    unlock(&cell->publishing);
    if (!wanted)
        PyMem_RawFree(memory);
}

static inline Stripe *stripe_at(Stripe *many, size_t i) {
    return (Stripe *)((char *)many + i * 64);
}

static inline Stripe *stripe_of(Cell *cell, uint64_t thread) {
    Stripe *many = load(&cell->many); /* [STRIPE] one that a scan did not know of is used only after its [PUBLISH] */
    if (unlikely(many != NULL))
        return stripe_at(many, thread & (STRIPES - 1));
    if (unlikely(atomic_load_explicit(&cell->one.lock, memory_order_relaxed)))
        grow(cell);
    return &cell->one;
}

/* Every stripe of a cell, `one` included: sections stay where they were linked when the cell grows. [STRIPE] A scan looks how many
 * there are while it holds `publishing`, so that [GROW] is over by then, or comes after the whole scan. */
#define FOR_EACH_STRIPE(cell, stripe)                                                                                   \
    for (Stripe *many_ = load(&(cell)->many), *stripe = &(cell)->one; stripe != NULL;                                   \
         stripe = many_ == NULL                          ? NULL                                                         \
                  : stripe == &(cell)->one               ? many_                                                        \
                  : stripe == stripe_at(many_, STRIPES - 1) ? NULL                                                      \
                                                         : stripe_at(stripe, 1))
#define SPARES_OF(cell, stripe) (&(stripe)->spares)
#else
#define stripe_of(cell, thread) (&(cell)->one)
#define FOR_EACH_STRIPE(cell, stripe) for (Stripe *stripe = &(cell)->one; stripe != NULL; stripe = NULL)
#define SPARES_OF(cell, stripe) (&(cell)->state->spares)
#endif

static inline void link_record(Stripe *stripe, Record *record) {
    record->next = stripe->sections;
    APART();
    record->previous = &stripe->sections;
    if (unlikely(record->next != NULL))
        record->next->previous = &record->next;
    stripe->sections = record;
}

static inline void unlink_record(Record *record) {
    *record->previous = record->next;
    if (unlikely(record->next != NULL))
        record->next->previous = record->previous;
}

/* Under the stripe's lock. The old publication has not been completed: its bias is taken off after every stripe was turned (3).
 * */
static inline void turn(Stripe *stripe, Publication *fresh) {
    if (stripe->open != 0)
        add(&stripe->turned->left, stripe->open);
    stripe->open = 0;
    stripe->turned = fresh;
}

/* ---- The algorithm ---- */

static Publication *publication_new(PyObject *resource, unsigned long long number) {
    Publication *publication = PyMem_Malloc(sizeof(Publication));
    if (publication == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    publication->resource = Py_NewRef(resource);
    publication->number = number;
    publication->newer = NULL;
    store(&publication->left, 1); /* the bias: (3) */
    return publication;
}

static void publication_free(Publication *publication) {
    if (publication != NULL) {
        Py_DECREF(publication->resource);
        PyMem_Free(publication);
    }
}

/* (3): the caller, who took off the last one, completes the publication, and then owns it. Under the lock `publishing`.
 * [COMPLETE] before [WAKE], so that whoever is woken finds it complete; and where [UNBIAS] took off the last one, before that lock is
 * given back, so that [ASK] never finds what nobody will be woken for. */
static void complete(Cell *cell, Publication *publication) {
    Publication **p = &cell->oldest;
    while (*p != publication)
        p = &(*p)->newer;
    *p = publication->newer;
}

/* Out of any context in which Python code can run: a signal handler, a finaliser, with an exception set. */
static void wake(Cell *cell) {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *done = PyObject_CallNoArgs(cell->wake); /* [WAKE] */
    if (done == NULL && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear(); /* Ctrl-C in there: nobody else would wake the sleeper, so do that, and have Ctrl-C raised further on */
        done = PyObject_CallNoArgs(cell->wake);
        PyErr_SetInterrupt();
    }
    if (done == NULL)
        PyErr_WriteUnraisable((PyObject *)cell);
    Py_XDECREF(done);
    PyErr_Restore(type, value, trace);
}

/* Whether another process has set the byte that the cell watches. There is no fence between that store and this load, and none is
 * needed: what a gate promises is about this byte alone. Whoever looks after the store has come to memory is refused, which
 * coherence gives. Whoever looked before it and joins after it was earlier, and is drained like all who were: which sections
 * those are, what they wrote, and when nobody is left, is the affair of the denial, which follows, with its orderings. */
static inline bool gate_is_closed(Cell *cell) {
    return cell->gate != NULL && load((const volatile ATOMIC(unsigned char) *)cell->gate->buf) != 0;
}

/* Whether the cell's lease is over. Whoever finds that out first ends it for all, [LAPSE]; unless it has been renewed meanwhile,
 * [RENEW]: of the two one exchange alone succeeds, so nobody is granted anything after somebody was refused. */
static bool lease_is_seen_to_be_over(Cell *cell) {
    for (;;) {
        int64_t until = load(&cell->until);
        int64_t this_tick = tick(cell->state->clock_reader); /* before the clock: what is noted is never later than was seen */
        if (until == LAPSED)
            return true;
        int64_t left = until - boottime();
        if (left > CLOSE)
            store(&cell->looked, this_tick);
        if (left > 0)
            return false;
        if (swap_if(&cell->until, until, LAPSED)) /* [LAPSE] */
            return true;
    }
}

/* The clock is read once a tick, by whatever thread comes first, until the end is close. */
static inline bool lease_is_over(Cell *cell) {
    int64_t until = load(&cell->until);
    if (until == 0 || (likely(until != LAPSED) && likely(load(&cell->looked) == tick(cell->state->clock_reader))))
        return false;
    return lease_is_seen_to_be_over(cell);
}

/* Whether accesses are refused, though nothing was denied (yet). */
static inline bool cell_is_barred(Cell *cell) { return gate_is_closed(cell) || lease_is_over(cell); }

static inline bool cell_is_live(Cell *cell) { return load(&cell->current) != NULL && !cell_is_barred(cell); }

static inline void record_fill(Record *record, Proxy *proxy, PyThreadState *thread, bool alone) {
    record->thread = thread->id;
    APART();
    record->ident = thread->thread_id;
    record->detached = false;
    record->alone = alone;
    record->proxy = proxy;
}

/* Make the section a member of what is published, and return that. NULL, and nothing held, where nothing is. */
static inline Publication *record_join(Record *record, Cell *cell, Stripe *stripe) {
    Publication *publication = load(&cell->current); /* [LOAD], under the stripe's lock: (1) */
    if (unlikely(publication == NULL))
        return NULL;
    if (unlikely(stripe->turned != publication))
        turn(stripe, publication); /* (2) */
    stripe->open++;
    link_record(stripe, record); /* [JOIN] */
    record->stripe = stripe;
    APART();
    store(&record->publication, publication);
    return publication;
}

static inline Section *section_of(Record *record) {
    return (Section *)((char *)record - offsetof(Section, record));
}

static inline PyObject *take_gift(Section *section) {
    PyObject *gift = NULL;
    if (likely(is_own(section))) {
        gift = section->gift;
        section->gift = NULL;
    }
    return gift;
}

#ifdef Py_GIL_DISABLED
/* Under the stripe's lock. */
static inline void spares_park(Stripe *stripe, Section *section) {
    if (stripe->spares.first == NULL) {
        stripe->spares.first = section;
        store(&section->keeping, PARKED);
    }
}
#else
#define spares_park(stripe, section) ((void)0)
#endif

/* The section was the last one in a publication that is retired. */
COLD static void last_one_out(Cell *cell, Publication *publication) {
    Py_INCREF(cell); /* waking runs foreign code, which may let go of all else */
    lock(&cell->publishing);
    complete(cell, publication);
    unlock(&cell->publishing);
    publication_free(publication);
    wake(cell);
    Py_DECREF(cell);
}

/* True for the one call that ended it. `section`: what the record is part of; NULL where it stands alone. */
static HOT bool record_end(Record *record, Section *section) {
    Stripe *stripe = record->stripe;
    if (unlikely(stripe == NULL))
        return false;
    lock(&stripe->lock);
    Publication *publication = load(&record->publication);
    if (unlikely(publication == NULL)) {
        unlock(&stripe->lock);
        return false;
    }
    if (section == NULL && unlikely(*record->previous != record))
        Py_FatalError("an open ref_proxy_section was moved, copied or overwritten: it must stay where it was when it began");
    unlink_record(record); /* [LEAVE] */
    store(&record->publication, NULL);
    if (section != NULL)
        spares_park(stripe, section);
    bool counted_here = publication == stripe->turned;
    if (likely(counted_here))
        stripe->open--;
    unlock(&stripe->lock);

    /* From here on the publication may be complete, and gone, unless this section was counted in its `left`. */
    if (section != NULL)
        Py_XDECREF(take_gift(section));
    if (unlikely(!counted_here) && drop_is_last(&publication->left)) /* [COUNT] after [LEAVE]: (3), (5) */
        last_one_out(record->proxy->cell, publication);
    return true;
}

static HOT bool section_end(Section *section) { return record_end(&section->record, section); }

/* Put `fresh`, or nothing (NULL), in the place of what is published. Returns a reference to the resource that was, and in
 * `*number` which publication that is; or NULL, without an exception: denied already, and `fresh` is still the caller's. */
static PyObject *cell_exchange(Cell *cell, Publication *fresh, unsigned long long *number) {
    lock(&cell->publishing);
    Publication *old = load(&cell->current);
    if (old == NULL) {
        unlock(&cell->publishing);
        return NULL;
    }
    PyObject *resource = Py_NewRef(old->resource);
    *number = old->number;
    if (fresh != NULL)
        fresh->number = ++cell->number;
    else
        cell->final = Py_NewRef(resource);
    Publication **end = &cell->oldest;
    while (*end != NULL)
        end = &(*end)->newer;
    *end = old;
    store(&cell->current, fresh); /* [PUBLISH] before any [SCAN]: (1) */
    FOR_EACH_STRIPE(cell, stripe) {
        lock(&stripe->lock);
        if (stripe->turned != fresh)
            turn(stripe, fresh); /* [SCAN] */
        unlock(&stripe->lock);
    }
    bool empty = drop_is_last(&old->left); /* [UNBIAS]: (3) */
    if (empty)
        complete(cell, old);
    unlock(&cell->publishing);
    if (empty)
        publication_free(old);
    return resource;
}

/* ---- Section ---- */

static PyObject *describe(Proxy *proxy) {
    if (proxy->name == Py_None)
        return PyUnicode_FromFormat("a proxy of %R", proxy->cell->name);
    return PyUnicode_FromFormat("proxy %R of %R", proxy->name, proxy->cell->name);
}

/* `format` has one %U, for what describe() says. */
COLD static PyObject *complain(Proxy *proxy, PyObject *error, const char *format) {
    PyObject *who = describe(proxy), *message = who == NULL ? NULL : PyUnicode_FromFormat(format, who);
    PyObject *args = message == NULL                          ? NULL
                     : error == proxy->cell->state->revoked ? Py_BuildValue("iO", ENODEV, message)
                                                            : Py_NewRef(message);
    if (args != NULL)
        PyErr_SetObject(error, args);
    Py_XDECREF(who);
    Py_XDECREF(message);
    Py_XDECREF(args);
    return NULL;
}

static int section_traverse(Section *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->record.proxy);
    Py_VISIT(self->gift);
    return 0; /* no tp_clear: a cycle through a section also goes through something that can be cleared */
}

static void section_free(Section *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

#ifdef Py_GIL_DISABLED
/* Under the stripe's lock. */
static inline Section *spares_take(Spares *spares) {
    Section *section = spares->first;
    if (section == NULL || load(&section->keeping) != SPARE) /* [REUSE] acquires what [VACATE] released: nobody uses its memory */
        return NULL;
    spares->first = NULL;
    return section;
}

/* The section has ended, or was refused: nobody else touches `keeping`. Its memory may be somebody else's right after [VACATE].
 * */
static inline void spares_give(Spares *Py_UNUSED(spares), Section *section) {
    if (load(&section->keeping) == PARKED)
        store(&section->keeping, SPARE); /* [VACATE] */
    else
        section_free(section);
}
#else
static inline Section *spares_take(Spares *spares) {
    Section *section = spares->first;
    if (section != NULL) {
        spares->first = section->spare;
        spares->count--;
    }
    return section;
}

static inline void spares_give(Spares *spares, Section *section) {
    if (spares->count == 16 || section->collected) {
        section_free(section);
        return;
    }
    section->spare = spares->first;
    spares->first = section;
    spares->count++;
}
#endif

static void spares_free(Spares *spares) {
    for (Section *section; (section = spares_take(spares)) != NULL;)
        section_free(section);
}

/* False, with an exception, where the tracer raised. */
COLD static bool tell_tracer(Proxy *proxy, long long token) {
    State *state = proxy->cell->state;
    lock(&state->lock);
    PyObject *tracer = Py_XNewRef(state->tracer);
    unlock(&state->lock);
    if (tracer == NULL)
        return true;
    PyObject *done = PyObject_CallFunction(tracer, "OL", proxy, token);
    Py_DECREF(tracer);
    Py_XDECREF(done);
    return done != NULL;
}

static inline long long token_of(Section *section) { return (long long)(uintptr_t)section; /* its id() */ }

COLD static void section_was_dropped(Section *self) {
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *who = describe(self->record.proxy);
    if (who == NULL || (self->record.proxy->cell->traced && !tell_tracer(self->record.proxy, -token_of(self))) ||
        PyErr_WarnFormat(PyExc_ResourceWarning, 1,
                         "the section of %U, opened by thread %lu, was dropped while open and has been ended: "
                         "use it in a `with`, or call end()",
                         who, self->record.ident) < 0)
        PyErr_WriteUnraisable((PyObject *)self->record.proxy);
    Py_XDECREF(who);
    PyErr_Restore(type, value, trace);
}

COLD static void section_drop(Section *self) {
    if (section_end(self))
        section_was_dropped(self);
}

/* By the collector: while all that waking and releasing needs is still whole. */
static void section_finalize(Section *self) {
    self->collected = true;
    if (load(&self->record.publication) != NULL)
        section_drop(self);
}

static void section_dealloc(Section *self) {
    PyObject_GC_UnTrack(self);
    Proxy *proxy = self->record.proxy;
    Stripe *stripe = self->record.stripe;
    if (unlikely(stripe == NULL)) {
        section_free(self);
        Py_DECREF(proxy);
        return;
    }
    if (unlikely(load(&self->record.publication) != NULL))
        section_drop(self);
    Py_XDECREF(self->gift);
    spares_give(SPARES_OF(proxy->cell, stripe), self);
    Py_DECREF(proxy); /* may free the cell, with its stripes and their spares */
}

static PyObject *section_repr(Section *self) {
    PyObject *who = describe(self->record.proxy), *repr = NULL;
    const char *state = "refused";
    if (self->record.stripe != NULL) {
        lock(&self->record.stripe->lock);
        state = load(&self->record.publication) == NULL ? "ended" : "open";
        unlock(&self->record.stripe->lock);
    }
    if (who != NULL)
        repr = PyUnicode_FromFormat("<ref_proxy.Section of %U, %s>", who, state);
    Py_XDECREF(who);
    return repr;
}

static PyObject *section_resource(Section *self, void *Py_UNUSED(closure)) {
    Stripe *stripe = self->record.stripe;
    if (stripe == NULL)
        Py_RETURN_NONE;
    PyObject *resource = NULL;
    lock(&stripe->lock); /* else it could be ended, and the resource be gone, between the look and the new reference */
    Publication *publication = load(&self->record.publication);
    if (publication != NULL)
        resource = Py_NewRef(publication->resource);
    unlock(&stripe->lock);
    if (resource == NULL)
        complain(self->record.proxy, PyExc_ValueError, "the section of %U has ended: the resource may be used only inside it");
    return resource;
}

static PyObject *section_enter(Section *self, PyObject *Py_UNUSED(ignored)) {
    /* Ended by another thread: its gift is still there, but not to be had any more. */
    PyObject *resource = unlikely(load(&self->record.publication) == NULL) ? NULL : take_gift(self);
    return resource != NULL ? resource : section_resource(self, NULL);
}

static PyObject *section_exit(Section *self, PyObject *const *Py_UNUSED(args), Py_ssize_t nargs) {
    if (nargs != 3) {
        PyErr_Format(PyExc_TypeError, "__exit__ expected 3 arguments, got %zd", nargs);
        return NULL;
    }
    section_end(self);
    Py_RETURN_NONE;
}

#if WITH_BINDS
/* What `with` binds is the section itself (`Special`): to enter it, it is called without arguments, and with three to leave it. */
static PyObject *section_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (unlikely(kwnames != NULL || (nargs != 0 && nargs != 3)))
        return PyErr_Format(PyExc_TypeError, "a section is not called: use it in a `with`");
    return nargs == 0 ? section_enter((Section *)self, NULL) : section_exit((Section *)self, args, nargs);
}

/* In the class of sections, in the place of `__enter__` and `__exit__`. An ordinary method in C is bound to the section by a new
 * object, twice for each `with`, which takes more than half of its time: from this one `with` gets the section back. All else,
 * a call with the section as argument too, is the method's own affair. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    PyObject *method;
} Special;

static void section_dealloc(Section *self);

static PyObject *special_get(PyObject *self, PyObject *section, PyObject *Py_UNUSED(type)) {
    bool is_section = section != NULL && Py_TYPE(section)->tp_dealloc == (destructor)section_dealloc;
    return Py_NewRef(likely(is_section) ? section : self);
}

static PyObject *special_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    return PyObject_Vectorcall(((Special *)self)->method, args, nargsf, kwnames);
}

static PyObject *special_getattro(PyObject *self, PyObject *name) {
    return PyObject_GetAttr(((Special *)self)->method, name);
}

static PyObject *special_repr(PyObject *self) {
    return PyObject_Repr(((Special *)self)->method);
}

static int special_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Special *)self)->method);
    return 0; /* no tp_clear: a cycle through it goes through the class that it is in */
}

static void special_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(((Special *)self)->method);
    type->tp_free(self);
    Py_DECREF(type);
}

/* In the class of sections. */
static int special_put(PyTypeObject *special, PyTypeObject *sections, const char *name) {
    PyObject *key = PyUnicode_InternFromString(name);
    PyObject *method = key == NULL ? NULL : PyDict_GetItemWithError(sections->tp_dict, key);
    Special *self = method == NULL ? NULL : (Special *)special->tp_alloc(special, 0);
    int failed = -1;
    if (self != NULL) {
        self->call = special_call;
        self->method = Py_NewRef(method);
        failed = PyDict_SetItem(sections->tp_dict, key, (PyObject *)self);
        PyType_Modified(sections);
    }
    Py_XDECREF(self);
    Py_XDECREF(key);
    return failed;
}
#endif

static PyObject *section_end_method(Section *self, PyObject *Py_UNUSED(ignored)) {
    section_end(self);
    Py_RETURN_NONE;
}

/* Whether it is open. */
static bool record_detach(Record *record) {
    Stripe *stripe = record->stripe;
    if (stripe == NULL)
        return false;
    lock(&stripe->lock);
    bool open = load(&record->publication) != NULL;
    record->detached = record->detached || open;
    unlock(&stripe->lock);
    return open;
}

static PyObject *section_detach(Section *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *resource = section_resource(self, NULL); /* raises where the section has ended */
    if (resource == NULL)
        return NULL;
    Py_DECREF(resource);
    (void)record_detach(&self->record);
    Py_RETURN_NONE;
}

/* ---- Proxy ---- */

/* A section, open or refused; `refuse`: refused. NULL, with an exception: there is no memory.
 *
 * `lend`: if memory is at hand, and the access is granted, leave it at that. Such a section is no object yet, and takes no reference
 * to the resource or the proxy, for whose counts threads would fight: section_adopt() makes it one, or section_return() ends it. The
 * caller keeps the proxy, and lets nobody see it. (On the C stack it would be as fast, and be overwritten where a greenlet is put
 * aside in the midst of the call.) */
static HOT Section *section_open(Proxy *self, Cell *cell, bool lend, bool refuse) {
    if (!lend)
        Py_INCREF(self); /* before all else: its cache line has just been looked at, and has not gone to another thread yet */
    PyThreadState *thread = PyThreadState_Get();
    Stripe *stripe = stripe_of(cell, thread->id);
    lock(&stripe->lock);
    Section *section = spares_take(SPARES_OF(cell, stripe));
    bool used = section != NULL;
    if (unlikely(!used)) {
        unlock(&stripe->lock); /* (6): an allocation may collect garbage */
        section = PyObject_GC_New(Section, cell->state->section_type);
        if (section == NULL) {
            if (!lend)
                Py_DECREF(self);
            return NULL;
        }
#if WITH_BINDS
        section->call = section_call;
#endif
        lock(&stripe->lock);
    }
    record_fill(&section->record, self, thread, false);
    section->collected = false;
#ifdef Py_GIL_DISABLED
    store(&section->keeping, LOOSE);
#endif
    Publication *publication = refuse ? NULL : record_join(&section->record, cell, stripe);
    section->lent = lend && used && publication != NULL;
    section->gift = section->lent || publication == NULL ? NULL : Py_NewRef(publication->resource);
    unlock(&stripe->lock);
    if (unlikely(publication == NULL)) {
        section->record.stripe = NULL;
        store(&section->record.publication, NULL);
    }
    if (!section->lent) {
        if (lend)
            Py_INCREF(self);
        if (likely(used))
            _Py_NewReference((PyObject *)section);
        PyObject_GC_Track(section);
    }
    return section;
}

/* Make one that was lent an object, for others to hold. */
static void section_adopt(Section *section) {
    if (!section->lent)
        return;
    section->lent = false;
    section->gift = Py_NewRef(load(&section->record.publication)->resource);
    Py_INCREF(section->record.proxy);
    _Py_NewReference((PyObject *)section);
    PyObject_GC_Track(section);
}

/* End a section that nobody else has seen, and let go of it. */
static HOT void section_return(Section *section) {
    section_end(section);
    if (section->lent)
        spares_give(SPARES_OF(section->record.proxy->cell, section->record.stripe), section);
    else
        Py_DECREF(section);
}

/* Of a cell that is traced, or barred. */
COLD static Section *section_open_asking(Proxy *self, Cell *cell) {
    if (cell->traced && !tell_tracer(self, 0))
        return NULL;
    Section *section = section_open(self, cell, false, cell_is_barred(cell));
    if (cell->traced && section != NULL && section->record.stripe != NULL && !tell_tracer(self, token_of(section))) {
        section_end(section);
        Py_CLEAR(section);
    }
    return section;
}

/* Of one that is not as most are: whether it is one of those. A function of its own, so that most have less to step over. */
static NEVER_INLINE bool cell_has_to_be_asked(Cell *cell) { return cell->traced || cell_is_barred(cell); }

/* The same. NULL, with an exception, also where the proxy is closed, or the tracer raised. */
static HOT Section *proxy_open(Proxy *self, bool lend) {
    if (unlikely(load(&self->closed))) {
        complain(self, PyExc_ValueError, "%U is closed: get another one from the provider");
        return NULL;
    }
    Cell *cell = self->cell;
    if (unlikely(cell->slow) && unlikely(cell_has_to_be_asked(cell)))
        return section_open_asking(self, cell);
    return section_open(self, cell, lend, false);
}

static PyObject *proxy_try_access(Proxy *self, PyObject *Py_UNUSED(ignored)) {
    return (PyObject *)proxy_open(self, false);
}

COLD static PyObject *proxy_refuse(Proxy *self) {
    return complain(self, self->cell->state->revoked,
                    "%U was refused: the resource is revoked; drop this proxy and get one from the next provider");
}

/* Open. NULL, with an exception: refused, too. */
static HOT Section *proxy_grant(Proxy *self, bool lend) {
    Section *section = proxy_open(self, lend);
    if (likely(section == NULL || section->record.stripe != NULL))
        return section;
    Py_DECREF(section);
    return (Section *)proxy_refuse(self);
}

static PyObject *proxy_access(Proxy *self, PyObject *Py_UNUSED(ignored)) {
    return (PyObject *)proxy_grant(self, false);
}

static PyObject *proxy_close(Proxy *self, PyObject *Py_UNUSED(ignored)) {
    store(&self->closed, true);
    Py_RETURN_NONE;
}

static PyObject *proxy_revoked(Proxy *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(!cell_is_live(self->cell));
}

static PyObject *proxy_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *name = Py_None;
    Cell *cell;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:Proxy", (char *[]){"", "", NULL}, &cell, &name))
        return NULL;
    State *state = PyType_GetModuleState(type);
    if (!Py_IS_TYPE(cell, state->cell_type))
        return PyErr_Format(PyExc_TypeError, "a proxy is made by provider.proxy(), not from a %s", Py_TYPE(cell)->tp_name);
    if (name != Py_None && !PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "the name of a proxy must be a str or None, not %s", Py_TYPE(name)->tp_name);
    Proxy *self = (Proxy *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->cell = (Cell *)Py_NewRef(cell);
        self->name = Py_NewRef(name);
    }
    return (PyObject *)self;
}

static int proxy_traverse(Proxy *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->cell);
    return 0; /* no tp_clear: a section being deallocated needs the cell, and a cycle can be cleared in the publication */
}

static void proxy_dealloc(Proxy *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject_ClearWeakRefs((PyObject *)self);
    Py_XDECREF(self->cell);
    Py_XDECREF(self->name);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *proxy_repr(Proxy *self) {
    const char *state = load(&self->closed) ? "closed" : cell_is_live(self->cell) ? "live" : "revoked";
    if (self->name == Py_None)
        return PyUnicode_FromFormat("<ref_proxy.Proxy of %R, %s>", self->cell->name, state);
    return PyUnicode_FromFormat("<ref_proxy.Proxy %R of %R, %s>", self->name, self->cell->name, state);
}

static PyObject *refuse_copy(PyObject *self, PyObject *Py_UNUSED(protocol)) {
    return PyErr_Format(PyExc_TypeError, "cannot copy or pickle %R: get another proxy from the provider instead", self);
}

/* ---- Cell ---- */

static PyObject *cell_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *resource, *name, *wake;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:Cell", (char *[]){"", "", "", NULL}, &resource, &name, &wake))
        return NULL;
    if (!PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "the name of a cell must be a str, not %s", Py_TYPE(name)->tp_name);
    State *state = PyType_GetModuleState(type);
    Publication *publication = publication_new(resource, 1);
    Cell *self = publication == NULL ? NULL : (Cell *)type->tp_alloc(type, 0);
    if (self == NULL) {
        publication_free(publication);
        return NULL;
    }
    self->state = state;
    self->name = Py_NewRef(name);
    self->wake = Py_NewRef(wake);
    self->number = publication->number;
    self->one.turned = publication;
    store(&self->current, publication);
    lock(&state->lock);
    self->traced = state->tracer != NULL;
    self->slow = self->traced || state->exiting != 0;
    self->forks = state->forks;
    self->next = state->cells;
    self->previous = &state->cells;
    if (self->next != NULL)
        self->next->previous = &self->next;
    state->cells = self;
    unlock(&state->lock);
    return (PyObject *)self;
}

static int cell_traverse(Cell *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->wake);
    Py_VISIT(self->final);
    if (self->gate != NULL)
        Py_VISIT(self->gate->obj);
    Publication *current = load(&self->current);
    if (current != NULL)
        Py_VISIT(current->resource);
    for (Publication *p = self->oldest; p != NULL; p = p->newer)
        Py_VISIT(p->resource);
#ifdef Py_GIL_DISABLED
    FOR_EACH_STRIPE(self, stripe)
        if (stripe->spares.first != NULL && load(&stripe->spares.first->keeping) == SPARE)
            Py_VISIT(self->state->section_type);
#endif
    return 0;
}

static void gate_free(Py_buffer *gate) {
    if (gate != NULL)
        PyBuffer_Release(gate);
    PyMem_Free(gate);
}

static void cell_dealloc(Cell *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    lock(&self->state->lock);
    *self->previous = self->next;
    if (self->next != NULL)
        self->next->previous = self->previous;
    unlock(&self->state->lock);
    /* Every open section, or its guarded call, keeps its proxy, and so the cell: there is none, and no retired publication. */
    assert(self->oldest == NULL);
#ifdef Py_GIL_DISABLED
    FOR_EACH_STRIPE(self, stripe)
        spares_free(&stripe->spares);
    PyMem_RawFree(self->many_memory);
#endif
    publication_free(load(&self->current));
    gate_free(self->gate);
    Py_XDECREF(self->final);
    Py_XDECREF(self->wake);
    Py_XDECREF(self->name);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *cell_repr(Cell *self) {
    return PyUnicode_FromFormat("<ref_proxy._core.Cell %R, %s>", self->name, cell_is_live(self) ? "live" : "denied");
}

static PyObject *cell_watch(Cell *self, PyObject *memory) {
    Py_buffer *gate = PyMem_Calloc(1, sizeof(Py_buffer));
    if (gate == NULL)
        return PyErr_NoMemory();
    bool is_buffer = PyObject_CheckBuffer(memory);
    if (is_buffer && PyObject_GetBuffer(memory, gate, PyBUF_FULL_RO) < 0) {
        PyMem_Free(gate);
        return NULL;
    }
    if (!is_buffer || !PyBuffer_IsContiguous(gate, 'C'))
        PyErr_Format(PyExc_TypeError, "the gate of %R must be a buffer of contiguous bytes, not %s", self->name,
                     Py_TYPE(memory)->tp_name);
    else if (gate->len == 0)
        PyErr_Format(PyExc_ValueError, "the gate of %R has no byte to look at: it needs one at least", self->name);
    else {
        lock(&self->publishing);
        bool first = self->gate == NULL;
        if (first) {
            self->gate = gate;
            self->slow = true;
        }
        unlock(&self->publishing);
        if (first)
            Py_RETURN_NONE;
        PyErr_Format(PyExc_ValueError, "%R watches a gate already: it is given one once, before its first proxy is made",
                     self->name);
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    gate_free(gate);
    PyErr_Restore(type, value, trace);
    return NULL;
}

static PyObject *cell_lease(Cell *self, PyObject *moment) {
    PyObject *number = PyNumber_Index(moment);
    if (number == NULL)
        return NULL;
    int overflow;
    long long until = PyLong_AsLongLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (overflow != 0 || until <= 0)
        return PyErr_Format(PyExc_ValueError,
                            "the lease of %R must end at a moment of the clock that counts from boot, above 0 and below 2**63, "
                            "not %R",
                            self->name, moment);
    lock(&self->publishing);
    self->slow = true;
    unlock(&self->publishing);
    for (;;) {
        int64_t before = load(&self->until);
        if (before == LAPSED)
            Py_RETURN_FALSE;
        if (before >= until || swap_if(&self->until, before, until)) /* [RENEW] */
            Py_RETURN_TRUE;
    }
}

static PyObject *cell_publish(Cell *self, PyObject *resource) {
    if (cell_is_barred(self))
        Py_RETURN_NONE;
    Publication *fresh = publication_new(resource, 0);
    if (fresh == NULL)
        return NULL;
    unsigned long long number;
    PyObject *old = cell_exchange(self, fresh, &number);
    if (old == NULL) {
        publication_free(fresh);
        Py_RETURN_NONE;
    }
    return Py_BuildValue("KN", number, old);
}

static PyObject *cell_final(Cell *self) {
    lock(&self->publishing);
    PyObject *final = Py_XNewRef(self->final);
    unlock(&self->publishing);
    return final != NULL ? final : Py_NewRef(Py_None);
}

static PyObject *cell_deny(Cell *self, PyObject *Py_UNUSED(ignored)) {
    unsigned long long number;
    Py_XDECREF(cell_exchange(self, NULL, &number));
    return cell_final(self);
}

static PyObject *cell_clear(Cell *self, PyObject *Py_UNUSED(ignored)) {
    lock(&self->publishing);
    PyObject *final = self->final;
    self->final = NULL;
    unlock(&self->publishing);
    Py_XDECREF(final);
    Py_RETURN_NONE;
}

static PyObject *cell_drained(Cell *self, PyObject *args) {
    unsigned long long first, last;
    if (!PyArg_ParseTuple(args, "KK:drained", &first, &last))
        return NULL;
    lock(&self->publishing);
    Publication *current = load(&self->current); /* [ASK], under the lock that [COMPLETE] is done under */
    bool drained = current == NULL || current->number > last;
    for (Publication *p = self->oldest; p != NULL && drained; p = p->newer)
        drained = p->number < first || p->number > last;
    unlock(&self->publishing);
    return PyBool_FromLong(drained);
}

typedef struct {
    Proxy *proxy;
    unsigned long ident;
    bool mine, detached;
    void *token; /* a Section's id(); of one that stands alone its address, where no object is */
} Entry;

/* Copies out up to `room` sections, with a reference each, and returns how many there are. Nothing is allocated under a lock.
 * `own`: those alone that this thread has to end. */
static size_t cell_copy_sections(Cell *self, unsigned long long first, unsigned long long last, bool own, Entry *entries,
                                 size_t room) {
    size_t count = 0;
    uint64_t here = PyThreadState_Get()->id;
    lock(&self->publishing);
    FOR_EACH_STRIPE(self, stripe) {
        lock(&stripe->lock);
        for (Record *r = stripe->sections; r != NULL; r = r->next) {
            unsigned long long number = load(&r->publication)->number;
            if (number < first || number > last || (own && (r->thread != here || r->detached)))
                continue;
            if (count < room)
                entries[count] = (Entry){(Proxy *)Py_NewRef(r->proxy), r->ident, r->thread == here, r->detached,
                                         r->alone ? (void *)r : section_of(r)};
            count++;
        }
        unlock(&stripe->lock);
    }
    unlock(&self->publishing);
    return count;
}

static PyObject *cell_sections(Cell *self, PyObject *args) {
    unsigned long long first, last;
    int own = false;
    if (!PyArg_ParseTuple(args, "KK|p:sections", &first, &last, &own))
        return NULL;
    size_t room = 0, count = cell_copy_sections(self, first, last, own, NULL, 0);
    if (count == 0)
        return PyList_New(0);
    room = count;
    Entry *entries = PyMem_New(Entry, room);
    if (entries == NULL)
        return PyErr_NoMemory();
    count = cell_copy_sections(self, first, last, own, entries, room);
    if (count > room)
        count = room; /* those that began meanwhile are left out, as if they had begun a moment later */
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; i < count; i++) {
        Entry *e = &entries[count - 1 - i]; /* a stripe has its newest first */
        if (list != NULL) {
            PyObject *item = Py_BuildValue("OkNNN", e->proxy, e->ident, PyBool_FromLong(e->mine), PyBool_FromLong(e->detached),
                                           PyLong_FromVoidPtr(e->token));
            if (item == NULL)
                Py_CLEAR(list);
            else
                PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        }
    }
    for (size_t i = 0; i < count; i++)
        Py_DECREF(entries[i].proxy);
    PyMem_Free(entries);
    return list;
}

static PyObject *cell_live(Cell *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(cell_is_live(self));
}

static PyObject *cell_number(Cell *self, void *Py_UNUSED(closure)) {
    lock(&self->publishing);
    unsigned long long number = self->number;
    unlock(&self->publishing);
    return PyLong_FromUnsignedLongLong(number);
}

static PyObject *cell_sizeof(Cell *self, PyObject *Py_UNUSED(ignored)) {
    size_t size = (size_t)Py_TYPE(self)->tp_basicsize + (self->gate == NULL ? 0 : sizeof(Py_buffer));
#ifdef Py_GIL_DISABLED
    if (load(&self->many) != NULL)
        size += (STRIPES + 1) * 64;
#endif
    return PyLong_FromSize_t(size);
}

static PyObject *core_trace(PyObject *module, PyObject *tracer) {
    State *state = PyModule_GetState(module);
    lock(&state->lock);
    PyObject *old = state->tracer;
    state->tracer = tracer == Py_None ? NULL : Py_NewRef(tracer);
    unlock(&state->lock);
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

/* ---- Guarded calls: `guarded.py` says what they are for ---- */

/* What a guarded object is made of. Of the resource itself it has no more than the proxy; of something that the resource handed
 * out (a cursor, an iterator) it has that, and the number of the publication that it came from. */
typedef struct Handle Handle;
struct Handle {
    PyObject_HEAD
    Proxy *proxy;
    Handle *root;    /* the guarded resource, where this one is of something that it handed out; else NULL */
    PyObject *inner; /* that something */
    unsigned long long number;
    PyObject *withs, *weakrefs;
    ATOMIC(bool) closed;
};

/* In the class of a guarded object, in the place of a method of the resource's type. A call of it allocates nothing. */
typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    State *state;
    PyObject *name, *function; /* name None: the function is called itself */
    PyObject *hold;
    PyTypeObject *direct; /* borrowed: of objects of exactly this type `function` is what `name` comes to, where they have no
                             attributes of their own; NULL: look it up */
} Method;

static const char *const inner_names[INNER_NAMES] = {
    "__self__", "__next__", "__enter__", "__await__", "__anext__", "__aenter__", "add_done_callback",
};

/* Whether a value may go on using the resource that it came from: a bound method, an iterator, a context manager, an awaitable. */
static bool is_inner(State *state, PyObject *value) {
    PyTypeObject *type = Py_TYPE(value);
    if (likely(value == Py_None || type == &PyLong_Type || type == &PyBytes_Type || type == &PyUnicode_Type ||
               type == &PyBool_Type || type == &PyFloat_Type || type == &PyTuple_Type || type == &PyList_Type ||
               type == &PyDict_Type || type == &PyByteArray_Type || type == &PyMemoryView_Type))
        return false;
    for (int i = 0; i < INNER_NAMES; i++)
        if (_PyType_Lookup(type, state->inner_names[i]) != NULL)
            return true;
    return false;
}

static PyObject *core_is_inner(PyObject *module, PyObject *value) {
    return PyBool_FromLong(is_inner(PyModule_GetState(module), value));
}

COLD static void handle_complain(Handle *self, PyObject *error, const char *format) {
    PyObject *message = PyUnicode_FromFormat(format, Py_TYPE(self)->tp_name, self->proxy->cell->name);
    PyObject *args = message == NULL           ? NULL
                     : error == PyExc_ValueError ? Py_NewRef(message)
                                                 : Py_BuildValue("iO", ENODEV, message);
    if (args != NULL)
        PyErr_SetObject(error, args);
    Py_XDECREF(message);
    Py_XDECREF(args);
}

/* An open section, be it lent; or NULL, with an exception. While it is open `*resource` is there, without a reference. */
static HOT Section *handle_begin(Handle *self, PyObject **resource, bool lend) {
    if (unlikely(load(&self->closed))) {
        handle_complain(self, PyExc_ValueError, "a %s of %R is closed: get another one with guarded(proxy)");
        return NULL;
    }
    Section *section = proxy_grant(self->proxy, lend);
    if (unlikely(section == NULL))
        return NULL;
    Publication *publication = load(&section->record.publication);
    *resource = publication->resource;
    if (unlikely(self->inner != NULL) && publication->number != self->number) {
        section_return(section);
        handle_complain(self, self->proxy->cell->state->revoked,
                        "a %s of %R was refused: the resource that it came from was replaced; get another one");
        return NULL;
    }
    return section;
}

/* What the handle is on. */
static inline PyObject *handle_target(Handle *self, PyObject *resource) { return self->inner != NULL ? self->inner : resource; }

/* What the caller gets for `value`, without a reference; NULL: `hold` is to be asked. */
static HOT PyObject *handle_meets(Handle *self, State *state, PyObject *resource, PyObject *value) {
    if (unlikely(value == handle_target(self, resource)))
        return (PyObject *)self;
    if (unlikely(value == resource))
        return (PyObject *)self->root;
    return unlikely(is_inner(state, value)) ? NULL : value;
}

/* End the section, and return what the caller gets for `value`; or have `hold` do both. Steals the references to the two. */
static HOT PyObject *handle_hand_out(Handle *self, State *state, Section *section, PyObject *resource, PyObject *value,
                                     PyObject *hold) {
    PyObject *handed = handle_meets(self, state, resource, value);
    if (unlikely(handed == NULL)) {
        section_adopt(section);
        handed = PyObject_CallFunctionObjArgs(hold, self, section, value, NULL);
        Py_DECREF(value);
        if (handed == NULL)
            section_end(section);
        Py_DECREF(section);
        return handed;
    }
    if (unlikely(handed != value)) {
        Py_INCREF(handed);
        Py_DECREF(value);
    }
    section_return(section);
    return handed;
}

static PyObject *handle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *module = PyType_GetModuleByDef(type, &core_module); /* a subclass is made in Python */
    State *state = module == NULL ? NULL : PyModule_GetState(module);
    PyObject *from, *inner = NULL;
    Section *section = NULL;
    if (state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO!:Handle", (char *[]){"", "", "", NULL}, &from, &inner,
                                     state->section_type, &section))
        return NULL;
    Handle *parent = NULL;
    if (inner != NULL && inner != Py_None) {
        if (section == NULL || !PyObject_TypeCheck(from, state->handle_type))
            return PyErr_Format(PyExc_TypeError, "a handle on something inner needs the handle that it came from, and a section");
        parent = (Handle *)from;
    } else if (!Py_IS_TYPE(from, state->proxy_type))
        return PyErr_Format(PyExc_TypeError, "a guarded object is made from a Proxy, not from a %s", Py_TYPE(from)->tp_name);
    Handle *self = (Handle *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if (parent == NULL)
        self->proxy = (Proxy *)Py_NewRef(from);
    else {
        self->proxy = (Proxy *)Py_NewRef(parent->proxy);
        self->root = (Handle *)Py_NewRef(parent->root != NULL ? parent->root : parent);
        self->inner = Py_NewRef(inner);
        if (section->record.stripe != NULL) {
            lock(&section->record.stripe->lock); /* else it could be ended, and the publication be gone, in the middle of this */
            Publication *publication = load(&section->record.publication);
            self->number = publication == NULL ? 0 : publication->number;
            unlock(&section->record.stripe->lock);
        }
    }
    self->withs = PyDict_New();
    if (self->withs == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int handle_traverse(Handle *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->proxy);
    Py_VISIT(self->root);
    Py_VISIT(self->inner);
    Py_VISIT(self->withs);
    return 0;
}

static int handle_clear(Handle *self) {
    store(&self->closed, true); /* for a finaliser that still comes by */
    Py_CLEAR(self->inner);
    Py_CLEAR(self->root); /* after `inner`: what has that has a root */
    Py_CLEAR(self->withs);
    return 0;
}

static void handle_dealloc(Handle *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject_ClearWeakRefs((PyObject *)self);
    Py_XDECREF(self->withs);
    Py_XDECREF(self->inner);
    Py_XDECREF(self->root);
    Py_XDECREF(self->proxy);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *handle_repr(Handle *self) {
    const char *state = load(&self->closed) ? "closed" : cell_is_live(self->proxy->cell) ? "live" : "revoked";
    return PyUnicode_FromFormat("<%s of %R, %s>", Py_TYPE(self)->tp_name, self->proxy->cell->name, state);
}

static PyObject *handle_begin_method(Handle *self, PyObject *Py_UNUSED(ignored)) {
    PyObject *resource;
    Section *section = handle_begin(self, &resource, false);
    if (section == NULL)
        return NULL;
    PyObject *both = PyTuple_Pack(2, section, handle_target(self, resource));
    if (both == NULL)
        section_end(section);
    Py_DECREF(section);
    return both;
}

static PyObject *handle_hand_out_method(Handle *self, PyObject *args) {
    State *state = self->proxy->cell->state;
    Section *section;
    PyObject *value, *hold;
    if (!PyArg_ParseTuple(args, "O!OO:__hand_out__", state->section_type, &section, &value, &hold))
        return NULL;
    PyObject *resource = NULL;
    if (section->record.stripe != NULL) {
        lock(&section->record.stripe->lock); /* else it could be ended, and the publication be gone, in the middle of this */
        Publication *publication = load(&section->record.publication);
        resource = publication == NULL ? NULL : publication->resource; /* to be compared with, no more */
        unlock(&section->record.stripe->lock);
    }
    return handle_hand_out(self, state, (Section *)Py_NewRef(section), resource, Py_NewRef(value), hold);
}

static PyObject *handle_close(Handle *self, PyObject *Py_UNUSED(ignored)) {
    store(&self->closed, true);
    Py_RETURN_NONE;
}

static PyObject *handle_closed(Handle *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(load(&self->closed));
}

static PyObject *handle_root(Handle *self, void *Py_UNUSED(closure)) {
    return Py_NewRef(self->root != NULL ? self->root : self);
}

/* No class but those of guarded objects inherits handle_new(), and looking for it is less work than a walk through bases. */
static HOT bool is_handle(State *state, PyObject *object) {
    return likely(Py_TYPE(object)->tp_new == handle_new) || PyObject_TypeCheck(object, state->handle_type);
}

/* Whether an object is of that type, and has no attributes of its own. */
static HOT bool is_direct(PyTypeObject *type, PyObject *object) {
    if (!Py_IS_TYPE(object, type))
        return false;
    Py_ssize_t offset = type->tp_dictoffset;
    return offset == 0 || load((ATOMIC(PyObject *) *)((char *)object + offset)) == NULL;
}

static PyObject *method_vectorcall(Method *self, PyObject *const *args, size_t nargsf, PyObject *kwnames) {
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    if (unlikely(nargs == 0 || !is_handle(self->state, args[0])))
        return PyErr_Format(PyExc_TypeError, "the guarded method %R is called on a guarded object", self->name);
    Handle *handle = (Handle *)args[0];

    /* A copy, with the resource in the place of the guarded object, and with room before it for whoever is called. */
    PyObject *few[8], **copy = few;
    size_t count = (size_t)nargs + (kwnames == NULL ? 0 : (size_t)PyTuple_GET_SIZE(kwnames));
    if (unlikely(count >= sizeof(few) / sizeof(few[0])) && (copy = PyMem_New(PyObject *, count + 1)) == NULL)
        return PyErr_NoMemory();
    for (size_t i = 1; i < count; i++)
        copy[i + 1] = args[i];

    PyObject *value = NULL;
    PyObject *resource;
    Section *section = handle_begin(handle, &resource, true);
    if (likely(section != NULL)) {
        copy[1] = handle_target(handle, resource);
        if (likely(!Py_EnterRecursiveCall(" in a guarded call"))) {
            size_t passed = (size_t)nargs | PY_VECTORCALL_ARGUMENTS_OFFSET;
            if (self->name == Py_None || is_direct(self->direct, copy[1]))
                value = PyObject_Vectorcall(self->function, copy + 1, passed, kwnames);
            else
                value = PyObject_VectorcallMethod(self->name, copy + 1, passed, kwnames);
            Py_LeaveRecursiveCall();
        }
        if (likely(value != NULL))
            value = handle_hand_out(handle, self->state, section, resource, value, self->hold);
        else
            section_return(section);
    }
    if (unlikely(copy != few))
        PyMem_Free(copy);
    return value;
}

#if GETATTR_IS_SLOW
/* `__getattr__`, for classes that have one: the interpreter's own way there makes three look-ups more, for every method that is
 * called. */
static PyObject *handle_getattro(PyObject *self, PyObject *name) {
    PyTypeObject *type = Py_TYPE(self);
    State *state = ((Handle *)self)->proxy->cell->state;
    PyObject *found = _PyType_Lookup(type, name); /* borrowed: nobody changes these classes */
    if (likely(found != NULL && Py_IS_TYPE(found, state->method_type)))
        return PyMethod_New(found, self);
    PyObject *missing = found != NULL ? NULL : _PyType_Lookup(type, state->getattr);
    return missing != NULL ? PyObject_CallFunctionObjArgs(missing, self, name, NULL) : PyObject_GenericGetAttr(self, name);
}

static PyObject *handle_init_subclass(PyTypeObject *type, PyObject *Py_UNUSED(ignored)) {
    if (type->tp_getattro != PyObject_GenericGetAttr)
        type->tp_getattro = handle_getattro;
    Py_RETURN_NONE;
}
#endif

static PyObject *method_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *name, *function, *hold;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:Method", (char *[]){"", "", "", NULL}, &name, &function, &hold))
        return NULL;
    if (name != Py_None && !PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "the name of a method must be a str or None, not %s", Py_TYPE(name)->tp_name);
    Method *self = (Method *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->call = (vectorcallfunc)method_vectorcall;
        self->state = PyType_GetModuleState(type);
        self->name = Py_NewRef(name);
        if (PyUnicode_CheckExact(name))
            PyUnicode_InternInPlace(&self->name);
        self->function = Py_NewRef(function);
        self->hold = Py_NewRef(hold);
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030E0000
        /* Else all threads that call it fight for its count, and the interpreter looks it up for every call. */
        PyUnstable_Object_EnableDeferredRefcount((PyObject *)self);
#endif
        /* A method in C, of a type that nobody can change. */
        if (name != Py_None && Py_IS_TYPE(function, &PyMethodDescr_Type)) {
            PyTypeObject *of = PyDescr_TYPE(function);
            if ((of->tp_flags & Py_TPFLAGS_IMMUTABLETYPE) && of->tp_dictoffset >= 0 && of->tp_getattro == PyObject_GenericGetAttr)
                self->direct = of;
        }
    }
    return (PyObject *)self;
}

static int method_traverse(Method *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->hold);
    return 0; /* no tp_clear: a cycle through it goes through the class that it is in */
}

static void method_dealloc(Method *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->name);
    Py_XDECREF(self->function);
    Py_XDECREF(self->hold);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *method_get(PyObject *self, PyObject *handle, PyObject *Py_UNUSED(type)) {
    return handle == NULL || handle == Py_None ? Py_NewRef(self) : PyMethod_New(self, handle);
}

/* What it does not know of itself (its signature, its code, its documentation) is that of the method that it stands for. */
static PyObject *method_getattro(Method *self, PyObject *name) {
    PyObject *value = PyObject_GenericGetAttr((PyObject *)self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(self->function, name);
    }
    return value;
}

static PyObject *method_doc(Method *self, void *Py_UNUSED(closure)) {
    return PyObject_GetAttrString(self->function, "__doc__");
}

static PyObject *method_repr(Method *self) {
    return PyUnicode_FromFormat("<ref_proxy._core.Method %R>", self->name);
}

/* ---- The C interface: `include/ref_proxy.h` says what it promises ---- */

_Static_assert(sizeof(Record) <= sizeof(ref_proxy_section), "a record has room in what users of the C interface keep for it");
_Static_assert(_Alignof(Record) <= _Alignof(ref_proxy_section), "and is aligned there");

/* The type is final, and no other has this function: so no state of the interpreter's is needed to know it. */
static inline bool is_proxy(PyObject *object) {
    return Py_TYPE(object)->tp_dealloc == (destructor)proxy_dealloc;
}

static int capi_is_proxy(PyObject *object) {
    return is_proxy(object);
}

/* What is published, borrowed while the section is open; NULL, without an exception: nothing is. */
static HOT PyObject *record_begin(Record *record, Proxy *proxy, Cell *cell) {
    PyThreadState *thread = PyThreadState_Get();
    Stripe *stripe = stripe_of(cell, thread->id);
    record_fill(record, proxy, thread, true);
    lock(&stripe->lock);
    Publication *publication = record_join(record, cell, stripe);
    unlock(&stripe->lock);
    return likely(publication != NULL) ? publication->resource : NULL;
}

/* Take it out of its stripe, and leave it counted: nobody comes by there any more, and what it holds is never released under it. It
 * may still be ended. Under the stripe's lock. */
static void record_isolate(Record *record) {
    unlink_record(record);
    record->next = record;
    record->previous = &record->next;
}

/* A thread that is a daemon may be in a section when the interpreter ends. Before 3.14 it is ended itself as soon as it comes back to
 * Python, and its stack goes, with the record on it. (Since 3.14 it hangs, and the stack stays.) So these records are isolated before
 * it comes to that, and those that such a thread still begins are isolated at once. */
#if PY_VERSION_HEX < 0x030E0000
static PyObject *core_at_exit(PyObject *module, PyObject *Py_UNUSED(ignored)) {
    State *state = PyModule_GetState(module);
    uint64_t here = PyThreadState_Get()->id;
    lock(&state->lock);
    state->exiting = here;
    for (Cell *cell = state->cells; cell != NULL; cell = cell->next) {
        cell->slow = true;
        lock(&cell->publishing);
        FOR_EACH_STRIPE(cell, stripe) {
            lock(&stripe->lock);
            for (Record *r = stripe->sections, *next; r != NULL; r = next) {
                next = r->next;
                if (r->alone && r->thread != here)
                    record_isolate(r);
            }
            unlock(&stripe->lock);
        }
        unlock(&cell->publishing);
    }
    unlock(&state->lock);
    Py_RETURN_NONE;
}
#endif

/* As record_begin(). NULL, with an exception, also where the tracer raised. */
static PyObject *record_begin_slowly(Record *record, Proxy *proxy, Cell *cell) {
    if (unlikely(cell->traced) && !tell_tracer(proxy, 0))
        return NULL;
    PyObject *resource = unlikely(cell_is_barred(cell)) ? NULL : record_begin(record, proxy, cell);
    if (unlikely(cell->traced) && resource != NULL && !tell_tracer(proxy, (long long)(uintptr_t)record)) {
        record_end(record, NULL);
        resource = NULL;
    }
    uint64_t exiting = cell->state->exiting;
    if (unlikely(exiting != 0) && resource != NULL && exiting != record->thread) {
        lock(&record->stripe->lock);
        record_isolate(record);
        unlock(&record->stripe->lock);
    }
    return resource;
}

COLD static void capi_complain(PyObject *object, Record *record) {
    if (!is_proxy(object))
        PyErr_Format(PyExc_TypeError, "an access needs a Proxy, made by provider.proxy(), not a %s", Py_TYPE(object)->tp_name);
    else if (load(&((Proxy *)object)->closed))
        complain((Proxy *)object, PyExc_ValueError, "%U is closed: get another one from the provider");
    else if (load(&record->publication) != NULL)
        complain((Proxy *)object, PyExc_ValueError,
                 "an access of %U was given a ref_proxy_section that is open: end it first, or use another one, and begin with "
                 "REF_PROXY_SECTION_INIT");
}

static HOT PyObject *capi_begin(PyObject *object, Record *record) {
    Proxy *proxy = (Proxy *)object;
    if (unlikely(!is_proxy(object) || load(&proxy->closed) || load(&record->publication) != NULL)) {
        capi_complain(object, record);
        return NULL;
    }
    Cell *cell = proxy->cell;
    return unlikely(cell->slow) ? record_begin_slowly(record, proxy, cell) : record_begin(record, proxy, cell);
}

static PyObject *capi_access(PyObject *object, ref_proxy_section *section) {
    PyObject *resource = capi_begin(object, (Record *)section);
    if (unlikely(resource == NULL) && !PyErr_Occurred())
        proxy_refuse((Proxy *)object);
    return resource;
}

static int capi_try_access(PyObject *object, ref_proxy_section *section, PyObject **resource) {
    *resource = capi_begin(object, (Record *)section);
    return likely(*resource != NULL) ? 1 : PyErr_Occurred() ? -1 : 0;
}

static void capi_end(ref_proxy_section *section) {
    record_end((Record *)section, NULL);
}

static int capi_detach(ref_proxy_section *section) {
    if (record_detach((Record *)section))
        return 0;
    PyErr_SetString(PyExc_ValueError, "this ref_proxy_section is not open: there is nothing for another thread to end");
    return -1;
}

static const ref_proxy_api capi = {
    REF_PROXY_ABI, sizeof(ref_proxy_api), capi_is_proxy, capi_access, capi_try_access, capi_end, capi_detach,
};

/* ---- After a fork ---- */

/* [PURGE] The child is alone: the sections of all other threads are ended, whoever held a lock is gone, and nobody waits. (Those
 * that stand alone lie on stacks that nobody runs on any more. Their memory is still as it was: a child gets all of it.)
 * Returns the publications that this completed, linked by `newer`. */
static Publication *cell_purge(Cell *cell, uint64_t here) {
    Publication *completed = NULL;
    unlock(&cell->publishing);
    FOR_EACH_STRIPE(cell, stripe) {
        unlock(&stripe->lock);
#ifdef Py_GIL_DISABLED
        Section *kept = stripe->spares.first;
        if (kept != NULL && load(&kept->keeping) == PARKED) { /* by a thread that is gone? It would block the place for good */
            store(&kept->keeping, LOOSE);
            stripe->spares.first = NULL;
        }
#endif
        for (Record *r = stripe->sections, *next; r != NULL; r = next) {
            next = r->next;
            if (r->thread == here)
                continue;
            Publication *publication = load(&r->publication);
            unlink_record(r);
            store(&r->publication, NULL);
            if (publication == stripe->turned)
                stripe->open--;
            else if (drop_is_last(&publication->left)) {
                complete(cell, publication);
                publication->newer = completed;
                completed = publication;
            }
        }
    }
    return completed;
}

static PyObject *core_after_fork(PyObject *module, PyObject *Py_UNUSED(ignored)) {
    State *state = PyModule_GetState(module);
    uint64_t here = PyThreadState_Get()->id;
    unlock(&state->lock);
    state->forks++;
    for (Cell *cell = state->cells; cell != NULL;) {
        if (cell->forks == state->forks) {
            cell = cell->next;
            continue;
        }
        cell->forks = state->forks;
        Publication *completed = cell_purge(cell, here);
        if (completed == NULL)
            continue;
        Py_INCREF(cell);
        while (completed != NULL) {
            Publication *publication = completed;
            completed = publication->newer;
            publication_free(publication);
        }
        wake(cell);
        Py_DECREF(cell);
        cell = state->cells; /* foreign code has run: begin anew with those that are left */
    }
    Py_RETURN_NONE;
}

/* ---- Documentation: the same words as in the Python twin ---- */

static const char proxy_doc[] =
    "Proxy(cell, name=None, /)\n--\n\n"
    "A weak handle on a provider's resource: share one among all consumers, or give each its own.\n"
    "\n"
    "Made by `provider.proxy(name)`. It never keeps the resource alive, nothing of an access lives in it, and it costs a removal\n"
    "nothing. Guarantees: S1, S10, S20. Threads: any, and signal handlers. Source: `struct ref_proxy`, without the index in it.\n"
    "\n"
    ">>> from ref_proxy import Provider, Revoked\n"
    ">>> provider = Provider([\"a resource\"], name=\"line\")\n"
    ">>> proxy = provider.proxy(\"reader\")\n"
    ">>> with proxy.access() as resource:\n"
    "...     print(resource)\n"
    "['a resource']\n"
    ">>> provider.revoke()\n"
    "True\n"
    ">>> with proxy.try_access() as resource:\n"
    "...     print(resource)\n"
    "None";

static const char proxy_access_doc[] =
    "access($self, /)\n--\n\n"
    "Begin a section and return it: `with proxy.access() as resource:`.\n"
    "\n"
    "Guarantees: S1, S2, S5, S12, S13. Blocks: never. Raises: `Revoked` once the resource is gone, `ValueError` if the proxy is\n"
    "closed; nothing is held then. Cost: that of a context manager which does nothing. Source: `ref_proxy_get()`.";

static const char proxy_try_access_doc[] =
    "try_access($self, /)\n--\n\n"
    "Begin a section and return it; once the resource is gone, a refused one, whose resource is None.\n"
    "\n"
    "Guarantees: S1, S2, S5, S12, S13. Blocks: never. Nothing is owed for a refused one. Source: `REF_PROXY_GET()`.";

static const char proxy_close_doc[] =
    "close($self, /)\n--\n\n"
    "Refuse all further accesses through this proxy, with `ValueError`. Its open sections go on. May be called again.\n"
    "\n"
    "Guarantees: S18. Blocks: never. Source: `ref_proxy_free()`.";

static const char proxy_revoked_doc[] =
    "Whether the resource is gone. If not, it may be in a moment: only an access holds it.";

static const char section_doc[] =
    "One access, from its start to its end: while it is open the resource is not released.\n"
    "\n"
    "Made by `proxy.access()`. It may be ended in another thread than it began in, nest, sleep and cross an `await`. Dropped while\n"
    "open it ends, with a `ResourceWarning`. Guarantees: S1, S3, S9, S18. Source: what `srcu_read_lock()` returns, as an object.\n"
    "\n"
    ">>> from ref_proxy import Provider\n"
    ">>> provider = Provider([\"a resource\"], name=\"line\")\n"
    ">>> section = provider.proxy(\"reader\").access()\n"
    ">>> section.resource\n"
    "['a resource']\n"
    ">>> section.end()\n"
    ">>> section.resource\n"
    "Traceback (most recent call last):\n"
    "ValueError: the section of proxy 'reader' of 'line' has ended: the resource may be used only inside it";

static const char section_resource_doc[] =
    "The resource; None where the access was refused. Raises `ValueError` after the end.";

static const char section_end_doc[] =
    "end($self, /)\n--\n\n"
    "End the section, in whatever thread. May be called again.\n"
    "\n"
    "Guarantees: S1, S3, S12. Blocks: never. Source: `ref_proxy_put()`.";

static const char section_detach_doc[] =
    "detach($self, /)\n--\n\n"
    "Say that another thread or task is going to end this section.\n"
    "\n"
    "A removal in the thread that began it then waits for it, as for any other, where it would raise `RevokeDeadlock`.\n"
    "Guarantees: S8. Blocks: never. Raises: `ValueError` after the end. Source: `srcu_down_read()`.";

/* ---- Types and module ---- */

#define COMMON_METHODS                                                                                                  \
    {"__reduce_ex__", (PyCFunction)refuse_copy, METH_O, NULL},                                                          \
        {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL}, {NULL, NULL, 0, NULL}
#define FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE)

static PyMethodDef cell_methods[] = {
    {"watch", (PyCFunction)cell_watch, METH_O, NULL},
    {"lease", (PyCFunction)cell_lease, METH_O, NULL},
    {"publish", (PyCFunction)cell_publish, METH_O, NULL},
    {"deny", (PyCFunction)cell_deny, METH_NOARGS, NULL},
    {"clear", (PyCFunction)cell_clear, METH_NOARGS, NULL},
    {"drained", (PyCFunction)cell_drained, METH_VARARGS, NULL},
    {"sections", (PyCFunction)cell_sections, METH_VARARGS, NULL},
    {"__sizeof__", (PyCFunction)cell_sizeof, METH_NOARGS, NULL},
    COMMON_METHODS,
};

static PyGetSetDef cell_getset[] = {
    {"live", (getter)cell_live, NULL, NULL, NULL},
    {"number", (getter)cell_number, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef cell_members[] = {
    {"name", Py_T_OBJECT_EX, offsetof(Cell, name), Py_READONLY, "What messages and reports call it."},
    {"wake", Py_T_OBJECT_EX, offsetof(Cell, wake), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot cell_slots[] = {
    {Py_tp_new, cell_new},         {Py_tp_traverse, cell_traverse}, {Py_tp_dealloc, cell_dealloc},
    {Py_tp_repr, cell_repr},         {Py_tp_methods, cell_methods}, {Py_tp_getset, cell_getset},     {Py_tp_members, cell_members},
    {0, NULL},
};

static PyMethodDef proxy_methods[] = {
    {"access", (PyCFunction)proxy_access, METH_NOARGS, proxy_access_doc},
    {"try_access", (PyCFunction)proxy_try_access, METH_NOARGS, proxy_try_access_doc},
    {"close", (PyCFunction)proxy_close, METH_NOARGS, proxy_close_doc},
    COMMON_METHODS,
};

static PyGetSetDef proxy_getset[] = {
    {"revoked", (getter)proxy_revoked, NULL, proxy_revoked_doc, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef proxy_members[] = {
    {"name", Py_T_OBJECT_EX, offsetof(Proxy, name), Py_READONLY,
     "What messages and reports call it; None where it was given no name."},
    {"_cell", Py_T_OBJECT_EX, offsetof(Proxy, cell), Py_READONLY, NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Proxy, weakrefs), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot proxy_slots[] = {
    {Py_tp_doc, (void *)proxy_doc},
    {Py_tp_new, proxy_new},         {Py_tp_traverse, proxy_traverse}, {Py_tp_dealloc, proxy_dealloc},
    {Py_tp_repr, proxy_repr},         {Py_tp_methods, proxy_methods}, {Py_tp_getset, proxy_getset},     {Py_tp_members, proxy_members},
    {0, NULL},
};

static PyMethodDef section_methods[] = {
    {"end", (PyCFunction)section_end_method, METH_NOARGS, section_end_doc},
    {"detach", (PyCFunction)section_detach, METH_NOARGS, section_detach_doc},
    {"__enter__", (PyCFunction)section_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))section_exit, METH_FASTCALL, NULL},
    COMMON_METHODS,
};

static PyGetSetDef section_getset[] = {
    {"resource", (getter)section_resource, NULL, section_resource_doc, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#if WITH_BINDS
static PyMemberDef section_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(Section, call), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef special_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(Special, call), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot special_slots[] = {
    {Py_tp_descr_get, special_get},           {Py_tp_call, PyVectorcall_Call},   {Py_tp_getattro, special_getattro},
    {Py_tp_repr, special_repr},               {Py_tp_members, special_members},  {Py_tp_traverse, special_traverse},
    {Py_tp_dealloc, special_dealloc},         {0, NULL},
};
#endif

static PyType_Slot section_slots[] = {
    {Py_tp_doc, (void *)section_doc},
#if WITH_BINDS
    {Py_tp_call, PyVectorcall_Call},    {Py_tp_members, section_members},
#endif
    {Py_tp_traverse, section_traverse}, {Py_tp_finalize, section_finalize}, {Py_tp_dealloc, section_dealloc},
    {Py_tp_repr, section_repr},         {Py_tp_methods, section_methods},   {Py_tp_getset, section_getset},
    {0, NULL},
};

static PyMethodDef handle_methods[] = {
    {"__begin__", (PyCFunction)handle_begin_method, METH_NOARGS, NULL},
    {"__hand_out__", (PyCFunction)handle_hand_out_method, METH_VARARGS, NULL},
    {"__close__", (PyCFunction)handle_close, METH_NOARGS, NULL},
    {"__reduce_ex__", (PyCFunction)refuse_copy, METH_O, NULL},
#if GETATTR_IS_SLOW
    {"__init_subclass__", (PyCFunction)handle_init_subclass, METH_NOARGS | METH_CLASS, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static PyMemberDef handle_members[] = {
    {"__withs__", Py_T_OBJECT_EX, offsetof(Handle, withs), Py_READONLY, NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Handle, weakrefs), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef handle_getset[] = {
    {"__closed__", (getter)handle_closed, NULL, NULL, NULL},
    {"__root__", (getter)handle_root, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_new, handle_new},         {Py_tp_traverse, handle_traverse}, {Py_tp_clear, handle_clear},
    {Py_tp_dealloc, handle_dealloc}, {Py_tp_repr, handle_repr},         {Py_tp_methods, handle_methods},
    {Py_tp_members, handle_members}, {Py_tp_getset, handle_getset},     {0, NULL},
};

static PyMemberDef method_members[] = {
    {"__name__", Py_T_OBJECT_EX, offsetof(Method, name), Py_READONLY, NULL},
    {"__wrapped__", Py_T_OBJECT_EX, offsetof(Method, function), Py_READONLY, NULL},
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(Method, call), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef method_getset[] = {
    {"__doc__", (getter)method_doc, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot method_slots[] = {
    {Py_tp_new, method_new},         {Py_tp_traverse, method_traverse},   {Py_tp_dealloc, method_dealloc},
    {Py_tp_repr, method_repr},       {Py_tp_call, PyVectorcall_Call},     {Py_tp_descr_get, method_get},
    {Py_tp_getattro, method_getattro}, {Py_tp_members, method_members}, {Py_tp_getset, method_getset},
    {0, NULL},
};

static PyType_Spec handle_spec = {"ref_proxy._core.Handle", sizeof(Handle), 0, FLAGS | Py_TPFLAGS_BASETYPE, handle_slots};
static PyType_Spec method_spec = {"ref_proxy._core.Method", sizeof(Method), 0,
                                  FLAGS | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR, method_slots};
static PyType_Spec cell_spec = {"ref_proxy._core.Cell", sizeof(Cell), 0, FLAGS, cell_slots};
static PyType_Spec proxy_spec = {"ref_proxy.Proxy", sizeof(Proxy), 0, FLAGS, proxy_slots};
#if WITH_BINDS
static PyType_Spec special_spec = {"ref_proxy._core.Special", sizeof(Special), 0,
                                   FLAGS | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION, special_slots};
#define SECTION_FLAGS (FLAGS | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION)
#else
#define SECTION_FLAGS (FLAGS | Py_TPFLAGS_DISALLOW_INSTANTIATION)
#endif
static PyType_Spec section_spec = {"ref_proxy.Section", sizeof(Section), 0, SECTION_FLAGS, section_slots};

static int core_exec(PyObject *module) {
    State *state = PyModule_GetState(module);
    state->clock_reader = find_clock_reader();
    struct {
        PyTypeObject **type;
        PyType_Spec *spec;
    } types[] = {{&state->cell_type, &cell_spec},
                 {&state->proxy_type, &proxy_spec},
                 {&state->section_type, &section_spec},
                 {&state->handle_type, &handle_spec},
                 {&state->method_type, &method_spec}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        *types[i].type = (PyTypeObject *)PyType_FromModuleAndSpec(module, types[i].spec, NULL);
        if (*types[i].type == NULL || PyModule_AddType(module, *types[i].type) < 0)
            return -1;
    }
#if WITH_BINDS
    PyTypeObject *special = (PyTypeObject *)PyType_FromModuleAndSpec(module, &special_spec, NULL);
    int failed = special == NULL || special_put(special, state->section_type, "__enter__") < 0 ||
                 special_put(special, state->section_type, "__exit__") < 0;
    Py_XDECREF(special);
    if (failed)
        return -1;
#endif
    if ((state->getattr = PyUnicode_InternFromString("__getattr__")) == NULL)
        return -1;
    for (int i = 0; i < INNER_NAMES; i++)
        if ((state->inner_names[i] = PyUnicode_InternFromString(inner_names[i])) == NULL)
            return -1;
    PyObject *errors = PyImport_ImportModule("ref_proxy.errors");
    if (errors == NULL)
        return -1;
    state->revoked = PyObject_GetAttrString(errors, "Revoked");
    Py_DECREF(errors);
    if (state->revoked == NULL)
        return -1;
    PyObject *table = PyCapsule_New((void *)&capi, "ref_proxy._core._C_API", NULL);
    if (PyModule_AddObjectRef(module, "_C_API", table) < 0) /* also where there is none */
        return -1;
    Py_DECREF(table);
    return PyModule_AddStringConstant(module, "BACKEND", "c");
}

static int core_traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    Py_VISIT(state->cell_type);
    Py_VISIT(state->proxy_type);
    Py_VISIT(state->section_type);
    Py_VISIT(state->handle_type);
    Py_VISIT(state->method_type);
    Py_VISIT(state->revoked);
    Py_VISIT(state->tracer);
#ifndef Py_GIL_DISABLED
    for (int i = 0; i < state->spares.count; i++)
        Py_VISIT(state->section_type);
#endif
    return 0;
}

static int core_clear(PyObject *module) {
    State *state = PyModule_GetState(module);
    spares_free(&state->spares);
    Py_CLEAR(state->cell_type);
    Py_CLEAR(state->proxy_type);
    Py_CLEAR(state->section_type);
    Py_CLEAR(state->handle_type);
    Py_CLEAR(state->method_type);
    Py_CLEAR(state->revoked);
    Py_CLEAR(state->getattr);
    for (int i = 0; i < INNER_NAMES; i++)
        Py_CLEAR(state->inner_names[i]);
    Py_CLEAR(state->tracer);
    return 0;
}

static void core_free(void *module) {
    (void)core_clear(module);
}

static PyMethodDef core_methods[] = {
    {"trace", core_trace, METH_O, NULL},
    {"after_fork", core_after_fork, METH_NOARGS, NULL},
    {"is_inner", core_is_inner, METH_O, NULL},
#if PY_VERSION_HEX < 0x030E0000
    {"_at_exit", core_at_exit, METH_NOARGS, NULL},
#endif
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, /* no static mutable state */
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED}, /* why that holds: the top of this file */
#endif
    {0, NULL},
};

static PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT, "ref_proxy._core", NULL, sizeof(State), core_methods, core_slots, core_traverse, core_clear, core_free,
};

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&core_module);
}
