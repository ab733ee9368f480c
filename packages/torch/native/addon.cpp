// Module entry: one Instance per JavaScript environment, the hand-written core by name and the generated operations as
// an array in table order.
#include "core.h"
#include "cpu_allocator.h"
#include "generated/operations.h"

namespace tessera {
namespace {

/** A library does not print: libtorch's advice to its callers is dropped. */
class SilentWarnings : public c10::WarningHandler {
 public:
  void process(const c10::Warning&) override {}
};

void exportTable(napi_env env, Instance& instance, napi_value exports, const CoreEntry* entries) {
  for (const CoreEntry* entry = entries; entry->name != nullptr; ++entry) {
    check(env, napi_set_named_property(env, exports, entry->name, makeFunction(env, instance, entry->name, entry->body)));
  }
}

napi_value initialise(napi_env env, napi_value exports) {
  try {
    static SilentWarnings silent;
    c10::WarningUtils::set_warning_handler(&silent);
    installCpuAllocator();
    // Once a process: a worker that loads the addon too must not undo what was chosen meanwhile.
    static const bool forbidden = (forbidTf32(), true);
    static_cast<void>(forbidden);
    auto* instance = new Instance();
    check(env, napi_set_instance_data(
                   env, instance, [](napi_env, void* data, void*) { delete static_cast<Instance*>(data); }, nullptr));
    for (const CoreEntry* entries :
         {kTensorFunctions, kViewFunctions, kAutogradFunctions, kRuntimeFunctions, kNoiseFunctions, kDrawRowsFunctions,
          kLinearRowsFunctions, kLinearTilesFunctions, kLinearInt8Functions, kAttendRowsFunctions, kAttendTokensFunctions,
          kNormRowsFunctions, kGeluFunctions, kDistributedFunctions, kReducerFunctions, kCudaFunctions,
          kPrecisionFunctions}) {
      exportTable(env, *instance, exports, entries);
    }
    napi_value operations;
    check(env, napi_create_array_with_length(env, kOperationCount, &operations));
    for (const OperationEntry* entries : kAllOperations) {
      for (const OperationEntry* entry = entries; entry->body != nullptr; ++entry) {
        check(env, napi_set_element(env, operations, static_cast<uint32_t>(entry->index),
                                    makeFunction(env, *instance, nullptr, entry->body)));
      }
    }
    check(env, napi_set_named_property(env, exports, "operations", operations));
  } catch (const std::exception& error) {
    napi_throw_error(env, "TORCH", error.what());
  } catch (...) {
    // A JavaScript exception is already pending.
  }
  return exports;
}

}  // namespace
}  // namespace tessera

NAPI_MODULE_INIT() { return tessera::initialise(env, exports); }
