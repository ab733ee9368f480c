// The arithmetic of the noise, once for the CPU (noise.cpp) and once for CUDA (noise_cuda.cu): Philox4x32-10, a portable
// logarithm, and what is made of them. packages/schedule/src/{philox,portable-math,noise}.ts hold the layout, the sources
// and the error bounds. Every operation here is one correctly rounded float64 operation on either side, so both compile it
// without fused multiply-add (-ffp-contract=off, -fmad=false) and give the same bits.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define TESSERA_BOTH __host__ __device__ inline
#else
#define TESSERA_BOTH inline
#endif

namespace tessera {

struct Words {
  uint32_t at[4];
};

/** Key of the generator and the counter's fourth word: seed, step and purpose. */
struct NoiseAddress {
  uint32_t key0;
  uint32_t key1;
  uint32_t stepAndPurpose;
};

TESSERA_BOTH Words philox4x32(Words counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter.at[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter.at[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.at[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.at[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

/** Natural logarithm of a positive, finite, normal double: see portable-math.ts for the series. */
TESSERA_BOTH double portableLog(double x) {
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

TESSERA_BOTH double exponentialFromBits(uint32_t word) { return -portableLog((word + 0.5) / 4294967296.0); }
TESSERA_BOTH double gumbelFromBits(uint32_t word) { return -portableLog(exponentialFromBits(word)); }

/** Four neighbouring codes of one position. */
TESSERA_BOTH Words noiseWords(int64_t code, int64_t position, int64_t image, const NoiseAddress& where) {
  return philox4x32({{static_cast<uint32_t>(code >> 2), static_cast<uint32_t>(position), static_cast<uint32_t>(image),
                      where.stepAndPurpose}},
                    where.key0, where.key1);
}

}  // namespace tessera
