/* The limit: what a context manager of this shape costs when it does nothing at all.
 *
 * `Limit(resource).access()` returns a fresh object whose `__enter__` returns the resource and whose `__exit__` does nothing. Four
 * flavours: Limit's guards are plain objects; Tracked's take part in garbage collection, as any object has to that holds a
 * reference to something it does not know (and as a section does); Static's are plain, and of a static type, which is immortal:
 * free-threaded, two threads that let go of objects of a heap type at the same time contend for that type's reference count. Unbound's are plain,
 * and their own bound `__enter__` and `__exit__`, as sections are up to 3.13: `docs/adr/0011-with-binds-nothing.md`.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_PYSSIZET T_PYSSIZET
#define Py_READONLY READONLY
#endif

typedef struct {
    PyObject_HEAD
    PyObject *resource;
} Holder;

typedef struct {
    Holder holder;
    vectorcallfunc call;
} UnboundGuard;

typedef struct {
    PyTypeObject *limit, *tracked, *guard, *tracked_guard, *unbound_guard;
} State;

static PyObject *limit_access(Holder *self, PyObject *Py_UNUSED(ignored)) {
    State *state = PyType_GetModuleState(Py_TYPE(self));
    Holder *guard = PyObject_New(Holder, state->guard);
    if (guard != NULL)
        guard->resource = Py_NewRef(self->resource);
    return (PyObject *)guard;
}

static PyObject *tracked_access(Holder *self, PyObject *Py_UNUSED(ignored)) {
    State *state = PyType_GetModuleState(Py_TYPE(self));
    Holder *guard = PyObject_GC_New(Holder, state->tracked_guard);
    if (guard != NULL) {
        guard->resource = Py_NewRef(self->resource);
        PyObject_GC_Track(guard);
    }
    return (PyObject *)guard;
}

static PyTypeObject static_guard;

static PyObject *static_access(Holder *self, PyObject *Py_UNUSED(ignored)) {
    Holder *guard = PyObject_New(Holder, &static_guard);
    if (guard != NULL)
        guard->resource = Py_NewRef(self->resource);
    return (PyObject *)guard;
}

static PyObject *unbound_call(Holder *self, PyObject *const *Py_UNUSED(args), size_t nargsf, PyObject *Py_UNUSED(names)) {
    return Py_NewRef(PyVectorcall_NARGS(nargsf) == 0 ? self->resource : Py_None);
}

static PyObject *unbound_access(Holder *self, PyObject *Py_UNUSED(ignored)) {
    State *state = PyType_GetModuleState(Py_TYPE(self));
    UnboundGuard *guard = PyObject_New(UnboundGuard, state->unbound_guard);
    if (guard != NULL) {
        guard->holder.resource = Py_NewRef(self->resource);
        guard->call = (vectorcallfunc)unbound_call;
    }
    return (PyObject *)guard;
}

static PyObject *itself(PyObject *Py_UNUSED(descriptor), PyObject *guard, PyObject *Py_UNUSED(type)) {
    return Py_NewRef(guard);
}

static PyObject *guard_enter(Holder *self, PyObject *Py_UNUSED(ignored)) {
    return Py_NewRef(self->resource);
}

static PyObject *guard_exit(Holder *Py_UNUSED(self), PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(nargs)) {
    Py_RETURN_NONE;
}

static int holder_traverse(Holder *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->resource);
    return 0;
}

static void holder_dealloc(Holder *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (PyType_IS_GC(type))
        PyObject_GC_UnTrack(self);
    Py_XDECREF(self->resource);
    type->tp_free(self);
    Py_DECREF(type);
}

static void static_dealloc(Holder *self) {
    Py_XDECREF(self->resource);
    PyObject_Free(self);
}

static PyObject *holder_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *resource;
    if (!PyArg_ParseTuple(args, "O", &resource))
        return NULL;
    Holder *self = (Holder *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->resource = Py_NewRef(resource);
    return (PyObject *)self;
}

static PyMethodDef limit_methods[] = {{"access", (PyCFunction)limit_access, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyMethodDef tracked_methods[] = {{"access", (PyCFunction)tracked_access, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyMethodDef static_methods[] = {{"access", (PyCFunction)static_access, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyMethodDef unbound_methods[] = {{"access", (PyCFunction)unbound_access, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyMemberDef unbound_members[] = {
    {"__vectorcalloffset__", Py_T_PYSSIZET, offsetof(UnboundGuard, call), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyMethodDef guard_methods[] = {
    {"__enter__", (PyCFunction)guard_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))guard_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject static_guard = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_limit.StaticGuard",
    .tp_basicsize = sizeof(Holder),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = (destructor)static_dealloc,
    .tp_methods = guard_methods,
};

#define SLOTS(methods) {Py_tp_dealloc, holder_dealloc}, {Py_tp_methods, methods}
static PyType_Slot limit_slots[] = {SLOTS(limit_methods), {Py_tp_new, holder_new}, {0, NULL}};
static PyType_Slot tracked_slots[] = {SLOTS(tracked_methods), {Py_tp_new, holder_new}, {0, NULL}};
static PyType_Slot static_slots[] = {SLOTS(static_methods), {Py_tp_new, holder_new}, {0, NULL}};
static PyType_Slot unbound_slots[] = {SLOTS(unbound_methods), {Py_tp_new, holder_new}, {0, NULL}};
static PyType_Slot unbound_guard_slots[] = {
    {Py_tp_dealloc, holder_dealloc}, {Py_tp_call, PyVectorcall_Call}, {Py_tp_members, unbound_members}, {0, NULL}};
static PyType_Slot itself_slots[] = {{Py_tp_descr_get, itself}, {0, NULL}};
static PyType_Slot guard_slots[] = {SLOTS(guard_methods), {0, NULL}};
static PyType_Slot tracked_guard_slots[] = {SLOTS(guard_methods), {Py_tp_traverse, holder_traverse}, {0, NULL}};

static PyType_Spec limit_spec = {"_limit.Limit", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT, limit_slots};
static PyType_Spec tracked_spec = {"_limit.Tracked", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT, tracked_slots};
static PyType_Spec static_spec = {"_limit.Static", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT, static_slots};
static PyType_Spec unbound_spec = {"_limit.Unbound", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT, unbound_slots};
static PyType_Spec unbound_guard_spec = {"_limit.UnboundGuard", sizeof(UnboundGuard), 0,
                                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL, unbound_guard_slots};
static PyType_Spec itself_spec = {"_limit.Itself", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, itself_slots};
static PyType_Spec guard_spec = {"_limit.Guard", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT, guard_slots};
static PyType_Spec tracked_guard_spec = {"_limit.TrackedGuard", sizeof(Holder), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
                                         tracked_guard_slots};

/* The guards that are their own `__enter__` and `__exit__`, and the type that hands them out. */
static int add_unbound(PyObject *module, State *state) {
    state->unbound_guard = (PyTypeObject *)PyType_FromModuleAndSpec(module, &unbound_guard_spec, NULL);
    PyObject *unbound = PyType_FromModuleAndSpec(module, &unbound_spec, NULL), *type = PyType_FromSpec(&itself_spec);
    PyObject *descriptor = type == NULL ? NULL : PyObject_CallNoArgs(type);
    int failed = state->unbound_guard == NULL || unbound == NULL || descriptor == NULL ||
                 PyObject_SetAttrString((PyObject *)state->unbound_guard, "__enter__", descriptor) < 0 ||
                 PyObject_SetAttrString((PyObject *)state->unbound_guard, "__exit__", descriptor) < 0 ||
                 PyModule_AddType(module, (PyTypeObject *)unbound) < 0;
    Py_XDECREF(unbound);
    Py_XDECREF(type);
    Py_XDECREF(descriptor);
    return failed ? -1 : 0;
}

static int limit_exec(PyObject *module) {
    State *state = PyModule_GetState(module);
    state->limit = (PyTypeObject *)PyType_FromModuleAndSpec(module, &limit_spec, NULL);
    state->tracked = (PyTypeObject *)PyType_FromModuleAndSpec(module, &tracked_spec, NULL);
    state->guard = (PyTypeObject *)PyType_FromModuleAndSpec(module, &guard_spec, NULL);
    state->tracked_guard = (PyTypeObject *)PyType_FromModuleAndSpec(module, &tracked_guard_spec, NULL);
    PyTypeObject *unshared = (PyTypeObject *)PyType_FromModuleAndSpec(module, &static_spec, NULL);
    if (state->limit == NULL || state->tracked == NULL || state->guard == NULL || state->tracked_guard == NULL || unshared == NULL)
        return -1;
    if (PyType_Ready(&static_guard) < 0 || PyModule_AddType(module, unshared) < 0 || add_unbound(module, state) < 0)
        return -1;
    Py_DECREF(unshared);
    return PyModule_AddType(module, state->limit) < 0 || PyModule_AddType(module, state->tracked) < 0 ? -1 : 0;
}

static PyModuleDef_Slot limit_module_slots[] = {
    {Py_mod_exec, limit_exec},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef limit_module = {
    PyModuleDef_HEAD_INIT, "_limit", NULL, sizeof(State), NULL, limit_module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__limit(void) {
    return PyModuleDef_Init(&limit_module);
}
