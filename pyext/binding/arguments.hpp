// The arguments of a fast call: positional values, and keywords by name.
//
// A view of the caller's vector, valid during the call. The checks produce the TypeErrors that a
// Python function of that signature would. Needs the GIL.
#pragma once

#include <initializer_list>
#include <span>

#include "binding/call.hpp"

namespace rloop::binding {

struct Arguments {
  PyObject* const* values;  // positional, then the keywords' values
  Py_ssize_t count;         // positional only
  PyObject* keyword_names;  // tuple, or null

  std::span<PyObject* const> positional() const { return {values, static_cast<size_t>(count)}; }

  // The only keyword that the callee knows, or null when it was not given.
  PyObject* only_keyword(Name& name, const char* function) const {
    if (!keyword_names) return nullptr;
    Py_ssize_t given = PyTuple_GET_SIZE(keyword_names);
    PyObject* value = nullptr;
    for (Py_ssize_t i = 0; i < given; ++i) {
      PyObject* key = PyTuple_GET_ITEM(keyword_names, i);
      if (key != name.get() && PyUnicode_Compare(key, name.get()) != 0) {
        raise(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, key);
      }
      value = values[count + i];
    }
    return value;
  }

  void require_at_least(Py_ssize_t least, const char* function) const {
    if (count < least) {
      raise(PyExc_TypeError, "%s() takes at least %zd positional arguments (%zd given)", function,
            least, count);
    }
  }

  // Exactly `expected` positional arguments and no keywords.
  void require_exactly(Py_ssize_t expected, const char* function) const {
    if (keyword_names && PyTuple_GET_SIZE(keyword_names) > 0) {
      raise(PyExc_TypeError, "%s() takes no keyword arguments", function);
    }
    if (count != expected) {
      raise(PyExc_TypeError, "%s() takes exactly %zd arguments (%zd given)", function, expected,
            count);
    }
  }

  // Fills `out` by position or by name, for cold functions; the first `required` must be given.
  void parse(std::initializer_list<const char*> names, size_t required, std::span<PyObject*> out,
             const char* function) const {
    if (static_cast<size_t>(count) > names.size()) {
      raise(PyExc_TypeError, "%s() takes at most %zu arguments (%zd given)", function, names.size(),
            count);
    }
    for (size_t i = 0; i < names.size(); ++i) {
      out[i] = i < static_cast<size_t>(count) ? values[i] : nullptr;
    }
    Py_ssize_t keywords = keyword_names ? PyTuple_GET_SIZE(keyword_names) : 0;
    for (Py_ssize_t k = 0; k < keywords; ++k) {
      PyObject* key = PyTuple_GET_ITEM(keyword_names, k);
      size_t place = 0;
      for (const char* name : names) {
        if (PyUnicode_CompareWithASCIIString(key, name) == 0) break;
        ++place;
      }
      if (place == names.size()) {
        raise(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, key);
      }
      if (out[place]) {
        raise(PyExc_TypeError, "%s() got multiple values for argument '%U'", function, key);
      }
      out[place] = values[count + k];
    }
    for (size_t i = 0; i < required; ++i) {
      if (!out[i]) {
        raise(PyExc_TypeError, "%s() missing required argument '%s'", function, names.begin()[i]);
      }
    }
  }
};

}  // namespace rloop::binding
