#pragma once

namespace tessera {

/** Serves the smallest and the large tensors on the CPU from pools of our own. Once a process; where it cannot, libtorch's stays. */
void installCpuAllocator();

}  // namespace tessera
