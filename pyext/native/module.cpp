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
#include "native/datagram_transport.hpp"
#include "native/handle.hpp"
#include "native/loop.hpp"
#include "native/names.hpp"
#include "native/stream_transport.hpp"
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

}  // namespace
}  // namespace rloop::native

PYBIND11_MODULE(_core, module) {
  using namespace rloop;
  module.doc() = "The native half of rloop.";
  module.attr("__version__") = RLOOP_VERSION;
  module.def("probe", &native::probe,
             "What io_uring can do in this process: available, errno, reason, capabilities.");
  module.def(
      "set_log_level", [](int lowest) { base::set_log_level(static_cast<base::LogLevel>(lowest)); },
      py::arg("lowest"), "The lowest level (logging's numbers, 5 is trace) that is logged.");
  // Now, and not when the first thing goes wrong: that may be a lack of descriptors.
  py::module_::import("rloop.errors");
  base::set_log_sink(&native::log_to_python);
  try {
    binding::check_context_layout();
    native::define_handles(module.ptr());
    native::define_stream_transport(module.ptr());
    native::define_datagram_transport(module.ptr());
    native::define_loop(module.ptr());
  } catch (const binding::PythonError&) {
    throw py::error_already_set();
  }
}
