// The attributes of an instance, read and written where they lie.
//
// CPython keeps the attributes of an ordinary instance in an array beside it, and their names, in
// the order in which any instance first had them, once for its class. By PyObject_GetAttr an
// attribute costs 250 instructions, a method that is not hidden by one 650 (3.13); by position a
// few. The layout is checked when the module is imported, on a class and instances made for that;
// where it does not fit, or an instance has a dict of its own instead, there are no values, and the
// caller takes its ordinary way. Needs the GIL.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "binding/call.hpp"

namespace rloop::binding {

// CPython's PyDictKeysObject (Include/internal/pycore_dict.h), the same from 3.11 to 3.15. Behind
// it lie 2^log2_index_bytes bytes of a hash table, then the entries.
struct SharedKeysLayout {
  struct Entry {
    PyObject* name;
    PyObject* value;  // null: it is in each instance
  };

  Py_ssize_t references;
  uint8_t log2_size;
  uint8_t log2_index_bytes;
  uint8_t kind;
  uint32_t version;
  Py_ssize_t usable_count;
  Py_ssize_t count;  // of the names: they become more, and are never taken away

  const Entry* entries() const {
    return reinterpret_cast<const Entry*>(reinterpret_cast<const char*>(this + 1) +
                                          (size_t{1} << log2_index_bytes));
  }
};

// Set by check_instance_layout.
inline bool instance_layout_fits = false;

// The names of the instances' attributes; null when they have no such values.
inline const SharedKeysLayout* shared_keys_of(PyTypeObject* type) {
  constexpr uint8_t kSplit = 2;
  unsigned long flags = Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_MANAGED_DICT;
#if PY_VERSION_HEX >= 0x030D0000
  flags |= Py_TPFLAGS_INLINE_VALUES;
#endif
  if ((type->tp_flags & flags) != flags) return nullptr;
  auto* heap_type = reinterpret_cast<PyHeapTypeObject*>(type);
  auto* keys = reinterpret_cast<const SharedKeysLayout*>(heap_type->ht_cached_keys);
  return keys && keys->kind == kSplit ? keys : nullptr;
}

// The place of `name` in the values of all instances; -1 when none has ever had it.
inline Py_ssize_t position_of(const SharedKeysLayout& keys, const Name& name) {
  const SharedKeysLayout::Entry* end = keys.entries() + keys.count;
  auto* found = std::find_if(keys.entries(), end, [&](auto& entry) { return name.is(entry.name); });
  return found == end ? -1 : found - keys.entries();
}

// The values of an instance whose class has shared keys, null where it lacks the attribute; no
// array at all when they lie in a dict of its own.
inline PyObject** values_of(PyObject* object) {
#if PY_VERSION_HEX >= 0x030D0000
  struct Values {
    uint8_t capacity;
    uint8_t size;
    uint8_t embedded;
    uint8_t valid;
    PyObject* values[1];
  };
  auto* found =
      reinterpret_cast<Values*>(reinterpret_cast<char*>(object) + Py_TYPE(object)->tp_basicsize);
  return found->valid ? found->values : nullptr;
#elif PY_VERSION_HEX >= 0x030C0000
  uintptr_t values_or_dict = reinterpret_cast<uintptr_t*>(object)[-3];
  return values_or_dict & 1 ? reinterpret_cast<PyObject**>(values_or_dict + 1) : nullptr;
#else
  return reinterpret_cast<PyObject***>(object)[-4];
#endif
}

namespace layout_check {

inline Name first{"first"};
inline Name second{"second"};
inline Name third{"third"};

}  // namespace layout_check

// To be called when the module is imported, after Name::intern_all. Of a Python that is not known
// yet nothing is read.
inline void check_instance_layout() {
#if PY_VERSION_HEX < 0x03100000
  using namespace layout_check;
  Ref made = Ref::checked(
      PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(){}", "rloop_check"));
  auto* type = reinterpret_cast<PyTypeObject*>(made.get());
  Ref object = call(made.get());
  check(PyObject_SetAttr(object.get(), first.get(), Py_True));
  check(PyObject_SetAttr(object.get(), second.get(), Py_False));
  const SharedKeysLayout* keys = shared_keys_of(type);
  if (!keys || keys->count != 2) return;
  PyObject** values = values_of(object.get());
  bool fits = position_of(*keys, first) == 0 && position_of(*keys, second) == 1 &&
              position_of(*keys, third) == -1 && values && values[0] == Py_True &&
              values[1] == Py_False;
  Ref other = call(made.get());
  check(PyObject_SetAttr(other.get(), third.get(), Py_True));
  PyObject** others = values_of(other.get());
  fits = fits && keys->count == 3 && position_of(*keys, third) == 2 && others && !others[0] &&
         others[2] == Py_True;
  // A dict that is put in their place.
  Ref dict = Ref::checked(PyDict_New());
  check(PyObject_SetAttrString(object.get(), "__dict__", dict.get()));
  instance_layout_fits = fits && !values_of(object.get());
#endif
}

}  // namespace rloop::binding
