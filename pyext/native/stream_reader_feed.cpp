// What is asked before, and the feeding itself; see stream_reader_feed.hpp.
#include "native/stream_reader_feed.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "binding/instance_values.hpp"
#include "native/names.hpp"
#include "native/overrides.hpp"

namespace rloop::native {

using binding::Name;
using binding::Ref;

namespace {

Name buffer_name{"_buffer"};
Name eof_name{"_eof"};
Name feed_data_name{"feed_data"};
Name limit_name{"_limit"};
Name reader_name{"_stream_reader"};
Name reader_reference_name{"_stream_reader_wr"};
Name waiter_name{"_waiter"};
Name wakeup_waiter_name{"_wakeup_waiter"};

// --- what may have been replaced ---------------------------------------------------------------

// One of the two classes, as it was when it was looked at last.
struct WatchedClass {
  PyTypeObject* type = nullptr;
  const binding::SharedKeysLayout* keys = nullptr;
  Py_ssize_t key_count = 0;
  unsigned version = kNoVersion;

  bool has_changed() const {
    return type->tp_version_tag != version || keys->count != key_count ||
           reinterpret_cast<PyHeapTypeObject*>(type)->ht_cached_keys !=
               reinterpret_cast<const void*>(keys);
  }
  // After a look-up in it, which has given it a version unless there are none left.
  void note() {
    keys = binding::shared_keys_of(type);
    key_count = keys ? keys->count : 0;
    version = keys && type->tp_version_tag != 0 ? type->tp_version_tag : kNoVersion;
  }
  PyObject* object() const { return reinterpret_cast<PyObject*>(type); }
};
WatchedClass protocols;
WatchedClass readers;
PyTypeObject* future_type = nullptr;

// A method of asyncio's, or a property, as it was at our import.
struct Member {
  WatchedClass& owner;
  Name& name;
  PyObject* own = nullptr;
  PyObject* function = nullptr;
  PyObject* code = nullptr;  // debuggers replace this alone
};
std::array<Member, 4> members{{
    {.owner = protocols, .name = names::data_received},
    {.owner = protocols, .name = reader_name},
    {.owner = readers, .name = feed_data_name},
    {.owner = readers, .name = wakeup_waiter_name},
}};

// An attribute of the instances.
struct Attribute {
  WatchedClass& owner;
  Name& name;
  Py_ssize_t position = -1;  // no instance has ever had it
};
// What is read, which the class must not have as well, as a property perhaps.
Attribute reader_reference{protocols, reader_reference_name};
Attribute buffer{readers, buffer_name};
Attribute eof{readers, eof_name};
Attribute limit{readers, limit_name};
Attribute waiter{readers, waiter_name};
// What would hide a method of the class. (Nothing hides a property.)
Attribute own_data_received{protocols, names::data_received};
Attribute own_feed_data{readers, feed_data_name};
Attribute own_wakeup_waiter{readers, wakeup_waiter_name};

bool classes_are_plain = false;  // as of when they were looked at last

bool has_plain_access(PyTypeObject* type) {
  return type->tp_getattro == PyObject_GenericGetAttr &&
         type->tp_setattro == PyObject_GenericSetAttr;
}

bool look_up_members() {
  for (const Member& member : members) {
    Ref found = Ref::steal(PyObject_GetAttr(member.owner.object(), member.name.get()));
    if (!found) PyErr_Clear();
    if (!found.is(member.own)) return false;
  }
  for (Attribute* attribute : {&reader_reference, &buffer, &eof, &limit, &waiter}) {
    Ref found = Ref::steal(PyObject_GetAttr(attribute->owner.object(), attribute->name.get()));
    if (found) return false;
    PyErr_Clear();
  }
  return has_plain_access(protocols.type) && has_plain_access(readers.type);
}

bool look_up_positions() {
  if (!protocols.keys || !readers.keys) return false;
  for (Attribute* attribute : {&reader_reference, &buffer, &eof, &limit, &waiter,
                               &own_data_received, &own_feed_data, &own_wakeup_waiter}) {
    attribute->position = binding::position_of(*attribute->owner.keys, attribute->name);
  }
  return std::min({reader_reference.position, buffer.position, eof.position, limit.position,
                   waiter.position}) >= 0;
}

bool look_up() {
  bool have_own_members = look_up_members();
  protocols.note();
  readers.note();
  return have_own_members && look_up_positions();
}

// Whether the methods are asyncio's own.
bool is_plain() {
  if (protocols.has_changed() || readers.has_changed()) [[unlikely]]
    classes_are_plain = look_up();
  if (!classes_are_plain) return false;
  for (const Member& member : members) {
    if (PyFunction_GET_CODE(member.function) != member.code) return false;
  }
  PyThreadState* thread = PyThreadState_Get();
  return !thread->c_tracefunc && !thread->c_profilefunc;
}

// --- feeding -----------------------------------------------------------------------------------

bool hides(const Attribute& method, PyObject** values) {
  return method.position >= 0 && values[method.position];
}

Ref reader_of(PyObject* protocol) {
  PyObject** values = binding::values_of(protocol);
  if (!values || hides(own_data_received, values)) return {};
  PyObject* reference = values[reader_reference.position];
  if (!reference || !PyWeakref_CheckRefExact(reference)) return {};
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* reader = nullptr;
  PyWeakref_GetRef(reference, &reader);
  return Ref::steal(reader);
#else
  return Ref::borrow(PyWeakref_GET_OBJECT(reference));
#endif
}

// Whether so many bytes leave the transport alone: pause_reading is left to Python.
bool is_below_limit(PyObject* number, size_t size) {
  if (!number || !PyLong_CheckExact(number)) return false;
  int overflow;
  long half = PyLong_AsLongAndOverflow(number, &overflow);
  return half > 0 && (size + 1) / 2 <= static_cast<size_t>(half);
}

std::byte* bytes_of(PyObject* array) {
  return reinterpret_cast<std::byte*>(PyByteArray_AS_STRING(array));
}

// Never fails: what lies behind its data must not stay in a reader's buffer, also where there is no
// memory for a smaller one.
void shorten(PyObject* array, Py_ssize_t size) {
  if (PyByteArray_Resize(array, size) == 0) return;
  PyErr_Clear();
  if (PyByteArray_GET_SIZE(array) <= size) return;
  Py_SET_SIZE(reinterpret_cast<PyVarObject*>(array), size);
  PyByteArray_AS_STRING(array)[size] = '\0';
}

// What _wakeup_waiter does; `place` is that of the reader's waiter.
void wake_up(PyObject*& place) {
  if (place == Py_None) return;
  Ref future = Ref::steal(std::exchange(place, Py_NewRef(Py_None)));
  Ref cancelled = binding::call_method(future.get(), names::cancelled);
  int is_cancelled = PyObject_IsTrue(cancelled.get());
  binding::check(is_cancelled);
  if (!is_cancelled) binding::call_method(future.get(), names::set_result, Py_None);
}

// A reader that may be fed now, and where it keeps things.
struct Target {
  Ref reader;
  PyObject* array = nullptr;
  PyObject* limit = nullptr;
  PyObject** waiter = nullptr;

  explicit operator bool() const { return waiter != nullptr; }
  size_t size() const { return static_cast<size_t>(PyByteArray_GET_SIZE(array)); }
};

Target target_of(PyObject* protocol) {
  if (!is_plain()) return {};
  Ref reader = reader_of(protocol);
  if (!reader || Py_TYPE(reader.get()) != readers.type) return {};
  PyObject** values = binding::values_of(reader.get());
  if (!values || hides(own_feed_data, values) || hides(own_wakeup_waiter, values)) return {};
  PyObject* array = values[buffer.position];
  PyObject* future = values[waiter.position];
  if (values[eof.position] != Py_False) return {};
  if (!array || !PyByteArray_CheckExact(array)) return {};
  if (!future || (future != Py_None && Py_TYPE(future) != future_type)) return {};
  return {std::move(reader), array, values[limit.position], &values[waiter.position]};
}

// What lend() has given away: the reader's buffer is longer than its data meanwhile.
struct Lent {
  Target target;
  size_t size = 0;  // of the data
};
Lent lent;

}  // namespace

bool StreamReaderFeed::feed(PyObject* protocol, std::span<const std::byte> data) {
  Target target = target_of(protocol);
  if (!target || data.empty()) return false;
  size_t size = target.size();
  if (!is_below_limit(target.limit, size + data.size())) return false;
  // Fails like bytearray.extend where the buffer is exported.
  binding::check(PyByteArray_Resize(target.array, static_cast<Py_ssize_t>(size + data.size())));
  std::memcpy(bytes_of(target.array) + size, data.data(), data.size());
  wake_up(*target.waiter);
  return true;
}

std::span<std::byte> StreamReaderFeed::lend(PyObject* protocol, size_t most) {
  constexpr size_t kMost_bytes = 120 * 1024;  // what is larger malloc may have to map each time
  RLOOP_ASSERT(!lent.target, "a reader's buffer was lent twice");
  Target target = target_of(protocol);
  if (!target) return {};
  size_t size = target.size(), room = std::min(most, kMost_bytes);
  if (!is_below_limit(target.limit, size + room)) return {};
  if (PyByteArray_Resize(target.array, static_cast<Py_ssize_t>(size + room)) < 0) {
    PyErr_Clear();  // no memory, or it is exported: data_received says so
    return {};
  }
  lent = {std::move(target), size};
  return {bytes_of(lent.target.array) + size, room};
}

Ref StreamReaderFeed::keep(std::span<const std::byte> data) {
  if (!lent.target || data.data() != bytes_of(lent.target.array) + lent.size) return {};
  auto [target, size] = std::exchange(lent, {});
  shorten(target.array, static_cast<Py_ssize_t>(size + data.size()));
  return std::move(target.reader);
}

void StreamReaderFeed::wake(PyObject* reader) {
  wake_up(binding::values_of(reader)[waiter.position]);
}

void StreamReaderFeed::take_back() {
  if (!lent.target) return;
  auto [target, size] = std::exchange(lent, {});
  shorten(target.array, static_cast<Py_ssize_t>(size));
}

void StreamReaderFeed::define() {
  if (!binding::instance_layout_fits) return;
  Ref own = binding::call(names::from_stdlib("own_stream_feed").get());
  if (own.is_none()) return;
  Py_ssize_t index = 0;
  auto next = [&] { return Py_NewRef(PyTuple_GET_ITEM(own.get(), index++)); };
  future_type = reinterpret_cast<PyTypeObject*>(next());
  protocols.type = reinterpret_cast<PyTypeObject*>(next());
  readers.type = reinterpret_cast<PyTypeObject*>(next());
  for (Member& member : members)
    member.own = next();
  for (Member& member : members) {
    member.function = next();
    member.code = Py_NewRef(PyFunction_GET_CODE(member.function));
  }
  protocol_type_ = protocols.type;
}

}  // namespace rloop::native
