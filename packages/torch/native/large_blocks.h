#pragma once

#include <cstddef>

namespace tessera {

/** From here on a tensor gets a large block, in bytes. */
constexpr size_t kLeastLarge = size_t{1} << 20;

/** A block of at least so many bytes, aligned to 2 MiB; nullptr where there is no memory. */
void* takeLargeBlock(size_t bytes);

/** Takes a block back; false: it is not one of these. */
bool giveLargeBlock(void* p);

/** Gives kept blocks back to the system until at most so many bytes are kept. */
void trimLargeBlocks(size_t bytes);

}  // namespace tessera
