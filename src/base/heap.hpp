// What the process's malloc does with memory that is free again.
//
// Knows glibc's; any other allocator does as it likes. Called by whoever makes the first engine of
// the process, from any thread.
#pragma once

namespace rloop::base {

// Lets the heap keep up to 1 MiB of free memory at its end (each thread's arena as much), once for
// the process.
//
// glibc gives back what is free there beyond 128 KiB. A StreamReader with messages of 100 KiB frees
// more and needs it again within a turn: several page faults per message, a third of its CPU. The
// limit follows the largest block that was ever mapped and freed (mallopt(3), M_MMAP_THRESHOLD),
// and one of 512 KiB is; smaller ones come from the heap then. So what the user has set by mallopt
// or MALLOC_* stays, and other allocators do not mind.
void keep_freed_memory();

}  // namespace rloop::base
