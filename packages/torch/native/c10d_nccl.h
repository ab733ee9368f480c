// NCCL beside Gloo in one process group: tensors on the CPU go through Gloo, tensors on CUDA through NCCL.
#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

namespace tessera {

/** Whether this addon was built against a libtorch with NCCL, and its headers were found. */
extern const bool kHasNccl;

/** Throws one clear error where there is no NCCL. */
void addNccl(c10d::ProcessGroup& group, const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
             std::chrono::milliseconds timeout);

/** What a barrier of this group runs on: this process's GPU under NCCL, which otherwise takes its rank for the number. */
std::vector<int64_t> barrierDevices(const c10d::ProcessGroup& group);

}  // namespace tessera
