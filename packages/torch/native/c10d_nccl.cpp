#include "c10d_nccl.h"

#include <stdexcept>

#ifdef TESSERA_NCCL
#define USE_C10D_NCCL 1
#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace tessera {

#ifdef TESSERA_NCCL

const bool kHasNccl = true;

void addNccl(c10d::ProcessGroup& group, const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
             std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  const auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
  group.setBackend(at::kCUDA, c10d::ProcessGroup::NCCL, nccl);
  group.setDefaultBackend(c10d::ProcessGroup::NCCL);
}

std::vector<int64_t> barrierDevices(const c10d::ProcessGroup& group) {
  if (group.getBackendType() != c10d::ProcessGroup::NCCL) return {};
  return {c10::cuda::current_device()};
}

#else

const bool kHasNccl = false;

void addNccl(c10d::ProcessGroup&, const c10::intrusive_ptr<c10d::Store>&, int, int, std::chrono::milliseconds) {
  throw std::runtime_error("this addon was built without NCCL: build it against a CUDA libtorch that has it");
}

std::vector<int64_t> barrierDevices(const c10d::ProcessGroup&) { return {}; }

#endif

}  // namespace tessera
