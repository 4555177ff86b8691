// What socket.getaddrinfo answers for literal addresses, remembered for the process.
//
// Such an answer depends on nothing but the arguments, and programs ask for the same few again and
// again. The Python half (rloop/connect.py) decides what may be remembered; here it is found again
// without a key object: each question has one place, where it takes that of another. Nothing is
// found once a program has put another function in the place of socket.getaddrinfo or
// _socket.getaddrinfo. Needs the GIL.
#pragma once

#include "binding/arguments.hpp"

namespace rloop::native {

// When the module is imported: finds the two modules, before a program puts others in their place.
void define_literal_answers();

// (host, port, family, type, proto, flags): the answer, a new list, or None.
binding::Ref find_literal_answer(const binding::Arguments& question);

// (host, port, family, type, proto, flags, answer, socket.getaddrinfo, _socket.getaddrinfo), which
// gave the answer. Does nothing where host or port are of a kind that is not looked for.
void remember_literal_answer(const binding::Arguments& question);

}  // namespace rloop::native
