// Data for an asyncio.StreamReader, put into its buffer without Python frames in between.
//
// Three of asyncio's methods stand between a transport and a coroutine that reads:
// StreamReaderProtocol.data_received, StreamReader.feed_data and its _wakeup_waiter, the same in
// Python 3.11 to 3.15. What they do with a piece of data is done here, in their order, where nobody
// has a say in it: the objects are of asyncio's own classes (no subclasses), which are as they were
// at our import, no method is replaced on the object itself, and the data fits below the reader's
// limit. In all other cases nothing is done, and the transport calls data_received: also after an
// end of file, for a reader that is gone, and under a tracer or profiler, which sees the frames.
// What comes in large is received straight into the reader's buffer.
//
// As in overrides.hpp, version tags tell whether a class has changed. The attributes are read where
// they lie (binding/instance_values.hpp). Needs the GIL.
#pragma once

#include <span>

#include "binding/call.hpp"

namespace rloop::native {

class StreamReaderFeed {
 public:
  static void define();
  // Whether to try: the class of the protocol is asyncio's StreamReaderProtocol.
  static bool is_for(PyObject* protocol) { return Py_TYPE(protocol) == protocol_type_; }
  // Does what protocol.data_received(data) would, or answers false and has done nothing. Throws
  // what that would raise: no memory, an exported buffer, an error of the waiter.
  static bool feed(PyObject* protocol, std::span<const std::byte> data);

  // For what comes in large: a place behind the data in the reader's own buffer, at most `most`
  // bytes, to receive into; empty where feed() would answer false for so many. Before
  // Python runs, take_back() ends that without data, or keep() with what came at its front, which
  // answers the reader, for wake() to tell; null where `data` lies elsewhere. Those two never fail.
  static std::span<std::byte> lend(PyObject* protocol, size_t most);
  static binding::Ref keep(std::span<const std::byte> data);
  static void wake(PyObject* reader);
  static void take_back();

 private:
  // Null: asyncio has other code than we know.
  static inline PyTypeObject* protocol_type_ = nullptr;
};

}  // namespace rloop::native
