// What addresses the noise, read from JavaScript's arguments.
#pragma once

#include "arguments.h"
#include "noise_arithmetic.h"

namespace tessera {

/** Reads seed, step and purpose at three argument positions. */
inline NoiseAddress noiseAddress(const Arguments& a, size_t i) {
  const int64_t seed = a.integer(i);
  const int64_t step = a.integer(i + 1);
  const int64_t purpose = a.integer(i + 2);
  if (seed < 0 || step < 0 || step > 65535 || purpose < 0 || purpose > 65535) {
    throw std::runtime_error("the seed must be at least 0, step and purpose in 0..65535");
  }
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(step | (purpose << 16))};
}

/** Image indices [B] and, flattened, the positions wanted of each [B, M]: int64 tensors on `device`. */
inline at::Tensor noiseIndices(const Arguments& a, size_t i, int64_t dims, at::Device device) {
  at::Tensor tensor = a.tensor(i).to(device).contiguous();
  if (tensor.scalar_type() != at::kLong || tensor.dim() != dims) {
    throw std::runtime_error("argument " + std::to_string(i) + ": expected an int64 tensor of " + std::to_string(dims) +
                             " dimensions");
  }
  // Looking at values on CUDA would wait for them: there they are taken modulo 2^32.
  if (device.is_cpu() && tensor.numel() > 0 && (tensor.min().item<int64_t>() < 0 || tensor.max().item<int64_t>() > 0xFFFFFFFFll)) {
    throw std::runtime_error("argument " + std::to_string(i) + ": expected values in 0..2^32-1");
  }
  return tensor;
}

}  // namespace tessera
