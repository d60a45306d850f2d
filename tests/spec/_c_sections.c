/* Sections of C code, for test_c_interface.py: on the stack, in an object, ended in order and out of order, asleep, and misused. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <ref_proxy.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const ref_proxy_api *api;
    PyTypeObject *held_type;
} State;

static State *state_of(PyObject *module) { return (State *)PyModule_GetState(module); }

static PyObject *is_proxy(PyObject *module, PyObject *object) {
    return PyBool_FromLong(ref_proxy_is_proxy(state_of(module)->api, object));
}

/* access(proxy, fn): what fn(resource) returns, called in a section on this function's stack. */
static PyObject *c_access(PyObject *module, PyObject *args) {
    const ref_proxy_api *api = state_of(module)->api;
    PyObject *proxy, *fn;
    if (!PyArg_ParseTuple(args, "OO", &proxy, &fn))
        return NULL;
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    PyObject *resource = ref_proxy_access(api, proxy, &section);
    PyObject *result = resource == NULL ? NULL : PyObject_CallOneArg(fn, resource);
    ref_proxy_end(api, &section); /* harmless where the access failed */
    return result;
}

/* try_access(proxy, fn): the same, and "gone" where the resource is. */
static PyObject *c_try_access(PyObject *module, PyObject *args) {
    const ref_proxy_api *api = state_of(module)->api;
    PyObject *proxy, *fn, *resource;
    if (!PyArg_ParseTuple(args, "OO", &proxy, &fn))
        return NULL;
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    int granted = ref_proxy_try_access(api, proxy, &section, &resource);
    if ((granted == 1) != (resource != NULL) || (granted == -1) != (PyErr_Occurred() != NULL))
        Py_FatalError("try_access contradicts itself");
    if (granted < 0)
        return NULL;
    if (granted == 0)
        return PyUnicode_FromString("gone");
    PyObject *result = PyObject_CallOneArg(fn, resource);
    ref_proxy_end(api, &section);
    return result;
}

/* nest(proxy, count, inward): opens so many at once, and ends them from the newest to the oldest, or the other way round. Returns how
 * many were granted. */
static PyObject *nest(PyObject *module, PyObject *args) {
    const ref_proxy_api *api = state_of(module)->api;
    PyObject *proxy, *fn;
    int count, inward;
    if (!PyArg_ParseTuple(args, "OipO", &proxy, &count, &inward, &fn))
        return NULL;
    ref_proxy_section sections[16] = {REF_PROXY_SECTION_INIT};
    long granted = 0;
    if (count > 16)
        return PyErr_Format(PyExc_ValueError, "at most 16");
    for (int i = 0; i < count && granted == i; i++)
        granted += ref_proxy_access(api, proxy, &sections[i]) != NULL;
    PyObject *done = PyErr_Occurred() ? NULL : PyObject_CallNoArgs(fn);
    for (int i = 0; i < count; i++)
        ref_proxy_end(api, &sections[inward ? count - 1 - i : i]);
    Py_XDECREF(done);
    return done == NULL ? NULL : PyLong_FromLong(granted);
}

/* sleep_in(proxy, fd): in a section on the stack, without the GIL, until there is a byte to be read. Returns it, times the resource. */
static PyObject *sleep_in(PyObject *module, PyObject *args) {
    const ref_proxy_api *api = state_of(module)->api;
    PyObject *proxy;
    int fd;
    if (!PyArg_ParseTuple(args, "Oi", &proxy, &fd))
        return NULL;
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    PyObject *resource = ref_proxy_access(api, proxy, &section);
    if (resource == NULL)
        return NULL;
    char byte = 0;
    ssize_t got;
    Py_BEGIN_ALLOW_THREADS
    got = read(fd, &byte, 1);
    Py_END_ALLOW_THREADS
    PyObject *both = got < 0 ? PyErr_SetFromErrno(PyExc_OSError) : Py_BuildValue("Oi", resource, byte);
    ref_proxy_end(api, &section);
    return both;
}

static void *scribbled(void *unused) {
    volatile char stack[200000];
    for (size_t i = 0; i < sizeof(stack); i++)
        stack[i] = 0x55;
    return unused;
}

/* scribble(): has a thread of C, which gets the stack of one that has ended, write all over that. */
static PyObject *scribble(PyObject *module, PyObject *Py_UNUSED(ignored)) {
    pthread_t thread;
    (void)module;
    if (pthread_create(&thread, NULL, scribbled, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return PyErr_Format(PyExc_OSError, "no thread");
    Py_RETURN_NONE;
}

/* end_with_error(held): ends with an exception set, which must still be the one that comes out. */
static PyObject *end_with_error(PyObject *module, PyObject *held);

static PyObject *misuse(PyObject *module, PyObject *args) {
    const ref_proxy_api *api = state_of(module)->api;
    const char *how;
    PyObject *proxy;
    if (!PyArg_ParseTuple(args, "sO", &how, &proxy))
        return NULL;
    ref_proxy_section section = REF_PROXY_SECTION_INIT, copy;
    PyObject *resource = NULL;
    switch (how[0]) {
    case 'u': /* "unbegun": ended, twice, and not detached */
        ref_proxy_end(api, &section);
        ref_proxy_end(api, &section);
        return ref_proxy_detach(api, &section) < 0 ? NULL : Py_NewRef(Py_None);
    case 't': /* "twice": begun again while it is open, and ended twice */
        if (ref_proxy_access(api, proxy, &section) == NULL)
            return NULL;
        if (how[1] == 'r' ? ref_proxy_try_access(api, proxy, &section, &resource) >= 0
                          : ref_proxy_access(api, proxy, &section) != NULL)
            Py_FatalError("begun twice");
        ref_proxy_end(api, &section);
        ref_proxy_end(api, &section);
        return NULL;
    case 'a': /* "again": used for one section after another */
        for (int i = 0; i < 5; i++) {
            if (ref_proxy_access(api, proxy, &section) == NULL)
                return NULL;
            ref_proxy_end(api, &section);
        }
        Py_RETURN_NONE;
    case 'm': /* "moved" */
        if (ref_proxy_access(api, proxy, &section) == NULL)
            return NULL;
        memcpy(&copy, &section, sizeof(copy));
        ref_proxy_end(api, &copy);
        Py_RETURN_NONE;
    case 'n': /* "no thread state" */
        Py_BEGIN_ALLOW_THREADS
        ref_proxy_access(api, proxy, &section);
        Py_END_ALLOW_THREADS
        Py_RETURN_NONE;
    }
    return PyErr_Format(PyExc_ValueError, "no such misuse");
}

/* Held(proxy): a section in an object's own memory, which any thread may end. */
typedef struct {
    PyObject_HEAD
    const ref_proxy_api *api;
    PyObject *proxy;
    ref_proxy_section section;
} Held;

static PyObject *held_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *proxy;
    State *state = PyType_GetModuleState(type);
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O", (char *[]){"", NULL}, &proxy))
        return NULL;
    Held *self = (Held *)type->tp_alloc(type, 0); /* all zero, as a record has to be */
    if (self == NULL)
        return NULL;
    self->api = state->api;
    self->proxy = Py_NewRef(proxy);
    if (ref_proxy_access(self->api, proxy, &self->section) == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void held_dealloc(Held *self) {
    PyTypeObject *type = Py_TYPE(self);
    ref_proxy_end(self->api, &self->section);
    Py_XDECREF(self->proxy);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *held_end(Held *self, PyObject *Py_UNUSED(ignored)) {
    ref_proxy_end(self->api, &self->section);
    Py_RETURN_NONE;
}

static PyObject *held_detach(Held *self, PyObject *Py_UNUSED(ignored)) {
    return ref_proxy_detach(self->api, &self->section) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *end_with_error(PyObject *module, PyObject *held) {
    (void)module;
    PyErr_SetString(PyExc_LookupError, "set before the end");
    ref_proxy_end(((Held *)held)->api, &((Held *)held)->section);
    return NULL;
}

static PyMethodDef held_methods[] = {
    {"end", (PyCFunction)held_end, METH_NOARGS, NULL},
    {"detach", (PyCFunction)held_detach, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot held_slots[] = {{Py_tp_new, held_new}, {Py_tp_dealloc, held_dealloc}, {Py_tp_methods, held_methods}, {0, NULL}};
static PyType_Spec held_spec = {"_c_sections.Held", sizeof(Held), 0, Py_TPFLAGS_DEFAULT, held_slots};

static int execute(PyObject *module) {
    State *state = state_of(module);
    state->api = ref_proxy_import();
    if (state->api == NULL)
        return -1;
    state->held_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &held_spec, NULL);
    return state->held_type == NULL ? -1 : PyModule_AddType(module, state->held_type);
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    Py_VISIT(state_of(module)->held_type);
    return 0;
}

static int clear(PyObject *module) {
    Py_CLEAR(state_of(module)->held_type);
    return 0;
}

static PyMethodDef methods[] = {
    {"is_proxy", is_proxy, METH_O, NULL},
    {"access", c_access, METH_VARARGS, NULL},
    {"try_access", c_try_access, METH_VARARGS, NULL},
    {"nest", nest, METH_VARARGS, NULL},
    {"sleep_in", sleep_in, METH_VARARGS, NULL},
    {"scribble", scribble, METH_NOARGS, NULL},
    {"end_with_error", end_with_error, METH_O, NULL},
    {"misuse", misuse, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_c_sections", NULL, sizeof(State), methods, slots, traverse, clear, NULL,
};

PyMODINIT_FUNC PyInit__c_sections(void) { return PyModuleDef_Init(&definition); }
