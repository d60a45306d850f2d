/* The C interface of ref_proxy: sections of C code, without a call into Python. `docs/c-interface.md` shows how a wrapper adopts it.
 *
 *     ref_proxy_section section = REF_PROXY_SECTION_INIT;
 *     PyObject *resource = ref_proxy_access(api, proxy, &section);
 *     if (resource == NULL)
 *         return NULL;
 *     Py_BEGIN_ALLOW_THREADS
 *     ...                      the resource is there, whoever removes it meanwhile: a removal waits for the end
 *     Py_END_ALLOW_THREADS
 *     ref_proxy_end(api, &section);
 *
 * What a section of C promises is what one of Python's does: S1 to S5 and S7, S8, S12 to S15, S19.
 *
 * What its user owes:
 *   - an attached thread state (with the GIL: the GIL) for every call in here. Between them it may be released, and the thread may
 *     sleep: that is what a section is for;
 *   - a reference to the proxy, from the access until the end has returned;
 *   - the end: once for each access that was granted, in whatever thread. A function that returns without it leaves its record,
 *     which is on its stack, in a list: whoever comes by next writes into what is there by then;
 *   - a record that stays where it is while the section is open, and is zero before its first. (Greenlets move the C stack: where one may
 *     be switched meanwhile, keep the record in an object.)
 *
 * Calls that are granted or refused run no Python code, but where the process debugs (REF_PROXY_DEBUG=1, the pytest plugin). The end
 * does, where it was the last one that a removal waited for: it wakes that, and the resource may be let go of. An exception that is
 * set stays set.
 *
 * Any number of records may be open, nested and overlapping, in a thread and on a proxy. It is C11 and C++11, and also Py_LIMITED_API.
 */
#ifndef REF_PROXY_H
#define REF_PROXY_H

#include <Python.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a section is to whoever linked it: one access, from its start to its end. Put it on the stack; it is nobody else's. */
typedef struct {
    uint64_t private_[10];
} ref_proxy_section;

/* Ending such a one does nothing; nor does ending one again that was ended, or refused. */
#define REF_PROXY_SECTION_INIT {{0}}

/* Raised where what is there changes its meaning. What is added goes to the end of the table, and makes `size` larger. */
#define REF_PROXY_ABI 1

/* Use the functions below, not this. It is constant, the same for all interpreters, and stays where it is until the process ends. */
typedef struct {
    size_t abi, size;
    int (*is_proxy)(PyObject *object);
    PyObject *(*access)(PyObject *proxy, ref_proxy_section *section);
    int (*try_access)(PyObject *proxy, ref_proxy_section *section, PyObject **resource);
    void (*end)(ref_proxy_section *section);
    int (*detach)(ref_proxy_section *section);
} ref_proxy_api;

/* Get the table, once, when your module is executed, and in each interpreter; keep the pointer wherever you like.
 *
 * NULL, with ImportError: ref_proxy is not there, runs its Python twin, which has no C interface, or is older or newer than what this
 * was compiled against. The message says what to do. */
static inline const ref_proxy_api *ref_proxy_import(void) {
    const ref_proxy_api *api = NULL;
    PyObject *module = PyImport_ImportModule("ref_proxy.capi");
    PyObject *capsule = module == NULL ? NULL : PyObject_CallMethod(module, "table", NULL);
    if (capsule != NULL)
        api = (const ref_proxy_api *)PyCapsule_GetPointer(capsule, "ref_proxy._core._C_API");
    Py_XDECREF(capsule);
    Py_XDECREF(module);
    if (api != NULL && (api->abi != REF_PROXY_ABI || api->size < sizeof(ref_proxy_api))) {
        PyErr_Format(PyExc_ImportError,
                     "this extension was compiled against another ref_proxy than the one that runs: it needs version %zu of the C "
                     "interface, with %zu bytes, and there is version %zu, with %zu: build it again, or install a newer ref_proxy",
                     (size_t)REF_PROXY_ABI, sizeof(ref_proxy_api), api->abi, api->size);
        api = NULL;
    }
    return api;
}

/* Whether an object is a proxy, of this interpreter's. Never fails. */
static inline int ref_proxy_is_proxy(const ref_proxy_api *api, PyObject *object) {
    return api->is_proxy(object);
}

/* Begin a section, and return the resource: borrowed, and good until the end.
 *
 * NULL, with an exception, and nothing to be ended: `Revoked` once the resource is gone, `ValueError` if the proxy is closed or the
 * record open, `TypeError` for what is no proxy. */
static inline PyObject *ref_proxy_access(const ref_proxy_api *api, PyObject *proxy, ref_proxy_section *section) {
    return api->access(proxy, section);
}

/* The same, without an exception for what is gone.
 *
 *  1: it has begun, and `*resource` is borrowed, and good until the end.
 *  0: the resource is gone; `*resource` is NULL, no exception is set, and there is nothing to be ended.
 * -1: an exception is set, `ValueError` or `TypeError` as above; `*resource` is NULL, and there is nothing to be ended. */
static inline int ref_proxy_try_access(const ref_proxy_api *api, PyObject *proxy, ref_proxy_section *section,
                                       PyObject **resource) {
    return api->try_access(proxy, section, resource);
}

/* End the section. Never fails, never blocks. The resource, and what belongs to it, must not be used any more. */
static inline void ref_proxy_end(const ref_proxy_api *api, ref_proxy_section *section) { api->end(section); }

/* Say that another thread is going to end it: a removal in the thread that began it then waits, where it would raise
 * `RevokeDeadlock`. 0; or -1, with `ValueError`, where it is not open. */
static inline int ref_proxy_detach(const ref_proxy_api *api, ref_proxy_section *section) { return api->detach(section); }

#ifdef __cplusplus
}
#endif
#endif
