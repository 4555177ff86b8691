// Where the watchdog writes: a descriptor, whole lines, from a thread without the GIL.
//
// Nothing here waits for ever: a pipe that nobody reads loses what does not fit within a second.
// A descriptor that the program closed behind our back may be a connection by now, so each write
// looks whether it is still the file that it was; then standard error takes the rest.
#pragma once

#include <cstdint>
#include <string_view>

namespace rloop::native {

class WatchdogOutput {
 public:
  WatchdogOutput() = default;
  // Standard error follows what the program makes of descriptor 2, unless that is a socket or one
  // of the kernel's own things (eventfd, epoll) by now; any other is held to its file.
  explicit WatchdogOutput(int fd);

  void write(std::string_view text) const;
  // Another one may write to the descriptor (faulthandler): it is the file that it was, and takes
  // something.
  bool is_writable() const;

 private:
  int number() const;

  int fd_ = 2;
  uint64_t device_ = 0, inode_ = 0;
};

}  // namespace rloop::native
