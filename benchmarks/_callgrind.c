/* Tells callgrind, from Python, from where to where it is to count. Outside of it each of these is a few instructions that do nothing. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <valgrind/callgrind.h>

static PyObject *start(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    CALLGRIND_START_INSTRUMENTATION;
    return PyBool_FromLong(RUNNING_ON_VALGRIND != 0);
}

static PyObject *dump(PyObject *Py_UNUSED(module), PyObject *what) {
    const char *text = PyUnicode_AsUTF8(what);
    if (text == NULL)
        return NULL;
    CALLGRIND_DUMP_STATS_AT(text);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"start", start, METH_NOARGS, "Begin to count. Whether there is one who counts."},
    {"dump", dump, METH_O, "Write down what was counted since the last time, under this title."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_callgrind", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__callgrind(void) { return PyModuleDef_Init(&module); }
