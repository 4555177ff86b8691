// The arguments of a fast call: positional values, and keywords by name.
//
// A view of the caller's vector, valid during the call. The checks produce the TypeErrors that a
// Python function of that signature would. Needs the GIL.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>

#include "binding/call.hpp"

namespace rloop::binding {

struct Arguments {
  PyObject* const* values;  // positional, then the keywords' values
  Py_ssize_t count;         // positional only
  PyObject* keyword_names;  // tuple, or null

  std::span<PyObject* const> positional() const { return {values, static_cast<size_t>(count)}; }

  // What follows the `leading` parameters of a signature that ends with *args.
  std::span<PyObject* const> rest(size_t leading) const {
    return positional().subspan(std::min(leading, static_cast<size_t>(count)));
  }

  struct Leading {
    PyObject* const* values;
    PyObject* keyword;  // or null
  };
  // The arguments of function(a, b, *args, keyword=None), for hot functions: where a and b lie, by
  // position or by name, and the keyword's value. `keyword` may be null. `room` is for what was
  // given by name. What lies in a row already is not copied: an instruction that loads two words
  // waits until the interpreter's stores, of one word each, have left the store buffer.
  template <size_t N>
  [[gnu::always_inline]] Leading leading(const char* const (&names)[N], PyObject* (&room)[N],
                                         Name* keyword, const char* function) const {
    if (static_cast<size_t>(count) < N) [[unlikely]]
      return {room, fill_leading({names, N}, room, keyword, function)};
    bool is_plain = !keyword_names;
    if (!is_plain && keyword && PyTuple_GET_SIZE(keyword_names) == 1) {
      is_plain = keyword->is(PyTuple_GET_ITEM(keyword_names, 0));
    }
    if (!is_plain) [[unlikely]]
      return {room, fill_leading({names, N}, room, keyword, function)};
    return {values, keyword_names ? values[count] : nullptr};
  }

  // The argument of function(name), by position or by name; for hot functions.
  PyObject* only(const char* name, const char* function) const {
    if (count == 1 && !keyword_names) [[likely]]
      return values[0];
    PyObject* value = nullptr;
    parse({name}, 1, {&value, 1}, function);
    return value;
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
    fill({names.begin(), names.size()}, out, nullptr, function);
    require_given({names.begin(), required}, out, function);
  }

 private:
  using Names = std::span<const char* const>;

  [[gnu::noinline]] PyObject* fill_leading(Names names, std::span<PyObject*> out, Name* keyword,
                                           const char* function) const {
    PyObject* value = fill(names, out, keyword, function);
    require_given(names, out, function);
    return value;
  }

  // Fills `out` with what was given, null for the rest; answers the value of `keyword`.
  PyObject* fill(Names names, std::span<PyObject*> out, Name* keyword, const char* function) const {
    for (size_t i = 0; i < names.size(); ++i) {
      out[i] = i < static_cast<size_t>(count) ? values[i] : nullptr;
    }
    PyObject* keyword_value = nullptr;
    Py_ssize_t given = keyword_names ? PyTuple_GET_SIZE(keyword_names) : 0;
    for (Py_ssize_t k = 0; k < given; ++k) {
      PyObject* key = PyTuple_GET_ITEM(keyword_names, k);
      auto is_key = [key](const char* name) {
        return PyUnicode_CompareWithASCIIString(key, name) == 0;
      };
      auto found = std::find_if(names.begin(), names.end(), is_key);
      if (found != names.end()) {
        PyObject*& place = out[static_cast<size_t>(found - names.begin())];
        if (place) {
          raise(PyExc_TypeError, "%s() got multiple values for argument '%U'", function, key);
        }
        place = values[count + k];
      } else if (keyword && keyword->is(key)) {
        keyword_value = values[count + k];
      } else {
        raise(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, key);
      }
    }
    return keyword_value;
  }

  static void require_given(Names names, std::span<PyObject* const> out, const char* function) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (out[i]) continue;
      raise(PyExc_TypeError, "%s() missing required argument '%s'", function, names[i]);
    }
  }
};

}  // namespace rloop::binding
