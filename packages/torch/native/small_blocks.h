#pragma once

#include <cstddef>

namespace tessera {

/** What a small block holds, in bytes. */
constexpr size_t kSmallBlock = 64;

/** Reserves the addresses of small blocks; false where it cannot. */
bool reserveSmallBlocks();

/** A block of kSmallBlock bytes, or nullptr where none is left. */
void* takeSmallBlock();

/** Takes a block back; false: it is not one of these. */
bool giveSmallBlock(void* p);

}  // namespace tessera
