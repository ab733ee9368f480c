// The allocator of CPU tensors: the smallest and the large ones come from pools (small_blocks.cpp, large_blocks.cpp), all
// others from libtorch's own allocator. Whose a pointer is, the pointer tells.
#include "cpu_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <mutex>

#include "large_blocks.h"
#include "small_blocks.h"

namespace tessera {
namespace {

c10::Allocator* others = nullptr;

void release(void* p) {
  if (!giveSmallBlock(p) && !giveLargeBlock(p)) others->raw_deallocate(p);
}

class CpuAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* block = nullptr;
    if (bytes >= kLeastLarge) {
      block = takeLargeBlock(bytes);
    } else if (bytes > 0 && bytes <= kSmallBlock) {
      block = takeSmallBlock();
    }
    if (block != nullptr) return {block, block, &release, c10::Device(c10::DeviceType::CPU)};
    c10::DataPtr other = others->allocate(bytes);  // which says so where memory is out
    if (!other.compare_exchange_deleter(others->raw_deleter(), &release)) {
      TORCH_CHECK(false, "libtorch's CPU allocator hands out memory with an unexpected deleter");
    }
    return other;
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }
};

}  // namespace

void installCpuAllocator() {
  static std::once_flag once;
  std::call_once(once, [] {
    c10::Allocator* const current = c10::GetAllocator(c10::DeviceType::CPU);
    if (current->raw_deleter() == nullptr || !reserveSmallBlocks()) return;
    others = current;
    static CpuAllocator allocator;
    c10::SetCPUAllocator(&allocator);
  });
}

}  // namespace tessera
