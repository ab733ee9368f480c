#pragma once

namespace tessera {

/** Serves CPU tensors of up to 64 bytes from a pool. Once a process; where it cannot, libtorch's allocator stays. */
void installSmallAllocator();

}  // namespace tessera
