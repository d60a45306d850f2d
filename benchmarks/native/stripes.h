/* Prototypes of a stripe, to decide by: the same few loads and stores as an access and an end, under locks of different kinds, and at
 * different distances. Nothing of it is in the package.
 *
 *   nothing     no lock: what is left of the cost, and what the GIL's guarantee makes of it
 *   exchange    as the C twin has it: an atomic exchange takes it, a plain store gives it back
 *   swap        as `exchange`, and an atomic exchange gives it back, too
 *   mutex       a PyMutex, where there is one
 *   membarrier  the stripe belongs to one thread, which takes it with plain stores and loads. Whoever else wants it says so, has every
 *               processor that runs a thread of the process make a fence (the system call), and waits until the owner is out.
 */
#ifndef STRIPES_H
#define STRIPES_H

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct Trial Trial;
typedef struct TrialRecord TrialRecord;

struct TrialRecord {
    _Atomic(void *) publication;
    Trial *stripe;
    TrialRecord *next, **previous;
};

struct Trial {
    union {
        _Atomic(char) word;
#if PY_VERSION_HEX >= 0x030D0000
        PyMutex mutex;
#endif
        struct {
            _Atomic(char) inside, wanted;
            _Atomic(unsigned) owner;
        };
    };
    void *turned;
    size_t open;
    TrialRecord *records;
};
_Static_assert(sizeof(Trial) == 32, "two of them fit a cache line");

static _Atomic(void *) trial_current = &trial_current;

#define RELAXED(p) atomic_load_explicit((p), memory_order_relaxed)
#define ACQUIRED(p) atomic_load_explicit((p), memory_order_acquire)
#define RELEASED(p, value) atomic_store_explicit((p), (value), memory_order_release)

static inline void trial_spin(int tries) {
    if (tries > 100)
        sched_yield();
}

static inline void nothing_lock(Trial *Py_UNUSED(s), unsigned Py_UNUSED(me)) {}
static inline void nothing_unlock(Trial *Py_UNUSED(s), unsigned Py_UNUSED(me)) {}

static inline void exchange_lock(Trial *s, unsigned Py_UNUSED(me)) {
    for (int tries = 0; unlikely(atomic_exchange_explicit(&s->word, 1, memory_order_acquire)); tries++)
        trial_spin(tries);
}
static inline void exchange_unlock(Trial *s, unsigned Py_UNUSED(me)) { RELEASED(&s->word, 0); }

static inline void swap_lock(Trial *s, unsigned me) { exchange_lock(s, me); }
static inline void swap_unlock(Trial *s, unsigned Py_UNUSED(me)) {
    atomic_exchange_explicit(&s->word, 0, memory_order_release);
}

#if PY_VERSION_HEX >= 0x030D0000
static inline void mutex_lock(Trial *s, unsigned Py_UNUSED(me)) { PyMutex_Lock(&s->mutex); }
static inline void mutex_unlock(Trial *s, unsigned Py_UNUSED(me)) { PyMutex_Unlock(&s->mutex); }
#endif

static int membarrier(int command) { return (int)syscall(__NR_membarrier, command, 0, 0); }

/* The owner's store to `inside` and its load of `wanted` may pass each other in its processor; so may the other's store to `wanted`
 * and its load of `inside`. One of the two must see the other. The system call is a fence on both sides. */
COLD static void membarrier_lock_slowly(Trial *s, unsigned me) {
    if (RELAXED(&s->owner) == me) {
        do {
            RELEASED(&s->inside, 0);
            for (int tries = 0; RELAXED(&s->wanted) != 0; tries++)
                trial_spin(tries);
            atomic_store_explicit(&s->inside, 1, memory_order_relaxed);
            atomic_signal_fence(memory_order_seq_cst);
        } while (ACQUIRED(&s->wanted) != 0);
        return;
    }
    for (int tries = 0; atomic_exchange_explicit(&s->wanted, 1, memory_order_acquire); tries++)
        trial_spin(tries); /* one of those who do not own it */
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    for (int tries = 0; ACQUIRED(&s->inside) != 0; tries++)
        trial_spin(tries);
}
static inline void membarrier_lock(Trial *s, unsigned me) {
    if (likely(RELAXED(&s->owner) == me)) {
        atomic_store_explicit(&s->inside, 1, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        if (likely(ACQUIRED(&s->wanted) == 0))
            return;
    }
    membarrier_lock_slowly(s, me);
}
static inline void membarrier_unlock(Trial *s, unsigned me) {
    if (likely(RELAXED(&s->owner) == me))
        RELEASED(&s->inside, 0);
    else
        RELEASED(&s->wanted, 0);
}

/* The same for each lock, and inlined as the C twin's own. */
#define TRIAL(LOCK)                                                                                                     \
    static inline bool LOCK##_access(Trial *s, TrialRecord *record, unsigned me) {                                      \
        LOCK##_lock(s, me);                                                                                             \
        void *publication = ACQUIRED(&trial_current);                                                                   \
        if (unlikely(publication == NULL)) {                                                                            \
            LOCK##_unlock(s, me);                                                                                       \
            return false;                                                                                               \
        }                                                                                                               \
        if (unlikely(s->turned != publication)) {                                                                       \
            s->open = 0;                                                                                                \
            s->turned = publication;                                                                                    \
        }                                                                                                               \
        s->open++;                                                                                                      \
        record->next = s->records;                                                                                      \
        APART();                                                                                                        \
        record->previous = &s->records;                                                                                 \
        if (unlikely(record->next != NULL))                                                                             \
            record->next->previous = &record->next;                                                                     \
        s->records = record;                                                                                            \
        record->stripe = s;                                                                                             \
        APART();                                                                                                        \
        RELEASED(&record->publication, publication);                                                                    \
        LOCK##_unlock(s, me);                                                                                           \
        return true;                                                                                                    \
    }                                                                                                                   \
    static inline void LOCK##_end(TrialRecord *record, unsigned me) {                                                   \
        Trial *s = record->stripe;                                                                                      \
        LOCK##_lock(s, me);                                                                                             \
        void *publication = ACQUIRED(&record->publication);                                                             \
        *record->previous = record->next;                                                                               \
        if (unlikely(record->next != NULL))                                                                             \
            record->next->previous = record->previous;                                                                  \
        RELEASED(&record->publication, NULL);                                                                           \
        if (likely(publication == s->turned))                                                                           \
            s->open--;                                                                                                  \
        LOCK##_unlock(s, me);                                                                                           \
    }                                                                                                                   \
    static uint64_t LOCK##_loop(Trial *s, unsigned me, long count) {                                                    \
        TrialRecord record = {NULL, NULL, NULL, NULL};                                                                  \
        uint64_t begun = now();                                                                                         \
        for (long i = 0; i < count; i++) {                                                                              \
            if (unlikely(!LOCK##_access(s, &record, me)))                                                               \
                break;                                                                                                  \
            BARRIER();                                                                                                  \
            LOCK##_end(&record, me);                                                                                    \
            BARRIER();                                                                                                  \
        }                                                                                                               \
        return now() - begun;                                                                                           \
    }                                                                                                                   \
    static void LOCK##_steps(Trial *s, unsigned me, long count) {                                                       \
        for (long i = 0; i < count; i++) {                                                                              \
            LOCK##_lock(s, me);                                                                                         \
            size_t seen = s->open;                                                                                      \
            BARRIER();                                                                                                  \
            s->open = seen + 1;                                                                                         \
            LOCK##_unlock(s, me);                                                                                       \
        }                                                                                                               \
    }
TRIAL(nothing)
TRIAL(exchange)
TRIAL(swap)
TRIAL(membarrier)
#if PY_VERSION_HEX >= 0x030D0000
TRIAL(mutex)
#endif

static const struct TrialLock {
    const char *name;
    uint64_t (*loop)(Trial *s, unsigned me, long count);
    void (*steps)(Trial *s, unsigned me, long count);
} trial_locks[] = {
    {"nothing", nothing_loop, nothing_steps},
    {"exchange", exchange_loop, exchange_steps},
    {"swap", swap_loop, swap_steps},
#if PY_VERSION_HEX >= 0x030D0000
    {"mutex", mutex_loop, mutex_steps},
#endif
    {"membarrier", membarrier_loop, membarrier_steps}, /* the last one: it is left out where there is no such system call */
};

static bool membarrier_works(void) { return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0; }

static size_t trial_locks_count(void) { return sizeof(trial_locks) / sizeof(trial_locks[0]) - (membarrier_works() ? 0 : 1); }

static PyObject *stripes_locks(void) {
    PyObject *names = PyTuple_New((Py_ssize_t)trial_locks_count());
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyUnicode_FromString(trial_locks[i].name);
        if (name == NULL)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, i, name);
    }
    return names;
}

static const struct TrialLock *trial_lock_named(const char *name) {
    for (size_t i = 0; i < trial_locks_count(); i++)
        if (strcmp(trial_locks[i].name, name) == 0)
            return &trial_locks[i];
    PyErr_Format(PyExc_ValueError, "there is no lock %s here", name);
    return NULL;
}

static PyObject *stripes_sections(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name;
    long count;
    const struct TrialLock *lock;
    if (!PyArg_ParseTuple(args, "sl", &name, &count) || (lock = trial_lock_named(name)) == NULL)
        return NULL;
    alignas(128) Trial stripe = {0};
    if (strcmp(name, "membarrier") == 0)
        stripe.owner = 1;
    return PyLong_FromUnsignedLongLong(lock->loop(&stripe, 1, count));
}

static PyObject *stripes_exchanges(PyObject *Py_UNUSED(module), PyObject *args) {
    long count;
    if (!PyArg_ParseTuple(args, "l", &count))
        return NULL;
    alignas(128) Trial stripe = {0};
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        exchange_lock(&stripe, 1);
        exchange_unlock(&stripe, 1);
        BARRIER();
        exchange_lock(&stripe, 1);
        exchange_unlock(&stripe, 1);
        BARRIER();
    }
    return PyLong_FromUnsignedLongLong(now() - begun);
}

/* Two threads, each on a processor of its own where there are two, which begin together. */
typedef struct {
    const struct TrialLock *lock;
    Trial *stripe;
    unsigned me;
    long count;
    atomic_int *arrived;
    uint64_t begun, took;
} Racer;

static void trial_pin(unsigned to) {
    cpu_set_t mine, one;
    if (sched_getaffinity(0, sizeof(mine), &mine) != 0)
        return;
    unsigned there = (unsigned)CPU_COUNT(&mine), nth = 0;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &mine) && nth++ == to % there) {
            CPU_ZERO(&one);
            CPU_SET(i, &one);
            sched_setaffinity(0, sizeof(one), &one);
            return;
        }
}

static void *racer_run(void *argument) {
    Racer *racer = argument;
    trial_pin(racer->me);
    racer->lock->loop(racer->stripe, racer->me, racer->count / 50 + 1);
    atomic_fetch_add(racer->arrived, 1);
    while (atomic_load(racer->arrived) < 2) /* spinning: whoever sleeps comes late to a race of some milliseconds */
        ;
    racer->begun = now();
    racer->took = racer->lock->loop(racer->stripe, racer->me, racer->count);
    return NULL;
}

/* A race in which one of them came late is run again. */
static PyObject *stripes_race(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name;
    long count, apart;
    const struct TrialLock *lock;
    if (!PyArg_ParseTuple(args, "sll", &name, &apart, &count) || (lock = trial_lock_named(name)) == NULL)
        return NULL;
    alignas(128) char memory[1024];
    if (apart < (long)sizeof(Trial) || apart > 512 || apart % 32 != 0) {
        PyErr_SetString(PyExc_ValueError, "from 32 to 512 bytes apart, a multiple of 32");
        return NULL;
    }
    Racer racers[2];
    for (int tries = 0; tries < 20; tries++) {
        atomic_int arrived = 0;
        pthread_t thread[2];
        memset(memory, 0, sizeof(memory));
        for (unsigned i = 0; i < 2; i++) {
            racers[i] = (Racer){lock, (Trial *)(memory + i * apart), i + 1, count, &arrived, 0, 0};
            if (strcmp(name, "membarrier") == 0)
                racers[i].stripe->owner = i + 1;
        }
        if (pthread_create(&thread[0], NULL, racer_run, &racers[0]) != 0)
            return PyErr_SetFromErrno(PyExc_OSError);
        if (pthread_create(&thread[1], NULL, racer_run, &racers[1]) != 0) {
            atomic_fetch_add(&arrived, 1); /* the other one must not wait for ever */
            pthread_join(thread[0], NULL);
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        pthread_join(thread[0], NULL);
        pthread_join(thread[1], NULL);
        uint64_t one = racers[0].begun, other = racers[1].begun, least = Py_MIN(racers[0].took, racers[1].took);
        if ((one > other ? one - other : other - one) <= least / 20)
            break;
    }
    return PyLong_FromUnsignedLongLong(Py_MAX(racers[0].took, racers[1].took));
}

typedef struct {
    const struct TrialLock *lock;
    Trial *stripe;
    atomic_bool over;
} Reader;

static void *reader_run(void *argument) {
    Reader *reader = argument;
    trial_pin(1);
    while (!atomic_load(&reader->over))
        reader->lock->loop(reader->stripe, 1, 1000);
    return NULL;
}

/* So many times: lock and give back each of 64 stripes, as a removal does. `busy`: another thread uses one of them all the time.
 * Those of `membarrier` are all asked for with one system call. */
static PyObject *stripes_scans(PyObject *Py_UNUSED(module), PyObject *args) {
    enum { MANY = 64, APART = 64 };
    const char *name;
    long count;
    int busy;
    const struct TrialLock *lock;
    if (!PyArg_ParseTuple(args, "spl", &name, &busy, &count) || (lock = trial_lock_named(name)) == NULL)
        return NULL;
    bool asymmetric = strcmp(name, "membarrier") == 0;
    static const unsigned me = 2;
    alignas(128) char memory[MANY * APART];
    memset(memory, 0, sizeof(memory));
#define EACH(stripe) for (Trial *stripe = (Trial *)memory; (char *)stripe < memory + sizeof(memory); stripe += APART / sizeof(Trial))
    if (asymmetric)
        EACH(s)
            s->owner = 1;
    Reader reader = {.lock = lock, .stripe = (Trial *)memory};
    pthread_t thread;
    if (busy && pthread_create(&thread, NULL, reader_run, &reader) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        if (asymmetric) {
            EACH(s)
                atomic_store_explicit(&s->wanted, 1, memory_order_relaxed);
            membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
            EACH(s) {
                for (int tries = 0; ACQUIRED(&s->inside) != 0; tries++)
                    trial_spin(tries);
                membarrier_unlock(s, me);
            }
        } else
            EACH(s)
                lock->steps(s, me, 1);
    }
    uint64_t took = now() - begun;
    atomic_store(&reader.over, true);
    if (busy)
        pthread_join(thread, NULL);
    return PyLong_FromUnsignedLongLong(took);
#undef EACH
}

typedef struct {
    const struct TrialLock *lock;
    Trial *stripe;
    unsigned me;
    long count;
} Stepper;

static void *stepper_run(void *argument) {
    Stepper *stepper = argument;
    trial_pin(stepper->me);
    stepper->lock->steps(stepper->stripe, stepper->me, stepper->count);
    return NULL;
}

/* Two threads add to one number under one lock. */
static PyObject *stripes_check(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name;
    long count;
    const struct TrialLock *lock;
    if (!PyArg_ParseTuple(args, "sl", &name, &count) || (lock = trial_lock_named(name)) == NULL)
        return NULL;
    alignas(128) Trial stripe = {0};
    if (strcmp(name, "membarrier") == 0)
        stripe.owner = 1;
    pthread_t threads[2];
    Stepper steppers[2];
    int started = 0;
    for (; started < 2; started++) {
        steppers[started] = (Stepper){lock, &stripe, (unsigned)started + 1, count};
        if (pthread_create(&threads[started], NULL, stepper_run, &steppers[started]) != 0)
            break;
    }
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (started < 2)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyLong_FromLongLong(2 * (long long)count - (long long)stripe.open);
}

#endif
