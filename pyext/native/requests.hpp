// Waiting until a user's socket is ready: what stands behind the sock_* coroutines.
//
// A SockRequest is one wait and one future. The system call is made by the coroutine itself when
// it wakes, never on its behalf: a coroutine that was cancelled meanwhile has consumed nothing, so
// no byte is lost. Python awaits `.future` and calls cancel() when it is done with the request,
// whatever the reason. While it waits a request keeps itself and the socket object alive. One waits
// for a descriptor in each direction: as in asyncio a later one takes its place, and the future of
// the former stays pending. The functions beside it are the system calls. Needs the GIL.
#pragma once

#include "binding/heap_type.hpp"
#include "native/loop.hpp"
#include "op/poll.hpp"

namespace rloop::native {

class SockRequest : public base::ListNode<RequestTag> {
 public:
  static constexpr const char* kName = "rloop._core.SockRequest";
  static constexpr const char* kDoc = "A wait for a socket; await its `future`, then cancel().";
  static constexpr size_t kFreeList = 64;

  static Ref wait_ready(Loop& loop, PyObject* socket, op::Direction direction);
  SockRequest(Loop& loop, PyObject* socket, int fd, op::Direction direction);

  Ref future() { return future_.copy(); }
  void cancel();
  // Lets go of everything; the poll is idle.
  void finish();

  static std::vector<PyMethodDef> methods();
  static std::vector<PyGetSetDef> attributes();
  template <class Each>
  void references(Each each) {
    each(loop_object_);
    each(socket_);
    each(future_);
  }
  Ref kept_by_loop_;  // ourselves, while the poll is in flight

 private:
  void wait();
  op::Direction direction() const { return poll_.direction(); }
  void on_ready(const op::Completion& completion);
  void wake();

  Loop& loop_;
  Ref loop_object_;
  Ref socket_;
  Ref future_;
  op::Descriptor descriptor_;
  op::Completes<op::Poll, &SockRequest::on_ready> poll_;
};

using SockRequestType = binding::HeapType<SockRequest>;

// What each of sock_* asks first: no SSLSocket, and in debug mode a non-blocking one (TypeError,
// ValueError).
Ref check_socket(Loop& loop, PyObject* socket);

// The system calls of sock_*. Errors are OSErrors as the socket's own methods raise them. An object
// that is no socket.socket (a subclass may have methods of its own) is asked by its methods.
// bytes, or None: it would block.
Ref try_recv(Loop& loop, PyObject* socket, PyObject* size);
// The number of bytes, or None: it would block.
Ref try_recv_into(Loop& loop, PyObject* socket, PyObject* buffer);
// None when all of `data` from byte `sent_before` on was sent; else how far it got.
Ref try_send(Loop& loop, PyObject* socket, PyObject* data, PyObject* sent_before);

}  // namespace rloop::native
