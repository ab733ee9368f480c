// The owner of every tensor that JavaScript can name. JavaScript holds numbers, not objects: slot + generation, so that
// a handle whose tensor is gone is recognised and never aliases a later one. Scopes are a stack of lists of handles;
// ending a scope frees what was made in it and not moved out (measured: one scope a step costs nothing, garbage
// collection alone runs out of memory). One table per JavaScript environment, so worker threads do not share it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace tessera {

using Handle = int64_t;

/** A handle whose tensor has been freed. */
struct DisposedTensor : std::runtime_error {
  DisposedTensor() : std::runtime_error("the tensor was disposed (its scope ended, or dispose() was called)") {}
};

class HandleTable {
 public:
  Handle add(at::Tensor tensor);

  const at::Tensor& at(Handle handle) const {
    const auto slot = static_cast<size_t>(handle & kSlotMask);
    if (handle < 0 || slot >= slots_.size()) throw DisposedTensor();
    const Slot& entry = slots_[slot];
    if (entry.generation != static_cast<uint32_t>(handle >> kSlotBits) || !entry.tensor.defined()) {
      throw DisposedTensor();
    }
    return entry.tensor;
  }

  bool isLive(Handle handle) const noexcept;
  /** Frees the tensor; a second call is a no-op. */
  void dispose(Handle handle) noexcept;

  /** Opens a scope and returns its depth, 1 for the outermost. */
  int32_t beginScope();
  /** Closes the innermost scope, which must be `depth`; `survivors` move to the scope around it. */
  void endScope(int32_t depth, const std::vector<Handle>& survivors);
  /** Takes a tensor out of all scopes: it lives until disposed. */
  void keep(Handle handle);

  size_t liveTensors() const noexcept { return live_; }
  /** Bytes of the distinct storages behind the live tensors, by device (`cpu`, `cuda:0`). */
  std::map<std::string, size_t> liveBytes() const;
  /** All live handles, in the order of their slots; for reports. */
  std::vector<Handle> liveHandles() const;

 private:
  static constexpr int kSlotBits = 24;
  static constexpr int64_t kSlotMask = (int64_t{1} << kSlotBits) - 1;
  static constexpr uint32_t kMaxGeneration = (uint32_t{1} << 28) - 1;

  struct Slot {
    at::Tensor tensor;
    uint32_t generation = 0;
    int32_t scope = 0;  // 0: outside all scopes
  };

  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  std::vector<std::vector<Handle>> scopes_;
  size_t live_ = 0;
};

}  // namespace tessera
