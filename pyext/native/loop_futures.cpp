// Futures and tasks of the loop; see loop.hpp.
//
// They are asyncio's own, made as `Future(loop=loop)` and `Task(coroutine, loop=loop)` make them,
// but the keywords that all of them have are made once in a run of the loop.
#include <string>

#include "native/loop.hpp"
#include "native/names.hpp"

namespace rloop::native {
namespace {

// type(*arguments, **keywords), which CPython's type.__call__ would make of the same two.
Ref instance_of(PyObject* type, PyObject* arguments, PyObject* keywords) {
  return Ref::checked(binding::into_python([&]() -> PyObject* {
    auto* made_type = reinterpret_cast<PyTypeObject*>(type);
    if (!Py_IS_TYPE(type, &PyType_Type) || !made_type->tp_new) [[unlikely]]
      return PyObject_Call(type, arguments, keywords);
    PyObject* made = made_type->tp_new(made_type, arguments, keywords);
    if (!made || !PyObject_TypeCheck(made, made_type)) return made;
    if (Py_TYPE(made)->tp_init(made, arguments, keywords) == 0) return made;
    Py_DECREF(made);
    return nullptr;
  }));
}

// With the signature of asyncio's own method, which changes in patch releases too.
const char* create_task_doc() {
  static std::string doc;
  doc = "create_task($self, coro";
  if (LoopOverrides::create_task_names_its_keywords()) doc += ", *, name=None, context=None";
  if (LoopOverrides::create_task_takes_any_keyword()) doc += ", **kwargs";
  doc += ")\n--\n\nSchedule a coroutine; an asyncio.Task, or what the task factory makes.";
  return doc.c_str();
}

}  // namespace

// {"loop": loop}. It is kept while the loop runs and cannot go away by itself.
Ref Loop::loop_keyword() {
  if (loop_keyword_) [[likely]]
    return loop_keyword_.copy();
  Ref made = Ref::checked(PyDict_New());
  binding::check(PyDict_SetItem(made.get(), names::loop.get(), object()));
  if (context_.loop_running) loop_keyword_ = made.copy();
  return made;
}

Ref Loop::create_future() {
  // futures.Future at the time of the first call: asyncio's own accelerated class.
  static PyObject* type = binding::import_from("asyncio", "Future").release();
  return instance_of(type, binding::empty_tuple(), loop_keyword().get());
}

// What asyncio's would do while nobody has meddled; everything else is left to that one.
Ref Loop::create_task(const Arguments& arguments) {
  bool is_plain = arguments.count == 1 && !closed_ && !debug_ && !task_factory_ &&
                  !overrides_.has(object(), Override::asyncio_create_task) &&
                  !LoopOverrides::has_other_tasks();
  Ref keywords = is_plain ? task_keywords(arguments) : Ref();
  if (!keywords) return create_task_by_asyncio(arguments);
  Ref positional = Ref::checked(PyTuple_Pack(1, arguments.values[0]));
  return instance_of(LoopOverrides::own_task(), positional.get(), keywords.get());
}

// Null: there are others than a Task has.
Ref Loop::task_keywords(const Arguments& arguments) {
  Ref keywords = loop_keyword();
  Py_ssize_t count = arguments.keyword_names ? PyTuple_GET_SIZE(arguments.keyword_names) : 0;
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* key = PyTuple_GET_ITEM(arguments.keyword_names, i);
    PyObject* value = arguments.values[1 + i];
    bool is_known = names::name.is(key) || names::context.is(key) ||
                    (names::eager_start.is(key) && LoopOverrides::create_task_takes_any_keyword());
    if (!is_known) return {};
    if (value == Py_None) continue;  // as if it were not given
    if (keywords.is(loop_keyword_.get())) keywords = Ref::checked(PyDict_Copy(keywords.get()));
    binding::check(PyDict_SetItem(keywords.get(), key, value));
  }
  return keywords;
}

Ref Loop::create_task_by_asyncio(const Arguments& arguments) {
  Ref method = LoopOverrides::behind(object(), names::create_task);
  return Ref::checked(binding::into_python([&] {
    return PyObject_Vectorcall(method.get(), arguments.values, static_cast<size_t>(arguments.count),
                               arguments.keyword_names);
  }));
}

// None: asyncio's Task.
Ref Loop::task_factory() {
  return Ref::borrow(task_factory_ ? task_factory_.get() : Py_None);
}

void Loop::set_task_factory(PyObject* factory) {
  task_factory_ = factory == Py_None ? Ref() : Ref::borrow(factory);
}

std::vector<PyMethodDef> Loop::future_methods() {
  using binding::method;
  return {
      method<&Loop::create_future>("create_future",
                                   "create_future($self)\n--\n\nAn asyncio.Future of this loop."),
      method<&Loop::create_task>("create_task", create_task_doc()),
  };
}

}  // namespace rloop::native
