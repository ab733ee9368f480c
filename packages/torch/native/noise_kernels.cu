// The noise as CUDA kernels: a thread makes the four codes that one Philox block gives. Compiled with -fmad=false, since a
// fused multiply-add would change the last bit of the logarithm and with it, somewhere, a token.
#include <cuda_runtime_api.h>

#include "noise_kernels.h"

namespace tessera {
namespace {

constexpr int kThreads = 256;

__global__ void exponentialKernel(const int64_t* images, const int64_t* positions, float* out, int64_t blocks,
                                  int64_t rows, int64_t codes, int64_t blocksOfRow, NoiseAddress where) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; k < blocks; k += stride) {
    const int64_t row = k / blocksOfRow;
    const int64_t code = 4 * (k % blocksOfRow);
    const Words words = noiseWords(code, positions[row], images[row / rows], where);
    float* target = out + row * codes + code;
    for (int64_t lane = 0; lane < 4 && code + lane < codes; ++lane) {
      target[lane] = static_cast<float>(exponentialFromBits(words.at[lane]));
    }
  }
}

__global__ void gumbelKernel(const int64_t* images, double* out, int64_t count, int64_t length, NoiseAddress where) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t k = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; k < count; k += stride) {
    out[k] = gumbelFromBits(noiseWords(0, k % length, images[k / length], where).at[0]);
  }
}

/** Enough blocks for the work, few enough for any device; the kernels loop over the rest. */
unsigned int gridFor(int64_t threads) {
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  return static_cast<unsigned int>(blocks < 65535 ? blocks : 65535);
}

}  // namespace

int launchExponential(const int64_t* images, const int64_t* positions, float* out, int64_t batch, int64_t rows,
                      int64_t codes, NoiseAddress where, void* stream) {
  const int64_t blocksOfRow = (codes + 3) / 4;
  const int64_t blocks = batch * rows * blocksOfRow;
  if (blocks == 0) return cudaSuccess;
  exponentialKernel<<<gridFor(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      images, positions, out, blocks, rows, codes, blocksOfRow, where);
  return cudaGetLastError();
}

int launchGumbel(const int64_t* images, double* out, int64_t batch, int64_t length, NoiseAddress where, void* stream) {
  const int64_t count = batch * length;
  if (count == 0) return cudaSuccess;
  gumbelKernel<<<gridFor(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(images, out, count, length, where);
  return cudaGetLastError();
}

}  // namespace tessera
