// Allocations that fail: operator new, and Python's three allocators.
//
// operator new replaces libstdc++'s for the whole process (new[] and the nothrow forms come through
// it). Python's allocators are hooked through PyMem_SetAllocator, looked up at run time, so that
// the library needs no Python. "Made by the module itself" is read off the stack: between the
// allocation and the module's frame lie only frames of the interpreter (none of _asyncio's), none
// of which evaluates Python code or ends an object (CPython 3.13 crashes by itself where a dying
// object cannot detach its dictionary). Python code is evaluated through a function of ours (PEP
// 523): on the stack of a 3.15 made with tail calls the interpreter's own has no name.
#include <dlfcn.h>
#include <unwind.h>

#include <cstdlib>
#include <new>

#include "strike.hpp"

namespace fail_once {
namespace {

// PyMemAllocatorEx of CPython's documentation, "Customize Memory Allocators".
struct Allocator {
  void* context;
  void* (*malloc)(void*, size_t);
  void* (*calloc)(void*, size_t, size_t);
  void* (*realloc)(void*, void*, size_t);
  void (*free)(void*, void*);
};
constexpr int kDomains = 3;

Allocator originals[kDomains];
void* ending = nullptr;       // _Py_Dealloc
void* interpreter = nullptr;  // where its code begins

using Evaluate = void*(void* thread, void* frame, int thrown);
Evaluate* default_evaluation = nullptr;

void* evaluate(void* thread, void* frame, int thrown) {
  void* result = default_evaluation(thread, frame, thrown);
  asm volatile("");  // a tail call would leave no frame
  return result;
}

// Of the library or program that `place` lies in.
void* base_of(void* place) {
  Dl_info found{};
  return ::dladdr(place, &found) == 0 ? nullptr : found.dli_fbase;
}

_Unwind_Reason_Code look_at_frame(_Unwind_Context* context, void* found) {
  auto* place = reinterpret_cast<void*>(_Unwind_GetIP(context));
  if (in_module(place)) {
    *static_cast<bool*>(found) = true;
    return _URC_END_OF_STACK;
  }
  void* function = _Unwind_FindEnclosingFunction(place);
  void* base = base_of(place);
  bool passes = function != reinterpret_cast<void*>(&evaluate) && function != ending &&
                (base == interpreter || base == base_of(reinterpret_cast<void*>(&look_at_frame)));
  return passes ? _URC_NO_REASON : _URC_END_OF_STACK;
}

bool called_by_module() {
  bool found = false;
  _Unwind_Backtrace(look_at_frame, &found);
  return found;
}

bool allocation_strikes() {
  if (armed(Kind::memory_all)) return strikes(Kind::memory_all, "alloc");
  return armed(Kind::memory) && called_by_module() && strikes(Kind::memory, "alloc");
}

Allocator& original(void* context) {
  return *static_cast<Allocator*>(context);
}

void* failing_malloc(void* context, size_t size) {
  if (allocation_strikes()) return nullptr;
  return original(context).malloc(original(context).context, size);
}

void* failing_calloc(void* context, size_t count, size_t size) {
  if (allocation_strikes()) return nullptr;
  return original(context).calloc(original(context).context, count, size);
}

void* failing_realloc(void* context, void* memory, size_t size) {
  if (allocation_strikes()) return nullptr;
  return original(context).realloc(original(context).context, memory, size);
}

void plain_free(void* context, void* memory) {
  original(context).free(original(context).context, memory);
}

}  // namespace
}  // namespace fail_once

// 0, or -1 where the interpreter does not export what is needed.
extern "C" [[gnu::visibility("default")]] int fail_once_hook_python() {
  using namespace fail_once;
  using Exchange = void(int, Allocator*);
  auto* get = reinterpret_cast<Exchange*>(::dlsym(RTLD_DEFAULT, "PyMem_GetAllocator"));
  auto* set = reinterpret_cast<Exchange*>(::dlsym(RTLD_DEFAULT, "PyMem_SetAllocator"));
  default_evaluation =
      reinterpret_cast<Evaluate*>(::dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault"));
  auto* set_evaluation = reinterpret_cast<void (*)(void*, Evaluate*)>(
      ::dlsym(RTLD_DEFAULT, "_PyInterpreterState_SetEvalFrameFunc"));
  auto* get_interpreter =
      reinterpret_cast<void* (*)()>(::dlsym(RTLD_DEFAULT, "PyInterpreterState_Main"));
  ending = ::dlsym(RTLD_DEFAULT, "_Py_Dealloc");
  interpreter = base_of(reinterpret_cast<void*>(default_evaluation));
  if (!get || !set || !default_evaluation || !set_evaluation || !get_interpreter) return -1;
  set_evaluation(get_interpreter(), evaluate);
  for (int domain = 0; domain < kDomains; ++domain) {
    get(domain, &originals[domain]);
    Allocator ours = {&originals[domain], failing_malloc, failing_calloc, failing_realloc,
                      plain_free};
    set(domain, &ours);
  }
  return 0;
}

[[gnu::visibility("default")]] void* operator new(size_t size) {
  if (fail_once::strikes(fail_once::Kind::cpp, "new")) throw std::bad_alloc();
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (!memory) throw std::bad_alloc();
  return memory;
}

[[gnu::visibility("default")]] void operator delete(void* memory) noexcept {
  std::free(memory);
}

[[gnu::visibility("default")]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
