// rloop/__init__.*.so: what `import rloop` runs first. It has rloop/_package.py run __init__.py.
//
// PyPI's `rloop`, another project, installs its package into the folder of the same name, and pip
// lets whoever comes later replace the other's __init__.py without a word. Python's importer
// prefers an extension module of that name to the source file, and only this distribution has one:
// so there is always somebody left to say what has happened. Keeps no state; works in every
// interpreter, so that it is _core's own words that refuse a subinterpreter. Without destructors,
// which would bring a C++ runtime of 60 KB into this file as well.
#include <Python.h>

namespace {

int run_package(PyObject* package) {
  PyObject* runner = PyImport_ImportModule("rloop._package");
  if (!runner) return -1;
  PyObject* result = PyObject_CallMethod(runner, "run", "O", package);
  Py_DECREF(runner);
  if (!result) return -1;
  Py_DECREF(result);
  return 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) PyObject* PyInit_rloop() {
  static PyModuleDef_Slot slots[] = {
      {Py_mod_exec, reinterpret_cast<void*>(&run_package)},
#if PY_VERSION_HEX >= 0x030C0000
      {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
      {0, nullptr},
  };
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, "rloop", nullptr, 0, nullptr, slots, nullptr, nullptr, nullptr};
  return PyModuleDef_Init(&definition);
}
