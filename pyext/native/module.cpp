// rloop._core: the types, and the few functions that are called once per process.
//
// Importing it defines the heap types, connects the core's log with Python's logging and does no
// I/O: io_uring is looked at when the first loop is made.
//
// pybind11 serves the module and its cold functions; everything hot is a heap type (heap_type.hpp).
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/log.hpp"
#include "binding/context.hpp"
#include "binding/instance_values.hpp"
#include "native/datagram_transport.hpp"
#include "native/handle.hpp"
#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/server_clients.hpp"
#include "native/stream_reader_feed.hpp"
#include "native/stream_transport.hpp"
#include "native/watchdog.hpp"
#include "reactor/capabilities.hpp"

namespace py = pybind11;

namespace rloop::native {
namespace {

// The core's log lines go to the loggers rloop.<area>. Called with the GIL held.
void log_to_python(base::LogLevel level, const char* area, std::string_view line) {
  if (!Py_IsInitialized() || binding::is_finalizing()) return;
  py::error_scope keep_current_error;
  try {
    Ref number = Ref::checked(PyLong_FromLong(static_cast<int>(level)));
    Ref name = Ref::checked(PyUnicode_FromString(area));
    Ref text = Ref::checked(
        PyUnicode_DecodeUTF8(line.data(), static_cast<Py_ssize_t>(line.size()), "replace"));
    names::report("log", number.get(), name.get(), text.get());
  } catch (const binding::PythonError&) {
    PyErr_WriteUnraisable(nullptr);
  }
}

py::dict probe() {
  reactor::Probe found = reactor::probe_io_uring();
  py::dict capabilities;
  for (const char* name : reactor::Capabilities::kNames) {
    capabilities[name] = py::bool_(found.capabilities.ring && *found.capabilities.find(name));
  }
  py::dict result;
  result["available"] = found.capabilities.ring;
  result["errno"] = found.error_number;
  result["reason"] = found.reason;
  result["capabilities"] = capabilities;
  return result;
}

void start_watchdog(int64_t limit_ns, int fd, int dump_signal, py::function introduce,
                    py::function describe) {
  try {
    Watchdog::instance().start({.limit_ns = limit_ns,
                                .output = WatchdogOutput(fd),
                                .dump_signal = dump_signal,
                                .introduce = introduce.ptr(),
                                .describe = describe.ptr()});
  } catch (const binding::PythonError&) {
    throw py::error_already_set();
  }
}

// Also what was set behind Python's back, which signal.getsignal() does not see.
uintptr_t signal_handler(int signal) {
  struct sigaction action{};
  if (::sigaction(signal, nullptr, &action) < 0) throw py::value_error("no such signal");
  return reinterpret_cast<uintptr_t>(action.sa_handler);
}

// Types and names are the process's (HeapType<T>, names), with objects of the main interpreter in
// them: another interpreter that used them would crash, at the latest when one of the two ends.
// CPython refuses those with a GIL of their own by itself; since 3.13 it calls PyInit in the main
// interpreter, so the question is asked here.
PyObject* create_module(PyObject* spec, PyModuleDef* definition) {
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    PyErr_SetString(PyExc_ImportError,
                    "rloop does not support subinterpreters: it can only be imported in the main "
                    "interpreter of a process");
    return nullptr;
  }
  try {
    py::detail::ensure_internals();
    return py::detail::cached_create_module(spec, definition);
  } catch (...) {
    binding::set_error_from_exception();
    return nullptr;
  }
}

}  // namespace
}  // namespace rloop::native

// Python's own way in is written out instead of PYBIND11_MODULE, which makes pybind11's state in
// whatever interpreter imports the module, before our code is asked.
static int pybind11_exec__core(PyObject*);

extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  PYBIND11_CHECK_PYTHON_VERSION
  static PyModuleDef_Slot slots[] = {
      {Py_mod_create, reinterpret_cast<void*>(&rloop::native::create_module)},
      {Py_mod_exec, reinterpret_cast<void*>(&pybind11_exec__core)},
#if PY_VERSION_HEX >= 0x030C0000
      {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
      {0, nullptr},
  };
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, "_core", nullptr, 0, nullptr, slots, nullptr, nullptr, nullptr};
  return PyModuleDef_Init(&definition);
}

PYBIND11_MODULE_EXEC(_core, module) {
  using namespace rloop;
  module.doc() = "The native half of rloop.";
  module.attr("__version__") = RLOOP_VERSION;
  // Not module.def, which asks the module for a function to overload: there is none, and CPython
  // (3.13 and newer) looks at paths and the working directory before it says so.
  auto def = [&](const char* name, auto function, const auto&... extra) {
    module.add_object(name, py::cpp_function(function, py::name(name), py::scope(module), extra...),
                      true);
  };
  def("probe", &native::probe,
      "What io_uring can do in this process: available, errno, reason, capabilities.");
  def(
      "set_log_level", [](int lowest) { base::set_log_level(static_cast<base::LogLevel>(lowest)); },
      py::arg("lowest"), "The lowest level (logging's numbers, 5 is trace) that is logged.");
  def(
      "_context_layout_fits", [] { return binding::context_layout_fits; },
      "Whether contexts are entered inline and shared; else CPython's functions are called.");
  def(
      "_distrust_context_layout", [] { binding::context_layout_fits = false; },
      "For tests, before the first loop: as on a Python whose contexts we do not know.");
  def(
      "_instance_layout_fits", [] { return binding::instance_layout_fits; },
      "Whether attributes of instances are read where they lie; else by name.");
  def("_watchdog_start", &native::start_watchdog, py::arg("limit_ns"), py::arg("fd"),
      py::arg("dump_signal"), py::arg("introduce"), py::arg("describe"),
      "While it is off: watch the loops of this process.");
  def(
      "_watchdog_stop", [](bool for_good) { return native::Watchdog::instance().stop(for_good); },
      py::arg("for_good"), "Whether its threads have ended and use the descriptor no more.");
  def("_signal_handler", &native::signal_handler, py::arg("signal"),
      "The handler's address; 0: the default action.");
  base::set_log_sink(&native::log_to_python);
  try {
    binding::Name::intern_all();
    binding::check_context_layout();
    binding::check_instance_layout();
    native::define_handles(module.ptr());
    native::define_stream_transport(module.ptr());
    native::ServerClients::define(module.ptr());
    native::StreamReaderFeed::define();
    native::define_datagram_transport(module.ptr());
    native::define_backend_unavailable(module.ptr());
    native::define_loop(module.ptr());
  } catch (const binding::PythonError&) {
    throw py::error_already_set();
  }
}
