// The noise on CUDA, where the addon was built with nvcc (TESSERA_NOISE_KERNEL).
#pragma once

#include <ATen/ATen.h>

#include "noise_arithmetic.h"

namespace tessera {

extern const bool kHasNoiseKernel;

/** images [B] int64, positions [B, M] int64, out [B, M, V] float32: contiguous, on one device. */
void exponentialOnCuda(const at::Tensor& images, const at::Tensor& positions, const at::Tensor& out,
                       const NoiseAddress& where);
/** images [B] int64, out [B, L] float64: contiguous, on one device. */
void gumbelOnCuda(const at::Tensor& images, const at::Tensor& out, const NoiseAddress& where);

}  // namespace tessera
