/* What an access costs in C, beside liburcu's read side, in one program: the mechanism in it is the C twin's own source.
 *
 * This extension is two modules: `_core`, which is the C twin, and `_native`, which times it from within: with the record on the C
 * stack and without the interpreter. With an interpreter that has the GIL it has the GIL's guarantee; with a free-threaded one it has
 * none. Nothing else tells the two apart, and nothing is defined for the purpose. */
#include "../../src/ref_proxy/_core.c"

#include "flavour.h"
#include "stripes.h"
#include <pthread.h>
#include <semaphore.h>

static const Flavour *const flavours[] = {
#ifdef WITH_LIBURCU
    &flavour_memb, &flavour_mb, &flavour_bp, &flavour_qsbr,
#endif
    NULL,
};

static const Flavour *flavour_named(const char *name) {
    for (const Flavour *const *flavour = flavours; *flavour != NULL; flavour++)
        if (strcmp((*flavour)->name, name) == 0)
            return *flavour;
    PyErr_Format(PyExc_ValueError, "there is no flavour %s here", name);
    return NULL;
}

static PyObject *nanoseconds(uint64_t value) { return PyLong_FromUnsignedLongLong(value); }

/* ---- Ours ---- */

static PyObject *native_empty(PyObject *Py_UNUSED(module), PyObject *args) {
    long count;
    if (!PyArg_ParseTuple(args, "l", &count))
        return NULL;
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        BARRIER();
        BARRIER();
    }
    return nanoseconds(now() - begun);
}

/* As a C function of the same source has it. */
static PyObject *native_sections(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *proxy;
    long count;
    if (!PyArg_ParseTuple(args, "Ol", &proxy, &count))
        return NULL;
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        if (unlikely(capi_access(proxy, &section) == NULL))
            return NULL;
        BARRIER();
        capi_end(&section);
        BARRIER();
    }
    return nanoseconds(now() - begun);
}

/* As another extension has it: through the table, of which the compiler knows nothing. */
static PyObject *native_capsule_sections(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *proxy;
    long count;
    if (!PyArg_ParseTuple(args, "Ol", &proxy, &count))
        return NULL;
    const ref_proxy_api *api = ref_proxy_import();
    if (api == NULL)
        return NULL;
    if (api != &capi) {
        PyErr_SetString(PyExc_RuntimeError, "the C twin that runs is another one than that of this program");
        return NULL;
    }
    __asm__("" : "+r"(api)); /* from here on the compiler does not know which table it is */
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        if (unlikely(ref_proxy_access(api, proxy, &section) == NULL))
            return NULL;
        BARRIER();
        ref_proxy_end(api, &section);
        BARRIER();
    }
    return nanoseconds(now() - begun);
}

/* A grace period: another resource is published, and all that hold the old one have ended, of which there are none here. */
static PyObject *native_grace_periods(PyObject *Py_UNUSED(module), PyObject *args) {
    Proxy *proxy;
    long count;
    if (!PyArg_ParseTuple(args, "Ol", &proxy, &count))
        return NULL;
    Cell *cell = proxy->cell;
    PyObject *resource = load(&cell->current)->resource;
    uint64_t begun = now();
    for (long i = 0; i < count; i++) {
        Publication *fresh = publication_new(resource, 0);
        if (fresh == NULL)
            return NULL;
        unsigned long long number;
        PyObject *old = cell_exchange(cell, fresh, &number);
        if (unlikely(old == NULL || cell->oldest != NULL)) {
            PyErr_SetString(PyExc_RuntimeError, "it was revoked, or somebody was inside");
            return NULL;
        }
        Py_DECREF(old);
    }
    return nanoseconds(now() - begun);
}

/* As two threads that meet do. How many stripes there are. */
static PyObject *native_grow(PyObject *Py_UNUSED(module), PyObject *proxy) {
    Cell *cell = ((Proxy *)proxy)->cell;
#ifdef Py_GIL_DISABLED
    if (load(&cell->many) == NULL)
        grow(cell);
#endif
    long count = 0;
    FOR_EACH_STRIPE(cell, stripe)
        count++;
    return PyLong_FromLong(count);
}

/* ---- liburcu's ---- */

typedef struct {
    const Flavour *flavour;
    uint64_t (*run)(long count);
    long count;
    bool reader;
    uint64_t took;
} Task;

static void *task_run(void *argument) {
    Task *task = argument;
    if (task->reader)
        task->flavour->enter();
    task->run(task->count / 50 + 1);
    task->took = task->run(task->count);
    if (task->reader)
        task->flavour->leave();
    return NULL;
}

/* In a thread of its own: a reader that has gone must not be one for the grace periods, and bp's readers go with their thread. */
static PyObject *task_time(Task *task) {
    pthread_t thread;
    if (task->run == NULL) {
        PyErr_SetString(PyExc_ValueError, "this flavour asks nothing of its readers between sections");
        return NULL;
    }
    if (pthread_create(&thread, NULL, task_run, task) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    pthread_join(thread, NULL);
    return nanoseconds(task->took);
}

static PyObject *native_urcu_sections(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *name;
    Task task = {.reader = true};
    int reported = 0;
    if (!PyArg_ParseTuple(args, "sl|p", &name, &task.count, &reported) || (task.flavour = flavour_named(name)) == NULL)
        return NULL;
    task.run = reported ? task.flavour->reported_sections : task.flavour->sections;
    return task_time(&task);
}

typedef struct {
    const Flavour *flavour;
    sem_t ready, over;
} Idler;

static void *idler_run(void *argument) {
    Idler *idler = argument;
    idler->flavour->enter();
    idler->flavour->sections(1);
    idler->flavour->idle();
    sem_post(&idler->ready);
    while (sem_wait(&idler->over) != 0)
        ;
    idler->flavour->busy();
    idler->flavour->leave();
    return NULL;
}

/* With so many threads that have been readers, and are idle. */
static PyObject *native_urcu_grace_periods(PyObject *Py_UNUSED(module), PyObject *args) {
    enum { MOST = 16 };
    const char *name;
    int readers;
    Task task = {.reader = false};
    if (!PyArg_ParseTuple(args, "sli", &name, &task.count, &readers) || (task.flavour = flavour_named(name)) == NULL)
        return NULL;
    if (readers < 0 || readers > MOST)
        return PyErr_Format(PyExc_ValueError, "from 0 to %d readers", MOST);
    task.run = task.flavour->grace_periods;
    Idler idler = {.flavour = task.flavour};
    pthread_t threads[MOST];
    sem_init(&idler.ready, 0, 0);
    sem_init(&idler.over, 0, 0);
    int started = 0;
    while (started < readers && pthread_create(&threads[started], NULL, idler_run, &idler) == 0)
        started++;
    for (int i = 0; i < started; i++)
        while (sem_wait(&idler.ready) != 0)
            ;
    PyObject *took = started == readers ? task_time(&task) : PyErr_SetFromErrno(PyExc_OSError);
    for (int i = 0; i < started; i++)
        sem_post(&idler.over);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return took;
}

/* ---- The module ---- */

static PyMethodDef native_methods[] = {
    {"empty", native_empty, METH_VARARGS, "empty(count): the loop alone. All of these return nanoseconds."},
    {"sections", native_sections, METH_VARARGS, "sections(proxy, count): access and end, called in C"},
    {"capsule_sections", native_capsule_sections, METH_VARARGS, "capsule_sections(proxy, count): the same through the C interface"},
    {"grace_periods", native_grace_periods, METH_VARARGS, "grace_periods(proxy, count): publish, and all have ended"},
    {"grow", native_grow, METH_O, "grow(proxy): give it all the stripes that it may get, and return how many"},
    {"urcu_sections", native_urcu_sections, METH_VARARGS, "urcu_sections(flavour, count, reported=False)"},
    {"urcu_grace_periods", native_urcu_grace_periods, METH_VARARGS, "urcu_grace_periods(flavour, count, idle_readers)"},
    {"stripe_sections", stripes_sections, METH_VARARGS, "stripe_sections(lock, count): access and end of the prototype"},
    {"stripe_race", stripes_race, METH_VARARGS, "stripe_race(lock, apart, count): two threads, on stripes so many bytes apart"},
    {"stripe_scans", stripes_scans, METH_VARARGS, "stripe_scans(lock, busy, count): lock 64 stripes, while others run"},
    {"stripe_check", stripes_check, METH_VARARGS, "stripe_check(lock, count): how many of two threads' steps were lost"},
    {"exchanges", stripes_exchanges, METH_VARARGS, "exchanges(count): two times an atomic exchange and a store, and nothing else"},
    {NULL, NULL, 0, NULL},
};

static int native_exec(PyObject *module) {
    PyObject *names = PyList_New(0), *locks = stripes_locks();
    for (const Flavour *const *flavour = flavours; names != NULL && *flavour != NULL; flavour++) {
        PyObject *name = PyUnicode_FromString((*flavour)->name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    int failed = names == NULL || locks == NULL || PyModule_AddObjectRef(module, "flavours", names) < 0 ||
                 PyModule_AddObjectRef(module, "locks", locks) < 0;
    Py_XDECREF(names);
    Py_XDECREF(locks);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot native_slots[] = {
    {Py_mod_exec, native_exec},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef native_module = {PyModuleDef_HEAD_INIT, "_native", NULL, 0, native_methods, native_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&native_module); }
