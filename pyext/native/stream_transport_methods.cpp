// The table of a stream transport's methods and attributes; see stream_transport.hpp.
//
// What datagram transports have too comes from Transport::shared_methods. Names that begin with an
// underscore are asyncio's private ones, which its sslproto, sendfile and Server use.
#include "native/names.hpp"
#include "native/stream_transport.hpp"

namespace rloop::native {

std::vector<PyMethodDef> StreamTransport::methods() {
  using binding::method;
  using T = StreamTransport;
  std::vector<PyMethodDef> table = shared_methods<T>();
  table.insert(
      table.end(),
      {
          method<&T::write>("write", "write($self, data)\n--\n\nQueue bytes; never blocks."),
          method<&T::writelines>(
              "writelines", "writelines($self, list_of_data)\n--\n\nQueue an iterable of bytes."),
          method<&T::write_eof>(
              "write_eof", "write_eof($self)\n--\n\nClose the sending side after the backlog."),
          method<&T::can_write_eof>("can_write_eof", "can_write_eof($self)\n--\n\nTrue."),
          method<&T::close>("close", "close($self)\n--\n\nClose after the backlog is sent."),
          method<&T::count_sent>("_count_sent", nullptr),
          method<&T::pause_reading>("pause_reading",
                                    "pause_reading($self)\n--\n\nNo data_received until resumed."),
          method<&T::resume_reading>("resume_reading",
                                     "resume_reading($self)\n--\n\nGo on after pause_reading."),
          method<&T::is_reading>("is_reading", "is_reading($self)\n--\n\nTrue if data may arrive."),
          method<&T::set_protocol>("set_protocol",
                                   "set_protocol($self, protocol)\n--\n\nSwitch the protocol."),
          method<&T::start_reading>("_start_reading", nullptr),
      });
  return table;
}

std::vector<PyGetSetDef> StreamTransport::attributes() {
  using binding::attribute;
  using T = StreamTransport;
  std::vector<PyGetSetDef> table = shared_attributes<T>();
  table.push_back(attribute<&T::get_empty_waiter, &T::set_empty_waiter>("_empty_waiter", nullptr));
  table.push_back(attribute<&T::is_client>("_is_client", nullptr));
  return table;
}

void define_stream_transport(PyObject* module) {
  // asyncio's sendfile demands this class, which adds nothing that ours would use.
  Ref base = binding::import_from("asyncio.transports", "_FlowControlMixin");
  StreamTransportType::define(module, base.get());
  // What BaseEventLoop.start_tls and sendfile ask a transport.
  auto* type = reinterpret_cast<PyObject*>(StreamTransportType::type());
  binding::check(PyObject_SetAttrString(type, "_start_tls_compatible", Py_True));
  Ref modes = binding::import_from("asyncio.constants", "_SendfileMode");
  Ref native = Ref::checked(PyObject_GetAttrString(modes.get(), "TRY_NATIVE"));
  binding::check(PyObject_SetAttrString(type, "_sendfile_compatible", native.get()));
}

}  // namespace rloop::native
