// Threads, seeds, versions, devices.
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include "core.h"

namespace tessera {
namespace {

napi_value setNumThreads(Arguments& a) {
  const int64_t count = a.integer(0);
  if (count < 1 || count > 4096) throw std::runtime_error("the number of threads must be between 1 and 4096");
  processThreads.store(static_cast<int>(count), std::memory_order_relaxed);
  at::set_num_threads(static_cast<int>(count));
  a.instance.threads = static_cast<int>(count);
  return a.nothing();
}

napi_value getNumThreads(Arguments& a) { return a.result(static_cast<int64_t>(at::get_num_threads())); }

/** Seeds torch's own generators, which serve dropout and initialisation only. */
napi_value manualSeed(Arguments& a) {
  at::manual_seed(static_cast<uint64_t>(a.integer(0)));
  return a.nothing();
}

napi_value torchVersion(Arguments& a) { return a.result(std::string(TORCH_VERSION)); }
napi_value cudaDeviceCount(Arguments& a) {
  return a.result(at::hasCUDA() ? static_cast<int64_t>(at::detail::getCUDAHooks().deviceCount()) : int64_t{0});
}

}  // namespace

const CoreEntry kRuntimeFunctions[] = {
    {"setNumThreads", setNumThreads}, {"getNumThreads", getNumThreads},     {"manualSeed", manualSeed},
    {"torchVersion", torchVersion},   {"cudaDeviceCount", cudaDeviceCount}, {nullptr, nullptr},
};

}  // namespace tessera
