// Which of asyncio's methods a program has replaced: those that native code would call itself.
//
// asyncio's loop calls its own methods by name, so a subclass's time(), an instance's call_soon and
// a wrapped Handle._run have their say. Ours would go past them. To ask each time costs a look-up
// per callback; instead CPython's version tags of the types are compared, which change with every
// change of a class or its bases, and the type tells when an attribute of the loop is set. So a
// loop with which nobody has meddled pays one comparison per timer and per turn, none per callback.
// Needs the GIL.
#pragma once

#include <array>
#include <limits>

#include "binding/call.hpp"

namespace rloop::native {

enum class Override : unsigned {
  time = 1,
  call_at = 2,
  call_soon = 4,
  create_future = 8,
  run_once = 16,
  asyncio_create_task = 32,  // the one of asyncio, behind ours
};
constexpr Override operator|(Override a, Override b) {
  return static_cast<Override>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

// What no class has as its version tag.
inline constexpr unsigned kNoVersion = std::numeric_limits<unsigned>::max();

// The function of asyncio's that `finder`, of rloop._stdlib, finds; null when it has been replaced.
PyObject* own_function(const char* finder);

class LoopOverrides {
 public:
  static void define();
  // Whether `loop` has another method than ours, or one of several.
  bool has(PyObject* loop, Override which) {
    if (Py_TYPE(loop)->tp_version_tag == plain_version_) [[likely]]
      return false;
    return (look_up(loop) & static_cast<unsigned>(which)) != 0;
  }
  // asyncio.tasks.Task is another class, or asyncio's create_task has other code.
  static bool has_other_tasks() {
    if (!own_task_ || !own_create_task_) return true;
    if (PyFunction_GET_CODE(own_create_task_) != own_create_task_code_) return true;
    return look_up_task() != own_task_;
  }
  // Of asyncio's create_task, as it was at import.
  static bool create_task_names_its_keywords() {
    return own_create_task_ && code_of_create_task()->co_kwonlyargcount > 0;
  }
  static bool create_task_takes_any_keyword() {
    return !own_create_task_ || (code_of_create_task()->co_flags & CO_VARKEYWORDS) != 0;
  }
  // asyncio's own one, or null.
  static PyObject* own_task() { return own_task_; }
  // What `loop` would call by super() from our own class.
  static binding::Ref behind(PyObject* loop, binding::Name& name);
  // An attribute of the loop was set or deleted.
  void attribute_set(PyObject* name) noexcept;

 private:
  unsigned look_up(PyObject* loop);
  static PyObject* look_up_task();
  static PyCodeObject* code_of_create_task() {
    return reinterpret_cast<PyCodeObject*>(own_create_task_code_);
  }

  unsigned plain_version_ = kNoVersion;  // of a class with nothing replaced
  unsigned seen_version_ = kNoVersion;   // of the class that found_ is about
  unsigned found_ = 0;
  static inline PyObject* own_create_task_ = nullptr;  // null: it was replaced before our import
  static inline PyObject* own_create_task_code_ = nullptr;
  static inline PyObject* own_task_ = nullptr;  // likewise
  static inline PyObject* tasks_ = nullptr;     // the attributes of asyncio.tasks
};

// Whether asyncio's Handle._run is another function than asyncio's own, or has other code
// (debuggers and tracers replace the code of the function itself).
class HandleOverrides {
 public:
  static void define();
  static bool has() {
    if (plain()) [[likely]]
      return false;
    return look_up();
  }
  // What asyncio's loop would call for `handle`.
  static binding::Ref run(PyObject* handle);

 private:
  static bool plain() {
    return own_function_ && code_of_own() == own_code_ &&
           types_[0]->tp_version_tag == versions_[0] && types_[1]->tp_version_tag == versions_[1];
  }
  static PyObject* code_of_own();
  static bool look_up();

  static inline std::array<PyTypeObject*, 2> types_{};  // asyncio.Handle, asyncio.TimerHandle
  // When nothing was replaced. 0 is no version: that of a class that has just been changed.
  static inline std::array<unsigned, 2> versions_{kNoVersion, kNoVersion};
  static inline PyObject* own_function_ = nullptr;  // null: it was replaced before our import
  static inline PyObject* own_code_ = nullptr;
};

}  // namespace rloop::native
