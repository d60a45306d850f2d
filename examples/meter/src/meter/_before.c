/* The wrapper as it was: one object, which has the handle. It looks whether that is closed, and then uses it without the GIL, while
 * another thread may close it. A lock around both would keep close() waiting for a read that nobody brings back. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "meter.h"

typedef struct {
    PyObject_HEAD
    meter *handle; /* NULL: closed */
} Meter;

static PyObject *meter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "", (char *[]){NULL}))
        return NULL;
    Meter *self = (Meter *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->handle = meter_open();
    if (self->handle == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static PyObject *meter_close_method(Meter *self, PyObject *Py_UNUSED(ignored)) {
    meter *handle = self->handle;
    self->handle = NULL;
    if (handle != NULL) {
        Py_BEGIN_ALLOW_THREADS
        meter_close(handle); /* whoever is reading uses it still */
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

static void meter_dealloc(Meter *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (self->handle != NULL)
        meter_close(self->handle);
    type->tp_free(self);
    Py_DECREF(type);
}

static meter *open_handle(Meter *self) {
    if (self->handle == NULL)
        PyErr_SetString(PyExc_ValueError, "the meter is closed");
    return self->handle;
}

static PyObject *meter_read_method(Meter *self, PyObject *Py_UNUSED(ignored)) {
    meter *handle = open_handle(self);
    if (handle == NULL)
        return NULL;
    double value;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = meter_read(handle, &value);
    Py_END_ALLOW_THREADS
    if (status == METER_CANCELLED)
        return PyErr_Format(PyExc_OSError, "the read was cancelled");
    return PyFloat_FromDouble(value);
}

static PyObject *meter_feed_method(Meter *self, PyObject *value) {
    meter *handle = open_handle(self);
    double number = PyFloat_AsDouble(value);
    if (handle == NULL || (number == -1.0 && PyErr_Occurred()))
        return NULL;
    meter_feed(handle, number);
    Py_RETURN_NONE;
}

static PyObject *meter_get_readers(Meter *self, void *Py_UNUSED(closure)) {
    meter *handle = open_handle(self);
    return handle == NULL ? NULL : PyLong_FromLong(meter_readers(handle));
}

static PyMethodDef meter_methods[] = {
    {"read", (PyCFunction)meter_read_method, METH_NOARGS, "Wait for a reading, and return it."},
    {"feed", (PyCFunction)meter_feed_method, METH_O, "Have the make-believe instrument measure something."},
    {"close", (PyCFunction)meter_close_method, METH_NOARGS, "Close the instrument."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef meter_getset[] = {
    {"readers", (getter)meter_get_readers, NULL, "How many threads wait for a reading.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot meter_slots[] = {
    {Py_tp_new, meter_new},         {Py_tp_dealloc, meter_dealloc}, {Py_tp_methods, meter_methods},
    {Py_tp_getset, meter_getset}, {0, NULL},
};
static PyType_Spec meter_spec = {"meter._before.Meter", sizeof(Meter), 0, Py_TPFLAGS_DEFAULT, meter_slots};

static int execute(PyObject *module) {
    PyObject *type = PyType_FromModuleAndSpec(module, &meter_spec, NULL);
    int failed = PyModule_AddObjectRef(module, "Meter", type);
    Py_XDECREF(type);
    return failed;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "meter._before", NULL, 0, NULL, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__before(void) { return PyModuleDef_Init(&definition); }
