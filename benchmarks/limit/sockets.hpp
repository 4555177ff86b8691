// The sockets of the limit's servers: what server.py gives to a loop, with the same options.
#pragma once

#include <string>

#include "options.hpp"

namespace limit {

// Throws "<what>: <text of an error number>".
[[noreturn]] void fail(const std::string& what, int error);
[[noreturn]] void fail(const std::string& what);  // of errno

// A non-blocking socket at the address, which only this machine can reach: listening, or for
// datagrams bound. A stale unix socket file is replaced.
int open_server_socket(const Options& options);

// The path of "unix:PATH"; empty for any other address.
std::string path_of(const std::string& address);

// As Python prints what getsockname says: ('127.0.0.1', PORT), or the path.
std::string name_of(int fd);

bool is_unix(int fd);

// A connection that a server of ours accepted sends at once.
void set_nodelay(int fd);

}  // namespace limit
