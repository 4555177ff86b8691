// The thread that asks Python about a loop that does not turn; see watchdog.hpp.
//
// It waits for the GIL for as long as it takes; the watcher does not wait with it, and an answer
// that comes too late, or speaks of another turn than the one that was asked about, is dropped.
#include <sys/prctl.h>

#include "binding/call.hpp"
#include "native/loop.hpp"
#include "native/watchdog.hpp"

namespace rloop::native {

void Watchdog::reporter_entry(void* generation) {
  ::prctl(PR_SET_NAME, "rloop-reporter");
  instance().answer_questions(reinterpret_cast<uint64_t>(generation));
}

void Watchdog::answer_questions(uint64_t generation) {
  lock();
  while (!has_ended(generation)) {
    if (question_ == Question::asked) {
      unlock();
      answer(generation);
      lock();
    } else {
      wait(reporter_wakes_, base::kNever);
    }
  }
  thread_ends();
  unlock();
}

void Watchdog::answer(uint64_t generation) {
  PyGILState_STATE state = binding::into_python([] { return PyGILState_Ensure(); });
  {
    unsigned long ident = 0;
    Ref loop = asked_loop(generation, ident);
    Ref describe = Ref::borrow(settings_.describe);
    if (loop && describe) {
      Ref number = Ref::steal(PyLong_FromUnsignedLong(ident));
      PyObject* stack[3] = {nullptr, loop.get(), number.get()};
      Ref text = number ? binding::vectorcall(describe.get(), stack + 1, 2) : Ref();
      const char* bytes = text ? PyBytes_AsString(text.get()) : nullptr;
      try {
        give(generation, bytes ? bytes : "rloop: its stack could not be read: no memory\n");
      } catch (const std::bad_alloc&) {  // the watcher says that nothing came
      }
      PyErr_Clear();
    }
  }
  binding::into_python([state] { PyGILState_Release(state); });
}

// The loop, held; null when nobody waits for an answer any more. A run that is entered belongs to a
// loop that lives, as long as the GIL is held.
Ref Watchdog::asked_loop(uint64_t generation, unsigned long& ident) {
  Ref loop;
  lock();
  if (!has_ended(generation) && question_ == Question::asked) {
    if (is_in_turn(asked_serial_, asked_turn_)) {
      WatchedRun* run = find(asked_serial_);
      loop = Ref::borrow(run->loop_->object());
      ident = run->ident_;
      question_ = Question::heard;
    } else {
      answer_.clear();
      question_ = Question::answered;
    }
    ::pthread_cond_signal(&watcher_wakes_);
  }
  unlock();
  return loop;
}

// Where the loop has turned meanwhile, the stack that was read is not the one that was asked for.
void Watchdog::give(uint64_t generation, std::string text) {
  lock();
  if (!has_ended(generation) && question_ == Question::heard) {
    if (!is_in_turn(asked_serial_, asked_turn_)) text.clear();
    answer_.swap(text);
    question_ = Question::answered;
    ::pthread_cond_signal(&watcher_wakes_);
  }
  unlock();
}

}  // namespace rloop::native
