// Looks up what is replaced, when something has changed; see overrides.hpp.
#include "native/overrides.hpp"

#include "native/loop.hpp"
#include "native/names.hpp"

namespace rloop::native {
namespace {

struct Place {
  Override which;
  binding::Name& name;
};

const std::array<Place, 5> kPlaces{{
    {Override::time, names::time},
    {Override::call_at, names::call_at},
    {Override::call_soon, names::call_soon},
    {Override::create_future, names::create_future},
    {Override::run_once, names::run_once},
}};

PyObject* as_object(PyTypeObject* type) {
  return reinterpret_cast<PyObject*>(type);
}

// Whether `loop` answers to `name` with the method of _core.Loop itself.
bool is_own(PyObject* loop, PyObject* name) {
  Ref found = Ref::checked(PyObject_GetAttr(loop, name));
  if (!PyCFunction_CheckExact(found.get())) return false;
  Ref own = Ref::checked(PyObject_GetAttr(as_object(LoopType::type()), name));
  if (!Py_IS_TYPE(own.get(), &PyMethodDescr_Type)) return false;  // of _core.Loop itself
  auto* bound = reinterpret_cast<PyCFunctionObject*>(found.get());
  auto* method = reinterpret_cast<PyMethodDescrObject*>(own.get());
  return bound->m_ml == method->d_method && bound->m_self == loop;
}

}  // namespace

PyObject* own_function(const char* finder) {
  Ref own = binding::call(names::from_stdlib(finder).get());
  return PyFunction_Check(own.get()) ? own.release() : nullptr;
}

Ref LoopOverrides::behind(PyObject* loop, binding::Name& name) {
  Ref behind = Ref::checked(PyObject_CallFunctionObjArgs(
      as_object(&PySuper_Type), as_object(LoopType::type()), loop, nullptr));
  return binding::get_attribute(behind.get(), name);
}

void LoopOverrides::define() {
  own_create_task_ = own_function("own_create_task");
  if (own_create_task_) own_create_task_code_ = Py_NewRef(PyFunction_GET_CODE(own_create_task_));
  Ref found = binding::call(names::from_stdlib("own_task").get());
  if (!PyTuple_Check(found.get())) return;
  own_task_ = Py_NewRef(PyTuple_GET_ITEM(found.get(), 0));
  tasks_ = Py_NewRef(PyTuple_GET_ITEM(found.get(), 1));
}

// As asyncio's create_task finds it; null where there is none.
PyObject* LoopOverrides::look_up_task() {
  return PyDict_GetItemWithError(tasks_, names::task.get());
}

unsigned LoopOverrides::look_up(PyObject* loop) {
  unsigned version = Py_TYPE(loop)->tp_version_tag;
  if (version != 0 && version == seen_version_) return found_;
  unsigned found = 0;
  for (const Place& place : kPlaces) {
    if (!is_own(loop, place.name.get())) found |= static_cast<unsigned>(place.which);
  }
  Ref create_task = behind(loop, names::create_task);
  bool is_asyncios = PyMethod_Check(create_task.get()) &&
                     PyMethod_GET_FUNCTION(create_task.get()) == own_create_task_;
  if (!is_asyncios) found |= static_cast<unsigned>(Override::asyncio_create_task);
  found_ = found;
  // The look-ups have given the class a tag, unless it has changed more often than CPython counts.
  version = Py_TYPE(loop)->tp_version_tag;
  seen_version_ = version == 0 ? kNoVersion : version;
  plain_version_ = found == 0 ? seen_version_ : kNoVersion;
  return found;
}

void LoopOverrides::attribute_set(PyObject* name) noexcept {
  for (const Place& place : kPlaces) {
    if (PyUnicode_Check(name) && PyUnicode_Compare(name, place.name.get()) == 0) {
      seen_version_ = plain_version_ = kNoVersion;
    }
  }
}

void HandleOverrides::define() {
  types_ = {
      reinterpret_cast<PyTypeObject*>(binding::import_from("asyncio", "Handle").release()),
      reinterpret_cast<PyTypeObject*>(binding::import_from("asyncio", "TimerHandle").release()),
  };
  own_function_ = own_function("own_handle_run");
  if (own_function_) own_code_ = Py_NewRef(PyFunction_GET_CODE(own_function_));
}

PyObject* HandleOverrides::code_of_own() {
  return PyFunction_GET_CODE(own_function_);
}

bool HandleOverrides::look_up() {
  if (!own_function_ || code_of_own() != own_code_) return true;
  for (size_t i = 0; i < types_.size(); ++i) {
    Ref found = Ref::checked(PyObject_GetAttr(as_object(types_[i]), names::handle_run.get()));
    if (!found.is(own_function_)) return true;
    unsigned version = types_[i]->tp_version_tag;
    versions_[i] = version == 0 ? kNoVersion : version;
  }
  return false;
}

// As super() finds it: behind our own types.
Ref HandleOverrides::run(PyObject* handle) {
  Ref behind = Ref::checked(PyObject_CallFunctionObjArgs(
      as_object(&PySuper_Type), as_object(Py_TYPE(handle)), handle, nullptr));
  return binding::call_method(behind.get(), names::handle_run);
}

}  // namespace rloop::native
