/* What an access and its end cost through the C interface: loops of C, which time themselves. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <ref_proxy.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static const ref_proxy_api *api_of(PyObject *module) { return *(const ref_proxy_api **)PyModule_GetState(module); }

/* access(proxy, count): nanoseconds for one access and its end, with a record that is fresh each time. */
static PyObject *time_access(PyObject *module, PyObject *args) {
    const ref_proxy_api *api = api_of(module);
    PyObject *proxy;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "On", &proxy, &count))
        return NULL;
    double began = now();
    for (Py_ssize_t i = 0; i < count; i++) {
        ref_proxy_section section = REF_PROXY_SECTION_INIT;
        if (ref_proxy_access(api, proxy, &section) == NULL)
            return NULL;
        ref_proxy_end(api, &section);
    }
    return PyFloat_FromDouble((now() - began) / (double)count);
}

/* try_access(proxy, count): the same with the other call; also of a proxy whose resource is gone. */
static PyObject *time_try_access(PyObject *module, PyObject *args) {
    const ref_proxy_api *api = api_of(module);
    PyObject *proxy, *resource;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(args, "On", &proxy, &count))
        return NULL;
    double began = now();
    for (Py_ssize_t i = 0; i < count; i++) {
        ref_proxy_section section = REF_PROXY_SECTION_INIT;
        if (ref_proxy_try_access(api, proxy, &section, &resource) < 0)
            return NULL;
        ref_proxy_end(api, &section);
    }
    return PyFloat_FromDouble((now() - began) / (double)count);
}

static int execute(PyObject *module) {
    const ref_proxy_api **state = PyModule_GetState(module);
    *state = ref_proxy_import();
    return *state == NULL ? -1 : 0;
}

static PyMethodDef methods[] = {
    {"access", time_access, METH_VARARGS, NULL},
    {"try_access", time_try_access, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_capi", NULL, sizeof(const ref_proxy_api *), methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__capi(void) { return PyModuleDef_Init(&definition); }
