// What runs the steps of one sequence: a subject, its user, and the kernel that it lives on.
#pragma once

#include <memory>

#include "hunt/steps.hpp"

namespace rloop::hunt {

class World {
 public:
  virtual ~World() = default;
  virtual void take(const Step& step) = 0;
  // Ends everything, and checks what must be true then.
  virtual void finish() = 0;
};

std::unique_ptr<World> make_stream_world(uint32_t mode);
std::unique_ptr<World> make_datagram_world(uint32_t mode);
std::unique_ptr<World> make_listener_world(uint32_t mode);
std::unique_ptr<World> make_watch_world(uint32_t mode);
std::unique_ptr<World> make_real_world(uint32_t mode, bool ring);

}  // namespace rloop::hunt
