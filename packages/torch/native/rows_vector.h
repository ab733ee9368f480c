// What the kernels of generation share: which tensors they take, and sums across vectors of eight in one fixed order. Whoever
// includes this asks hasAvx2() first.
#pragma once

#include "lanes.h"

#ifdef TESSERA_ROWS
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

namespace tessera {

using lanes8::expOf;
using lanes8::sumOf;

/** Float32 on the CPU, without a gradient to record; not under autocast, which would have chosen another type. */
inline bool isPlain(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && !(c10::GradMode::is_enabled() && x.requires_grad()) &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

/** The sums of four vectors, each to the bits of sumOf. */
TESSERA_AVX2 inline __m128 sumsOf(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

}  // namespace tessera
#endif
