// The noise of sampling on the CPU: the same function of (seed, image, step, position, code, purpose) and the same bits
// as packages/schedule/src/{philox,portable-math,noise}.ts, which hold the layout, the sources and the error bounds.
// Compiled with -ffp-contract=off: a fused multiply-add would change the last bit of the logarithm.
#include <ATen/Parallel.h>

#include <array>
#include <cstring>

#include "core.h"

namespace tessera {
namespace {

using Words = std::array<uint32_t, 4>;

Words philox4x32(Words counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

/** Natural logarithm of a positive, finite, normal double: see portable-math.ts for the series. */
double portableLog(double x) {
  constexpr double kLn2High = 0.6931471803691238;
  constexpr double kLn2Low = 1.9082149292705877e-10;
  constexpr double kSqrt2 = 1.4142135623730951;
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  int k = static_cast<int>(bits >> 52) - 1023;
  bits = (bits & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull;
  double m;
  std::memcpy(&m, &bits, sizeof m);
  if (m >= kSqrt2) {
    m = m * 0.5;
    k = k + 1;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 1.0 / 21.0;
  for (double odd = 19.0; odd >= 3.0; odd -= 2.0) p = p * z + 1.0 / odd;
  const double twice = 2.0 * s;
  const double logM = twice + twice * (z * p);
  return k * kLn2High + (k * kLn2Low + logM);
}

double exponentialFromBits(uint32_t word) { return -portableLog((word + 0.5) / 4294967296.0); }
double gumbelFromBits(uint32_t word) { return -portableLog(exponentialFromBits(word)); }

struct Address {
  uint32_t key0;
  uint32_t key1;
  uint32_t stepAndPurpose;
};

/** Reads seed, step and purpose at three argument positions. */
Address address(const Arguments& a, size_t i) {
  const int64_t seed = a.integer(i);
  const int64_t step = a.integer(i + 1);
  const int64_t purpose = a.integer(i + 2);
  if (seed < 0 || step < 0 || step > 65535 || purpose < 0 || purpose > 65535) {
    throw std::runtime_error("the seed must be at least 0, step and purpose in 0..65535");
  }
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(step | (purpose << 16))};
}

/** Image indices [B] and, flattened, the positions wanted of each [B, M]: int64 CPU tensors. */
at::Tensor indices(const Arguments& a, size_t i, int64_t dims) {
  at::Tensor tensor = a.tensor(i).cpu().contiguous();
  if (tensor.scalar_type() != at::kLong || tensor.dim() != dims) {
    throw std::runtime_error("argument " + std::to_string(i) + ": expected an int64 tensor of " + std::to_string(dims) +
                             " dimensions");
  }
  if (tensor.numel() > 0 && (tensor.min().item<int64_t>() < 0 || tensor.max().item<int64_t>() > 0xFFFFFFFFll)) {
    throw std::runtime_error("argument " + std::to_string(i) + ": expected values in 0..2^32-1");
  }
  return tensor;
}

/** exponentialNoise(images [B], positions [B, M], codes V, seed, step, purpose) → [B, M, V] float32. */
napi_value exponentialNoise(Arguments& a) {
  const at::Tensor images = indices(a, 0, 1);
  const at::Tensor positions = indices(a, 1, 2);
  const int64_t codes = a.integer(2);
  const Address where = address(a, 3);
  const int64_t rows = positions.size(1);
  if (positions.size(0) != images.size(0)) throw std::runtime_error("images and positions differ in their batch");
  if (codes < 1) throw std::runtime_error("the number of codes must be positive");
  at::Tensor out = at::empty({images.size(0), rows, codes}, at::TensorOptions().dtype(at::kFloat));
  const int64_t* image = images.data_ptr<int64_t>();
  const int64_t* position = positions.data_ptr<int64_t>();
  float* values = out.data_ptr<float>();
  at::parallel_for(0, images.size(0) * rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* target = values + row * codes;
      for (int64_t code = 0; code < codes; code += 4) {
        const Words words = philox4x32({static_cast<uint32_t>(code >> 2), static_cast<uint32_t>(position[row]),
                                        static_cast<uint32_t>(image[row / rows]), where.stepAndPurpose},
                                       where.key0, where.key1);
        const int64_t lanes = std::min<int64_t>(4, codes - code);
        for (int64_t lane = 0; lane < lanes; ++lane) {
          target[code + lane] = static_cast<float>(exponentialFromBits(words[static_cast<size_t>(lane)]));
        }
      }
    }
  });
  return a.result(out);
}

/** gumbelNoise(images [B], positions L, seed, step, purpose) → [B, L] float64, at code 0. */
napi_value gumbelNoise(Arguments& a) {
  const at::Tensor images = indices(a, 0, 1);
  const int64_t length = a.integer(1);
  const Address where = address(a, 2);
  if (length < 0) throw std::runtime_error("the number of positions must not be negative");
  at::Tensor out = at::empty({images.size(0), length}, at::TensorOptions().dtype(at::kDouble));
  const int64_t* image = images.data_ptr<int64_t>();
  double* values = out.data_ptr<double>();
  for (int64_t b = 0; b < images.size(0); ++b) {
    for (int64_t position = 0; position < length; ++position) {
      const Words words = philox4x32({0, static_cast<uint32_t>(position), static_cast<uint32_t>(image[b]),
                                      where.stepAndPurpose},
                                     where.key0, where.key1);
      *values++ = gumbelFromBits(words[0]);
    }
  }
  return a.result(out);
}

}  // namespace

const CoreEntry kNoiseFunctions[] = {
    {"exponentialNoise", exponentialNoise},
    {"gumbelNoise", gumbelNoise},
    {nullptr, nullptr},
};

}  // namespace tessera
