#include "handle_table.h"

#include <unordered_set>

namespace tessera {

Handle HandleTable::add(at::Tensor tensor) {
  uint32_t slot;
  if (free_.empty()) {
    if (slots_.size() > static_cast<size_t>(kSlotMask)) {
      throw std::runtime_error("more than 16 million live tensors; is a scope() missing around a loop?");
    }
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  Slot& entry = slots_[slot];
  entry.tensor = std::move(tensor);
  entry.scope = static_cast<int32_t>(scopes_.size());
  ++live_;
  const Handle handle = (static_cast<int64_t>(entry.generation) << kSlotBits) | slot;
  if (!scopes_.empty()) scopes_.back().push_back(handle);
  return handle;
}

bool HandleTable::isLive(Handle handle) const noexcept {
  const auto slot = static_cast<size_t>(handle & kSlotMask);
  return handle >= 0 && slot < slots_.size() && slots_[slot].tensor.defined() &&
         slots_[slot].generation == static_cast<uint32_t>(handle >> kSlotBits);
}

void HandleTable::dispose(Handle handle) noexcept {
  if (!isLive(handle)) return;
  const auto slot = static_cast<uint32_t>(handle & kSlotMask);
  Slot& entry = slots_[slot];
  entry.tensor.reset();
  --live_;
  // A slot that has used up its generations is retired, so that no handle can ever come back.
  if (++entry.generation <= kMaxGeneration) free_.push_back(slot);
}

int32_t HandleTable::beginScope() {
  scopes_.emplace_back();
  return static_cast<int32_t>(scopes_.size());
}

void HandleTable::endScope(int32_t depth, const std::vector<Handle>& survivors) {
  if (scopes_.empty() || depth != static_cast<int32_t>(scopes_.size())) {
    throw std::runtime_error("scopes must end in the reverse order of their beginning");
  }
  std::vector<Handle> made = std::move(scopes_.back());
  scopes_.pop_back();
  for (const Handle handle : survivors) {
    Slot& entry = slots_[static_cast<size_t>(handle & kSlotMask)];
    if (!isLive(handle) || entry.scope != depth) continue;
    entry.scope = depth - 1;
    if (!scopes_.empty()) scopes_.back().push_back(handle);
  }
  for (const Handle handle : made) {
    if (isLive(handle) && slots_[static_cast<size_t>(handle & kSlotMask)].scope == depth) dispose(handle);
  }
}

void HandleTable::keep(Handle handle) {
  at(handle);
  slots_[static_cast<size_t>(handle & kSlotMask)].scope = 0;
}

std::map<std::string, size_t> HandleTable::liveBytes() const {
  std::unordered_set<const void*> seen;
  std::map<std::string, size_t> bytes;
  for (const Slot& slot : slots_) {
    if (!slot.tensor.defined() || !slot.tensor.has_storage()) continue;
    const auto& storage = slot.tensor.storage();
    if (seen.insert(storage.unsafeGetStorageImpl()).second) bytes[slot.tensor.device().str()] += storage.nbytes();
  }
  return bytes;
}

std::vector<Handle> HandleTable::liveHandles() const {
  std::vector<Handle> handles;
  for (size_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot].tensor.defined()) continue;
    handles.push_back((static_cast<Handle>(slots_[slot].generation) << kSlotBits) | static_cast<Handle>(slot));
  }
  return handles;
}

}  // namespace tessera
