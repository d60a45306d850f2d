/* The wrapper as it is now. What was one object is two: a Handle, which has the handle, and is what a Provider shares; and a Reader,
 * which has a proxy, and uses the handle in sections. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <ref_proxy.h>

#include "meter.h"

typedef struct {
    const ref_proxy_api *ref_proxy;
    PyTypeObject *handle_type, *reader_type;
} State;

/* ---- Handle: opened, cancelled and closed by the Provider, whose hooks run when it is time ---- */

typedef struct {
    PyObject_HEAD
    meter *handle; /* NULL: closed */
} Handle;

static PyObject *handle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "", (char *[]){NULL}))
        return NULL;
    Handle *self = (Handle *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->handle = meter_open();
    if (self->handle == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyObject *handle_cancel(Handle *self, PyObject *Py_UNUSED(ignored)) {
    if (self->handle != NULL)
        meter_cancel(self->handle);
    Py_RETURN_NONE;
}

static PyObject *handle_close(Handle *self, PyObject *Py_UNUSED(ignored)) {
    meter *handle = self->handle;
    self->handle = NULL;
    if (handle != NULL) {
        Py_BEGIN_ALLOW_THREADS
        meter_close(handle);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static void handle_dealloc(Handle *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (self->handle != NULL)
        meter_close(self->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef handle_methods[] = {
    {"cancel", (PyCFunction)handle_cancel, METH_NOARGS, "Bring back those who wait for a reading."},
    {"close", (PyCFunction)handle_close, METH_NOARGS, "Close the instrument. Nobody may be using it."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot handle_slots[] = {
    {Py_tp_new, handle_new}, {Py_tp_dealloc, handle_dealloc}, {Py_tp_methods, handle_methods}, {0, NULL}};
static PyType_Spec handle_spec = {"meter._meter.Handle", sizeof(Handle), 0, Py_TPFLAGS_DEFAULT, handle_slots};

/* ---- Reader: each use of the handle is a section ---- */

typedef struct {
    PyObject_HEAD
    State *state;
    PyObject *proxy; /* never changed: whoever calls a method has a reference to the reader, and so one to it */
} Reader;

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    State *state = PyType_GetModuleState(type);
    PyObject *proxy;
    if (state == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O", (char *[]){"", NULL}, &proxy))
        return NULL;
    if (!ref_proxy_is_proxy(state->ref_proxy, proxy))
        return PyErr_Format(PyExc_TypeError, "a Reader needs a Proxy of a Handle, not a %s", Py_TYPE(proxy)->tp_name);
    Reader *self = (Reader *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->state = state;
        self->proxy = Py_NewRef(proxy);
    }
    return (PyObject *)self;
}

static int reader_traverse(Reader *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->proxy);
    return 0;
}

static void reader_dealloc(Reader *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->proxy);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The handle, good until the section ends. NULL, with an exception: `Revoked`, once it is closed. */
static meter *begin(Reader *self, ref_proxy_section *section) {
    PyObject *resource = ref_proxy_access(self->state->ref_proxy, self->proxy, section);
    if (resource == NULL)
        return NULL;
    if (!Py_IS_TYPE(resource, self->state->handle_type)) {
        PyErr_Format(PyExc_TypeError, "a Reader needs a Proxy of a Handle, not of a %s", Py_TYPE(resource)->tp_name);
        ref_proxy_end(self->state->ref_proxy, section);
        return NULL;
    }
    return ((Handle *)resource)->handle;
}

static void end(Reader *self, ref_proxy_section *section) { ref_proxy_end(self->state->ref_proxy, section); }

static PyObject *reader_read(Reader *self, PyObject *Py_UNUSED(ignored)) {
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    double value;
    int status;
    do { /* cancelled: it is gone, which the next access says; or there is another one in its place */
        meter *handle = begin(self, &section);
        if (handle == NULL)
            return NULL;
        Py_BEGIN_ALLOW_THREADS
        status = meter_read(handle, &value);
        Py_END_ALLOW_THREADS
        end(self, &section);
    } while (status == METER_CANCELLED);
    return PyFloat_FromDouble(value);
}

static PyObject *reader_feed(Reader *self, PyObject *value) {
    double number = PyFloat_AsDouble(value);
    if (number == -1.0 && PyErr_Occurred())
        return NULL;
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    meter *handle = begin(self, &section);
    if (handle == NULL)
        return NULL;
    meter_feed(handle, number);
    end(self, &section);
    Py_RETURN_NONE;
}

/* What asks whether it is there, and is content where it is not. */
static PyObject *reader_readers(Reader *self, PyObject *Py_UNUSED(ignored)) {
    ref_proxy_section section = REF_PROXY_SECTION_INIT;
    PyObject *resource;
    int granted = ref_proxy_try_access(self->state->ref_proxy, self->proxy, &section, &resource);
    if (granted < 0)
        return NULL;
    int readers = granted ? meter_readers(((Handle *)resource)->handle) : 0;
    end(self, &section); /* does nothing where it was refused */
    return PyLong_FromLong(readers);
}

static PyMethodDef reader_methods[] = {
    {"read", (PyCFunction)reader_read, METH_NOARGS, "Wait for a reading, and return it."},
    {"feed", (PyCFunction)reader_feed, METH_O, "Have the make-believe instrument measure something."},
    {"readers", (PyCFunction)reader_readers, METH_NOARGS, "How many threads wait for a reading."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot reader_slots[] = {
    {Py_tp_new, reader_new},         {Py_tp_traverse, reader_traverse}, {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods}, {0, NULL},
};
static PyType_Spec reader_spec = {"meter._meter.Reader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, reader_slots};

/* ---- Module ---- */

static PyObject *handles(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) { return PyLong_FromLong(meter_handles()); }

static int execute(PyObject *module) {
    State *state = PyModule_GetState(module);
    state->ref_proxy = ref_proxy_import();
    if (state->ref_proxy == NULL)
        return -1;
    state->handle_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &handle_spec, NULL);
    state->reader_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    if (state->handle_type == NULL || state->reader_type == NULL)
        return -1;
    return PyModule_AddType(module, state->handle_type) < 0 || PyModule_AddType(module, state->reader_type) < 0 ? -1 : 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = PyModule_GetState(module);
    Py_VISIT(state->handle_type);
    Py_VISIT(state->reader_type);
    return 0;
}

static int clear(PyObject *module) {
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->handle_type);
    Py_CLEAR(state->reader_type);
    return 0;
}

static PyMethodDef methods[] = {
    {"handles", handles, METH_NOARGS, "How many handles are open."},
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
    PyModuleDef_HEAD_INIT, "meter._meter", NULL, sizeof(State), methods, slots, traverse, clear, NULL,
};

PyMODINIT_FUNC PyInit__meter(void) { return PyModuleDef_Init(&definition); }
