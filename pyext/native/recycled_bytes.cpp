// Lending the object and judging what became of it; see recycled_bytes.hpp.
#include "native/recycled_bytes.hpp"

namespace rloop::native {

using binding::Ref;

namespace {

// An object that nobody else has seen, or has any more.
void resize(PyObject* bytes, size_t size) {
  Py_SET_SIZE(reinterpret_cast<PyVarObject*>(bytes), static_cast<Py_ssize_t>(size));
  PyBytes_AS_STRING(bytes)[size] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  reinterpret_cast<PyBytesObject*>(bytes)->ob_shash = -1;
#pragma GCC diagnostic pop
}

}  // namespace

Ref RecycledBytes::copy_of(std::span<const std::byte> data) {
  return Ref::checked(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data.data()),
                                                static_cast<Py_ssize_t>(data.size())));
}

Ref RecycledBytes::of_much(reactor::Reactor& engine, std::span<const std::byte> data) {
  if (cautious_ > 0) {
    --cautious_;
    return copy_of(data);
  }
  if (object_ && data.data() == memory()) {
    is_out_ = true;
    engine.set_scratch({});
    resize(object_.get(), data.size());
    return object_.copy();
  }
  Ref copy = copy_of(data);
  // It came into the engine's own memory: from the next time on it comes into ours.
  if (data.data() == engine.scratch().data()) receive_into_object(engine);
  return copy;
}

void RecycledBytes::receive_into_object(reactor::Reactor& engine) {
  size_t size = engine.config().scratch_size;
  if (!object_)
    object_ = Ref::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!object_) return PyErr_Clear();  // no memory: copies, then
  engine.set_scratch({memory(), size});
}

void RecycledBytes::decide(reactor::Reactor& engine) {
  is_out_ = false;
  if (Py_REFCNT(object_.get()) != 1) {
    cautious_ = kCautious_pieces;
    object_ = nullptr;
    return;
  }
  resize(object_.get(), engine.config().scratch_size);
  receive_into_object(engine);
}

}  // namespace rloop::native
