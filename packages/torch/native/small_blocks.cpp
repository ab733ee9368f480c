// Memory for tensors of a few entries. libtorch asks posix_memalign for every tensor, which is a tenth of what one small
// operation costs; losses, counters and step sizes are such tensors. Blocks of 64 bytes come from one reserved range of
// addresses instead and go back to a list of the thread that frees them; the range tells whose a pointer is.
#include "small_blocks.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace tessera {
namespace {

constexpr size_t kRange = size_t{64} << 20;  // reserved, not used: pages come when they are touched

struct Range {
  char* begin = nullptr;
  std::atomic<size_t> used{0};
  std::mutex mutex;
  std::vector<void*> orphans;  // of threads that have ended
};

/** Never destroyed: tensors may be freed while the process ends. */
Range& range() {
  static Range* const one = new Range();
  return *one;
}

struct ThreadBlocks {
  std::vector<void*> free;

  ~ThreadBlocks() {
    const std::lock_guard lock(range().mutex);
    range().orphans.insert(range().orphans.end(), free.begin(), free.end());
    ended = true;
  }
  static thread_local bool ended;
};

thread_local bool ThreadBlocks::ended = false;
thread_local ThreadBlocks blocks;

}  // namespace

bool reserveSmallBlocks() {
  void* const memory = mmap(nullptr, kRange, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  range().begin = static_cast<char*>(memory);
  return true;
}

void* takeSmallBlock() {
  if (ThreadBlocks::ended) return nullptr;
  auto& free = blocks.free;
  if (free.empty()) {
    const size_t offset = range().used.fetch_add(kSmallBlock, std::memory_order_relaxed);
    if (offset + kSmallBlock <= kRange) return range().begin + offset;
    range().used.store(kRange, std::memory_order_relaxed);
    const std::lock_guard lock(range().mutex);
    free.swap(range().orphans);
    if (free.empty()) return nullptr;
  }
  void* const block = free.back();
  free.pop_back();
  return block;
}

bool giveSmallBlock(void* p) {
  if (static_cast<size_t>(static_cast<char*>(p) - range().begin) >= kRange) return false;
  if (!ThreadBlocks::ended) blocks.free.push_back(p);
  return true;
}

}  // namespace tessera
