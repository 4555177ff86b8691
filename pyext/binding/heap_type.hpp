// A plain C++ class as a CPython heap type.
//
// The value is boxed behind the object header and the slots of its Python base class (deriving
// from PyObject would lose header stores to the optimiser). The class says what it is:
//   static constexpr const char* kName, *kDoc;
//   static std::vector<PyMethodDef> methods();  static std::vector<PyGetSetDef> attributes();
//   template <class Each> void references(Each each);   // each(Ref&): all that GC must know
// and optionally: kSubclassable (made from Python by calling it), kFreeList (objects kept for
// re-use), kWeakReferences, kInstanceDict (takes any attribute), kKeepsReferences with
// `kept_references(each)` (visited by the collector but never cleared), kTrackedLater (see create),
// `void cleared()` (after the collector emptied the references), `void finalize()`, `Ref repr()`,
// `void attribute_set(PyObject* name)` (after one was set or deleted).
// Traverse and clear come from that one list of references; every type refuses to be pickled. Knows
// Python only. Needs the GIL.
#pragma once

#include <Python.h>
#include <structmember.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <vector>

#include "binding/method.hpp"
#include "binding/ref.hpp"

namespace rloop::binding {
namespace detail {

template <class T>
constexpr size_t free_list_size() {
  if constexpr (requires { T::kFreeList; }) return T::kFreeList;
  return 0;
}
template <class T>
constexpr bool is_subclassable() {
  return requires { T::kSubclassable; };
}
template <class T>
constexpr bool keeps_references() {
  return requires { T::kKeepsReferences; };
}
template <class T>
constexpr bool has_instance_dict() {
  return requires { T::kInstanceDict; };
}
template <class T>
constexpr bool is_tracked_later() {
  return requires { T::kTrackedLater; };
}
template <class T>
constexpr bool has_weak_references() {
  return requires { T::kWeakReferences; };
}

Py_ssize_t size_of_bases(PyObject* bases);
PyObject* refuse_pickling(PyObject* self, PyObject*);
int refuse_init(PyObject* self, PyObject*, PyObject*);

}  // namespace detail

template <class T>
class HeapType {
 public:
  static PyTypeObject* type() { return type_; }
  static T& value(PyObject* self) {
    return *std::launder(reinterpret_cast<T*>(reinterpret_cast<char*>(self) + offset_));
  }
  static PyObject* object(const T* value) {
    return reinterpret_cast<PyObject*>(reinterpret_cast<char*>(const_cast<T*>(value)) - offset_);
  }
  static bool check(PyObject* object) { return PyObject_TypeCheck(object, type_); }

  // Makes the type and adds it to `module`; `bases` is a Python class, a tuple of them, or null.
  // The value lies at `least_offset` or behind (types whose values derive from each other share one
  // offset).
  static void define(PyObject* module, PyObject* bases, Py_ssize_t least_offset = 0);

  // A new object of exactly this type, its value constructed from `arguments`. With kTrackedLater
  // the collector does not see it until its owner says PyObject_GC_Track; the owner visits its
  // references meanwhile.
  template <class... Arguments>
  static Ref create(Arguments&&... arguments) {
    PyObject* self = allocate();
    try {
      new (&value(self)) T(std::forward<Arguments>(arguments)...);
    } catch (...) {
      PyObject_GC_Del(self);
      Py_DECREF(type_);
      throw;
    }
    if constexpr (!detail::is_tracked_later<T>()) PyObject_GC_Track(self);
    return Ref::steal(self);
  }

 private:
  static PyObject* allocate();
  static PyObject* slot_new(PyTypeObject* type, PyObject*, PyObject*);
  static void slot_dealloc(PyObject* self);
  static void end(PyObject* self);
  static void end_deferred();
  static int slot_traverse(PyObject* self, visitproc visit, void* context);
  static int slot_clear(PyObject* self);
  static void slot_finalize(PyObject* self);
  static PyObject* slot_repr(PyObject* self);
  static int slot_setattr(PyObject* self, PyObject* name, PyObject* value);

  static PyObject** dict_of(PyObject* self) {
    return reinterpret_cast<PyObject**>(reinterpret_cast<char*>(self) + dict_offset_);
  }

  static inline PyTypeObject* type_ = nullptr;
  static inline Py_ssize_t dict_offset_ = 0;
  static inline Py_ssize_t offset_ = 0;
  static inline std::array<PyObject*, detail::free_list_size<T>() + 1> free_{};
  static inline size_t free_count_ = 0;
  // Objects that hold each other in a long chain end one inside the other: from some depth on they
  // wait until the outermost is done, or the stack would run over.
  static constexpr int kDeepest = 200;
  static inline int depth_ = 0;
  static inline std::vector<PyObject*> deferred_;
};

template <class T>
PyObject* HeapType<T>::allocate() {
  if constexpr (detail::free_list_size<T>() > 0) {
    if (free_count_ > 0) {
      PyObject* self = free_[--free_count_];
      // The parked object kept its reference to the type.
      _Py_NewReference(self);
      return self;
    }
  }
  PyObject* self = PyObject_GC_New(PyObject, type_);
  if (!self) throw PythonError{};
  std::memset(self + 1, 0, static_cast<size_t>(type_->tp_basicsize) - sizeof(PyObject));
  return self;
}

template <class T>
PyObject* HeapType<T>::slot_new(PyTypeObject* type, PyObject*, PyObject*) {
  if constexpr (detail::is_subclassable<T>()) {
    PyObject* self = type->tp_alloc(type, 0);
    if (!self) return nullptr;
    // Its class could not be ended without a value.
    static_assert(std::is_nothrow_default_constructible_v<T>);
    new (&value(self)) T();
    return self;
  }
  PyErr_Format(PyExc_TypeError, "cannot create '%s' instances", T::kName);
  return nullptr;
}

template <class T>
void HeapType<T>::slot_dealloc(PyObject* self) {
  if constexpr (requires(T& t) { t.finalize(); }) {
    if (Py_TYPE(self) == type_ && PyObject_CallFinalizerFromDealloc(self) < 0) return;
  }
  PyObject_GC_UnTrack(self);
  if constexpr (detail::free_list_size<T>() > 0) {
    if (depth_ == kDeepest) [[unlikely]]
      return deferred_.push_back(self);
    ++depth_;
    end(self);
    if (--depth_ == 0 && !deferred_.empty()) [[unlikely]]
      end_deferred();
  } else {
    end(self);
  }
}

template <class T>
void HeapType<T>::end_deferred() {
  ++depth_;
  while (!deferred_.empty()) {
    PyObject* next = deferred_.back();
    deferred_.pop_back();
    end(next);
  }
  --depth_;
}

template <class T>
inline void HeapType<T>::end(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  if (auto offset = type->tp_weaklistoffset) {
    // Negative offsets point in front of the object (3.12 and newer).
    auto* weak_references = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(self) + offset);
    if (*weak_references) PyObject_ClearWeakRefs(self);
  }
  value(self).~T();
  if constexpr (detail::has_instance_dict<T>()) Py_CLEAR(*dict_of(self));
  if constexpr (detail::free_list_size<T>() > 0) {
    if (type == type_ && free_count_ < detail::free_list_size<T>()) {
      free_[free_count_++] = self;
      return;
    }
  }
  type->tp_free(self);
  Py_DECREF(type);
}

template <class T>
int HeapType<T>::slot_traverse(PyObject* self, visitproc visit, void* context) {
  int result = visit(reinterpret_cast<PyObject*>(Py_TYPE(self)), context);
  auto each = [&](Ref& ref) {
    if (result == 0 && ref) result = visit(ref.get(), context);
  };
  value(self).references(each);
  if constexpr (detail::has_instance_dict<T>()) {
    if (result == 0 && *dict_of(self)) result = visit(*dict_of(self), context);
  }
  if constexpr (detail::keeps_references<T>()) value(self).kept_references(each);
  return result;
}

template <class T>
int HeapType<T>::slot_clear(PyObject* self) {
  value(self).references([](Ref& ref) { Ref dropped = std::move(ref); });
  if constexpr (detail::has_instance_dict<T>()) Py_CLEAR(*dict_of(self));
  if constexpr (requires(T& t) { t.cleared(); }) value(self).cleared();
  return 0;
}

template <class T>
void HeapType<T>::slot_finalize(PyObject* self) {
  if constexpr (requires(T& t) { t.finalize(); }) {
    Ref pending = take_exception();
    guarded<int>(-1, [&] {
      value(self).finalize();
      return 0;
    });
    if (PyErr_Occurred()) PyErr_WriteUnraisable(self);
    if (pending) restore_exception(std::move(pending));
  }
}

template <class T>
PyObject* HeapType<T>::slot_repr(PyObject* self) {
  if constexpr (requires(T& t) { t.repr(); }) {
    return guarded<PyObject*>(nullptr, [&] { return to_python(value(self).repr()); });
  }
  return nullptr;
}

template <class T>
int HeapType<T>::slot_setattr(PyObject* self, PyObject* name, PyObject* value) {
  int status = PyObject_GenericSetAttr(self, name, value);
  if constexpr (requires(T& t) { t.attribute_set(name); }) {
    static_assert(noexcept(std::declval<T&>().attribute_set(name)));
    if (status == 0) HeapType<T>::value(self).attribute_set(name);
  }
  return status;
}

template <class T>
void HeapType<T>::define(PyObject* module, PyObject* bases, Py_ssize_t least_offset) {
  // CPython keeps pointers into these tables for as long as the type lives.
  static std::vector<PyMethodDef> methods = T::methods();
  static std::vector<PyGetSetDef> attributes = T::attributes();
  static std::vector<PyMemberDef> members;
  methods.push_back({"__reduce__", detail::refuse_pickling, METH_NOARGS, nullptr});
  methods.push_back({});
  Py_ssize_t base_size = std::max(detail::size_of_bases(bases), least_offset);
  constexpr auto kAlign = static_cast<Py_ssize_t>(alignof(T));
  offset_ = (base_size + kAlign - 1) / kAlign * kAlign;
  Py_ssize_t size = offset_ + static_cast<Py_ssize_t>(sizeof(T));
  if constexpr (detail::has_weak_references<T>()) {
    members.push_back({"__weaklistoffset__", T_PYSSIZET, size, READONLY, nullptr});
    size += static_cast<Py_ssize_t>(sizeof(PyObject*));
  }
  if constexpr (detail::has_instance_dict<T>()) {
    dict_offset_ = size;
    members.push_back({"__dictoffset__", T_PYSSIZET, size, READONLY, nullptr});
    attributes.push_back(
        {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr});
    size += static_cast<Py_ssize_t>(sizeof(PyObject*));
  }
  attributes.push_back({});
  members.push_back({});
  std::vector<PyType_Slot> slots = {
      {Py_tp_doc, const_cast<char*>(T::kDoc)},
      {Py_tp_methods, methods.data()},
      {Py_tp_getset, attributes.data()},
      {Py_tp_members, members.data()},
      {Py_tp_new, reinterpret_cast<void*>(&slot_new)},
      {Py_tp_dealloc, reinterpret_cast<void*>(&slot_dealloc)},
      {Py_tp_traverse, reinterpret_cast<void*>(&slot_traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(&slot_clear)},
  };
  if constexpr (requires(T& t) { t.finalize(); }) {
    slots.push_back({Py_tp_finalize, reinterpret_cast<void*>(&slot_finalize)});
  }
  if constexpr (requires(T& t, PyObject* name) { t.attribute_set(name); }) {
    slots.push_back({Py_tp_setattro, reinterpret_cast<void*>(&slot_setattr)});
  }
  if constexpr (requires(T& t) { t.repr(); }) {
    slots.push_back({Py_tp_repr, reinterpret_cast<void*>(&slot_repr)});
  }
  if constexpr (!detail::is_subclassable<T>()) {
    slots.push_back({Py_tp_init, reinterpret_cast<void*>(&detail::refuse_init)});
  }
  slots.push_back({0, nullptr});
  unsigned flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC;
  if constexpr (detail::is_subclassable<T>()) flags |= Py_TPFLAGS_BASETYPE;
  PyType_Spec spec = {T::kName, static_cast<int>(size), 0, flags, slots.data()};
  Ref made = Ref::checked(PyType_FromModuleAndSpec(module, &spec, bases));
  type_ = reinterpret_cast<PyTypeObject*>(made.get());
  binding::check(PyModule_AddType(module, type_));
  made.release();  // the type lives as long as the process: HeapType<T> points to it
}

namespace detail {

// The size of an object of the largest base, in bytes.
inline Py_ssize_t size_of_bases(PyObject* bases) {
  Py_ssize_t size = sizeof(PyObject);
  if (!bases) return size;
  auto size_of = [](PyObject* base) { return reinterpret_cast<PyTypeObject*>(base)->tp_basicsize; };
  if (!PyTuple_Check(bases)) return size_of(bases);
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(bases); ++i) {
    size = std::max(size, size_of(PyTuple_GET_ITEM(bases, i)));
  }
  return size;
}

inline PyObject* refuse_pickling(PyObject* self, PyObject*) {
  PyErr_Format(PyExc_TypeError, "cannot pickle '%s' object", Py_TYPE(self)->tp_name);
  return nullptr;
}

inline int refuse_init(PyObject* self, PyObject*, PyObject*) {
  PyErr_Format(PyExc_TypeError, "'%s' objects are made by the event loop", Py_TYPE(self)->tp_name);
  return -1;
}

}  // namespace detail
}  // namespace rloop::binding
