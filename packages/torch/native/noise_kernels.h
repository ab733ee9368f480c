// Between noise_cuda.cpp, which knows ATen, and noise_kernels.cu, which nvcc compiles in a second because it does not.
#pragma once

#include "noise_arithmetic.h"

namespace tessera {

/** `stream` is a cudaStream_t. Returns the cudaError_t of the launch. */
int launchExponential(const int64_t* images, const int64_t* positions, float* out, int64_t batch, int64_t rows,
                      int64_t codes, NoiseAddress where, void* stream);
int launchGumbel(const int64_t* images, double* out, int64_t batch, int64_t length, NoiseAddress where, void* stream);

}  // namespace tessera
