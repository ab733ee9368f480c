// Memory for large tensors. The system's allocator maps each of them anew and unmaps it when it is freed, so that every
// activation of every step pays for its pages again: a fault a page, and the kernel clears it. Blocks that are freed are kept
// here instead and handed out again, up to a limit, the longest kept given back first. They stand on 2 MiB, so that the
// system can back them with huge pages; that also tells them from other memory without a lock.
#include "large_blocks.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <list>
#include <mutex>
#include <unordered_map>

namespace tessera {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
/** Bytes kept for later; TESSERA_KEEP_MEMORY says another number of MiB, 0 for none. */
constexpr size_t kMostKept = size_t{1} << 30;

struct LargeBlock {
  void* memory;
  size_t bytes;
};

struct LargeBlocks {
  std::mutex mutex;
  std::unordered_map<void*, size_t> used;
  std::list<LargeBlock> kept;  // the longest kept first
  size_t keptBytes = 0;
  size_t mostKept = kMostKept;

  LargeBlocks() {
    const char* const setting = std::getenv("TESSERA_KEEP_MEMORY");
    if (setting != nullptr && *setting != '\0') mostKept = std::strtoull(setting, nullptr, 10) << 20;
  }
};

/** Never destroyed: tensors may be freed while the process ends. */
LargeBlocks& largeBlocks() {
  static LargeBlocks* const one = new LargeBlocks();
  return *one;
}

bool standsOnHugePage(const void* p) { return reinterpret_cast<uintptr_t>(p) % kHugePage == 0; }

/**
 * Maps whole huge pages: more than is wanted, of which what stands before and after their bounds is cut off. The last one is
 * left to small pages where the tensor does not fill it: a huge one would be memory that nobody uses.
 */
void* mapAligned(size_t whole, size_t bytes) {
  void* const mapped = mmap(nullptr, whole + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + whole, kHugePage - before);
  char* const block = begin + before;
#ifdef MADV_HUGEPAGE
  const size_t filled = bytes / kHugePage * kHugePage;
  if (filled > 0) madvise(block, filled, MADV_HUGEPAGE);
  if (filled < whole) madvise(block + filled, whole - filled, MADV_NOHUGEPAGE);
#endif
  return block;
}

/** With the lock held: the smallest kept block that is large enough and wastes at most a quarter. */
void* takeKept(LargeBlocks& blocks, size_t bytes) {
  auto best = blocks.kept.end();
  for (auto block = blocks.kept.begin(); block != blocks.kept.end(); ++block) {
    const bool fits = block->bytes >= bytes && block->bytes <= bytes + bytes / 4;
    // Of equals the one kept last, whose memory is the likeliest to be in a cache.
    if (fits && (best == blocks.kept.end() || block->bytes <= best->bytes)) best = block;
  }
  if (best == blocks.kept.end()) return nullptr;
  void* const memory = best->memory;
  blocks.keptBytes -= best->bytes;
  blocks.used.emplace(memory, best->bytes);
  blocks.kept.erase(best);
  return memory;
}

}  // namespace

void* takeLargeBlock(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const size_t whole = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  LargeBlocks& blocks = largeBlocks();
  {
    const std::lock_guard lock(blocks.mutex);
    if (void* const kept = takeKept(blocks, whole)) return kept;
  }
  void* memory = mapAligned(whole, bytes);
  if (memory == nullptr) {
    trimLargeBlocks(0);
    memory = mapAligned(whole, bytes);
    if (memory == nullptr) return nullptr;
  }
  const std::lock_guard lock(blocks.mutex);
  blocks.used.emplace(memory, whole);
  return memory;
}

bool giveLargeBlock(void* p) {
  if (!standsOnHugePage(p)) return false;
  LargeBlocks& blocks = largeBlocks();
  {
    const std::lock_guard lock(blocks.mutex);
    const auto found = blocks.used.find(p);
    if (found == blocks.used.end()) return false;
    blocks.kept.push_back({p, found->second});
    blocks.keptBytes += found->second;
    blocks.used.erase(found);
  }
  trimLargeBlocks(blocks.mostKept);
  return true;
}

void trimLargeBlocks(size_t bytes) {
  LargeBlocks& blocks = largeBlocks();
  std::list<LargeBlock> released;
  {
    const std::lock_guard lock(blocks.mutex);
    while (blocks.keptBytes > bytes) {
      blocks.keptBytes -= blocks.kept.front().bytes;
      released.splice(released.end(), blocks.kept, blocks.kept.begin());
    }
  }
  for (const LargeBlock& block : released) munmap(block.memory, block.bytes);
}

}  // namespace tessera
