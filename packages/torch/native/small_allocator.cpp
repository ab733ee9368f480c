// Memory for tensors of a few entries. libtorch asks posix_memalign for every tensor, which is a tenth of what one small
// operation costs; losses, counters and step sizes are such tensors. Blocks of 64 bytes come from one reserved range of
// addresses instead and go back to a list of the thread that frees them; the range tells whose a pointer is, so that
// everything else stays libtorch's own allocator's.
#include "small_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <sys/mman.h>

#include <atomic>
#include <mutex>
#include <vector>

namespace tessera {
namespace {

constexpr size_t kBlock = 64;
constexpr size_t kRange = size_t{64} << 20;  // reserved, not used: pages come when they are touched

struct Range {
  char* begin = nullptr;
  std::atomic<size_t> used{0};
  std::mutex mutex;
  std::vector<void*> orphans;  // of threads that have ended

  bool holds(const void* p) const {
    const auto* at = static_cast<const char*>(p);
    return at >= begin && at < begin + kRange;
  }
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

void* takeBlock() {
  if (ThreadBlocks::ended) return nullptr;
  auto& free = blocks.free;
  if (free.empty()) {
    const size_t offset = range().used.fetch_add(kBlock, std::memory_order_relaxed);
    if (offset + kBlock <= kRange) return range().begin + offset;
    range().used.store(kRange, std::memory_order_relaxed);
    const std::lock_guard lock(range().mutex);
    free.swap(range().orphans);
    if (free.empty()) return nullptr;
  }
  void* const block = free.back();
  free.pop_back();
  return block;
}

c10::Allocator* large = nullptr;

void release(void* p) {
  if (!range().holds(p)) {
    large->raw_deallocate(p);
  } else if (!ThreadBlocks::ended) {
    blocks.free.push_back(p);
  }
}

class SmallAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes > 0 && bytes <= kBlock) {
      if (void* const block = takeBlock()) return {block, block, &release, c10::Device(c10::DeviceType::CPU)};
    }
    c10::DataPtr other = large->allocate(bytes);
    if (!other.compare_exchange_deleter(large->raw_deleter(), &release)) {
      TORCH_CHECK(false, "libtorch's CPU allocator hands out memory with an unexpected deleter");
    }
    return other;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }
};

}  // namespace

void installSmallAllocator() {
  static std::once_flag once;
  std::call_once(once, [] {
    c10::Allocator* const current = c10::GetAllocator(c10::DeviceType::CPU);
    if (current->raw_deleter() == nullptr) return;
    void* const memory = mmap(nullptr, kRange, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return;
    range().begin = static_cast<char*>(memory);
    large = current;
    static SmallAllocator allocator;
    c10::SetCPUAllocator(&allocator);
  });
}

}  // namespace tessera
