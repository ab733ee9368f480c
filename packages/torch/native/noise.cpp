// The noise of sampling: the same function of (seed, image, step, position, code, purpose) and the same bits as
// packages/schedule/src/noise.ts. It is made where the positions are, on the CPU or by a kernel on CUDA; an addon without
// that kernel makes it on the CPU and moves it.
#include <ATen/Parallel.h>

#include "core.h"
#include "noise_arithmetic.h"
#include "noise_cuda.h"
#include "noise_vector.h"

namespace tessera {
namespace {

/** Values that are worth a thread. */
constexpr int64_t kValuesAThread = 16384;

/** Reads seed, step and purpose at three argument positions. */
NoiseAddress address(const Arguments& a, size_t i) {
  const int64_t seed = a.integer(i);
  const int64_t step = a.integer(i + 1);
  const int64_t purpose = a.integer(i + 2);
  if (seed < 0 || step < 0 || step > 65535 || purpose < 0 || purpose > 65535) {
    throw std::runtime_error("the seed must be at least 0, step and purpose in 0..65535");
  }
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(step | (purpose << 16))};
}

/** Image indices [B] and, flattened, the positions wanted of each [B, M]: int64 tensors on `device`. */
at::Tensor indices(const Arguments& a, size_t i, int64_t dims, at::Device device) {
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

/** exponentialNoise(images [B], positions [B, M], codes V, seed, step, purpose) → [B, M, V] float32. */
napi_value exponentialNoise(Arguments& a) {
  const at::Device wanted = a.tensor(1).device();
  const at::Device device = wanted.is_cuda() && !kHasNoiseKernel ? at::Device(at::kCPU) : wanted;
  const at::Tensor images = indices(a, 0, 1, device);
  const at::Tensor positions = indices(a, 1, 2, device);
  const int64_t codes = a.integer(2);
  const NoiseAddress where = address(a, 3);
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
  const at::Tensor images = indices(a, 0, 1, device);
  const int64_t length = a.integer(1);
  const NoiseAddress where = address(a, 2);
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
