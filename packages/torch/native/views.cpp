// ArrayBuffers over a CPU tensor's own memory, without a copy. JavaScript may hold such a buffer for longer than its
// tensor lives, so the buffer's life is tied to the handle's: when the tensor is freed, the buffer is detached (its
// length becomes 0) and never reads memory that belongs to something else by then.
#include "core.h"

namespace tessera {

/** What one ArrayBuffer needs; freed by the buffer's finalizer, which Node runs some turns of the event loop later. */
struct MemoryView {
  at::Tensor tensor;
  napi_ref buffer = nullptr;
};

namespace {

/** viewBytes(tensor): an ArrayBuffer over the memory of a contiguous CPU tensor; the same one each time. */
napi_value viewBytes(Arguments& a) {
  const Handle handle = a.handle(0);
  const at::Tensor& tensor = a.instance.table.at(handle);
  if (!tensor.device().is_cpu()) {
    throw std::runtime_error("expected a tensor on the CPU, got one on " + tensor.device().str() + ": move or copy it");
  }
  if (!tensor.is_contiguous()) {
    throw std::runtime_error("expected values that lie in C order, got strides: call contiguous() or copy them");
  }
  napi_value buffer;
  const auto known = a.instance.views.find(handle);
  if (known != a.instance.views.end()) {
    check(a.env, napi_get_reference_value(a.env, known->second->buffer, &buffer));
    return buffer;
  }
  void* unused = nullptr;
  if (tensor.nbytes() == 0) {
    check(a.env, napi_create_arraybuffer(a.env, 0, &unused, &buffer));
    return buffer;
  }
  auto* view = new MemoryView{tensor};
  const napi_status made = napi_create_external_arraybuffer(
      a.env, tensor.data_ptr(), tensor.nbytes(), [](napi_env, void*, void* hint) { delete static_cast<MemoryView*>(hint); },
      view, &buffer);
  if (made != napi_ok) delete view;
  check(a.env, made);
  // A strong reference: the collector leaves the buffer, and with it `view`, alone until the tensor is freed.
  check(a.env, napi_create_reference(a.env, buffer, 1, &view->buffer));
  a.instance.views.emplace(handle, view);
  return buffer;
}

}  // namespace

void endStaleViews(Arguments& a) {
  for (auto entry = a.instance.views.begin(); entry != a.instance.views.end();) {
    if (a.instance.table.isLive(entry->first)) {
      ++entry;
      continue;
    }
    MemoryView* view = entry->second;
    entry = a.instance.views.erase(entry);
    napi_value buffer;
    check(a.env, napi_get_reference_value(a.env, view->buffer, &buffer));
    bool moved = false;
    check(a.env, napi_is_detached_arraybuffer(a.env, buffer, &moved));
    check(a.env, napi_delete_reference(a.env, view->buffer));
    // Somebody who moved the contents to another ArrayBuffer (transfer()) keeps the memory alive until that one goes.
    if (moved) continue;
    // The memory goes at the end of this block; the finalizer, whenever it runs, only frees what is left of the view.
    const at::Tensor memory = std::move(view->tensor);
    check(a.env, napi_detach_arraybuffer(a.env, buffer));
  }
}

const CoreEntry kViewFunctions[] = {
    {"viewBytes", viewBytes},
    {nullptr, nullptr},
};

}  // namespace tessera
