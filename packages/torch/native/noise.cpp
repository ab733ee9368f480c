// The noise of sampling: the same function of (seed, image, step, position, code, purpose) and the same bits as
// packages/schedule/src/noise.ts. It is made where the positions are, on the CPU or by a kernel on CUDA; an addon without
// that kernel makes it on the CPU and moves it.
#include <ATen/Parallel.h>

#include "core.h"
#include "noise_arithmetic.h"
#include "noise_cuda.h"
#include "noise_key.h"
#include "noise_vector.h"

namespace tessera {
namespace {

/** Values that are worth a thread. */
constexpr int64_t kValuesAThread = 16384;

/** exponentialNoise(images [B], positions [B, M], codes V, seed, step, purpose) → [B, M, V] float32. */
napi_value exponentialNoise(Arguments& a) {
  const at::Device wanted = a.tensor(1).device();
  const at::Device device = wanted.is_cuda() && !kHasNoiseKernel ? at::Device(at::kCPU) : wanted;
  const at::Tensor images = noiseIndices(a, 0, 1, device);
  const at::Tensor positions = noiseIndices(a, 1, 2, device);
  const int64_t codes = a.integer(2);
  const NoiseAddress where = noiseAddress(a, 3);
  const int64_t rows = positions.size(1);
  if (positions.size(0) != images.size(0)) throw std::runtime_error("images and positions differ in their batch");
  if (codes < 1) throw std::runtime_error("the number of codes must be positive");
  at::Tensor out = at::empty({images.size(0), rows, codes}, at::TensorOptions().dtype(at::kFloat).device(device));
  if (device.is_cuda()) {
    exponentialOnCuda(images, positions, out, where);
    return a.result(out);
  }
  const int64_t* image = images.data_ptr<int64_t>();
  const int64_t* position = positions.data_ptr<int64_t>();
  float* values = out.data_ptr<float>();
  at::parallel_for(0, images.size(0) * rows, std::max<int64_t>(1, kValuesAThread / codes), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* target = values + row * codes;
      for (int64_t code = exponentialBlocks(target, codes, position[row], image[row / rows], where); code < codes; code += 4) {
        const Words words = noiseWords(code, position[row], image[row / rows], where);
        const int64_t lanes = std::min<int64_t>(4, codes - code);
        for (int64_t lane = 0; lane < lanes; ++lane) {
          target[code + lane] = static_cast<float>(exponentialFromBits(words.at[lane]));
        }
      }
    }
  });
  return a.result(out.to(wanted));
}

/** gumbelNoise(images [B], positions L, seed, step, purpose) → [B, L] float64, at code 0. */
napi_value gumbelNoise(Arguments& a) {
  const at::Device wanted = a.tensor(0).device();
  const at::Device device = wanted.is_cuda() && !kHasNoiseKernel ? at::Device(at::kCPU) : wanted;
  const at::Tensor images = noiseIndices(a, 0, 1, device);
  const int64_t length = a.integer(1);
  const NoiseAddress where = noiseAddress(a, 2);
  if (length < 0) throw std::runtime_error("the number of positions must not be negative");
  at::Tensor out = at::empty({images.size(0), length}, at::TensorOptions().dtype(at::kDouble).device(device));
  if (device.is_cuda()) {
    gumbelOnCuda(images, out, where);
    return a.result(out);
  }
  const int64_t* image = images.data_ptr<int64_t>();
  double* values = out.data_ptr<double>();
  for (int64_t b = 0; b < images.size(0); ++b) {
    for (int64_t position = 0; position < length; ++position) {
      *values++ = gumbelFromBits(noiseWords(0, position, image[b], where).at[0]);
    }
  }
  return a.result(out.to(wanted));
}

}  // namespace

const CoreEntry kNoiseFunctions[] = {
    {"exponentialNoise", exponentialNoise},
    {"gumbelNoise", gumbelNoise},
    {nullptr, nullptr},
};

}  // namespace tessera
