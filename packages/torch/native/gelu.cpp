// GELU over its own operand, where no gradient is wanted: one pass with one e^x an entry. libtorch's takes its erf and
// tanh from a library of vector functions, which is three times the time.
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core.h"
#include "rows_vector.h"

namespace tessera {
namespace {

#ifdef TESSERA_ROWS
/** Entries that are worth a thread; a multiple of 8. */
constexpr int64_t kEntriesAThread = 32768;

/** x / (1 + e^(-2u)), which is x (1 + tanh u) / 2, u = √(2/π) (x + 0.044715 x³). */
TESSERA_AVX2 inline __m256 geluByTanh(__m256 x) {
  const __m256 cubed = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
  const __m256 inner = _mm256_fmadd_ps(_mm256_set1_ps(0.044715f), cubed, x);
  const __m256 smaller = expOf(_mm256_mul_ps(_mm256_set1_ps(-1.5957691216057308f), inner));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), smaller));
}

/** x Φ(x) by erfc within 1.2e-7 of its value (Press et al., Numerical Recipes, section 6.2: a Chebyshev fit). */
TESSERA_AVX2 inline __m256 geluByErf(__m256 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1), half = _mm256_set1_ps(0.5f);
  const __m256 z = _mm256_mul_ps(_mm256_andnot_ps(sign, x), _mm256_set1_ps(0.70710678118654752f));
  const __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(half, z, one));
  __m256 p = _mm256_set1_ps(0.17087277f);
#pragma GCC unroll 8
  for (const float next : {-0.82215223f, 1.48851587f, -1.13520398f, 0.27886807f, -0.18628806f, 0.09678418f, 0.37409196f}) {
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(next));
  }
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(1.00002368f));
  p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-1.26551223f));
  const __m256 tail = _mm256_mul_ps(_mm256_mul_ps(half, t), expOf(_mm256_fnmadd_ps(z, z, p)));  // erfc(z) / 2
  // Φ(x) = 1 - tail for x >= 0, tail below.
  return _mm256_mul_ps(x, _mm256_blendv_ps(_mm256_sub_ps(one, tail), tail, x));
}

TESSERA_AVX2 void geluEight(float* at, bool tanh) {
  const __m256 x = _mm256_loadu_ps(at);
  _mm256_storeu_ps(at, tanh ? geluByTanh(x) : geluByErf(x));
}

/** Entries [begin, end); the last few go the way of the others: an entry's bits do not depend on its place. */
TESSERA_AVX2 void geluSpan(float* begin, float* end, bool tanh) {
  for (; begin + 8 <= end; begin += 8) geluEight(begin, tanh);
  if (begin == end) return;
  float last[8] = {};
  std::copy(begin, end, last);
  geluEight(last, tanh);
  std::copy(last, last + (end - begin), begin);
}
#endif

/** geluInPlace(x, whether by tanh) → whether it was done here: float32 on the CPU, dense, without a gradient to record. */
napi_value geluInPlace(Arguments& a) {
  at::Tensor& x = a.written(0);
  const bool tanh = a.boolean(1);
#ifdef TESSERA_ROWS
  if (hasAvx2() && x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous() &&
      !(c10::GradMode::is_enabled() && x.requires_grad())) {
    float* values = x.data_ptr<float>();
    at::parallel_for(0, x.numel(), kEntriesAThread,
                     [&](int64_t begin, int64_t end) { geluSpan(values + begin, values + end, tanh); });
    x.unsafeGetTensorImpl()->bump_version();  // autograd may have kept it
    return a.result(true);
  }
#endif
  (void)x, (void)tanh;
  return a.result(false);
}

}  // namespace

const CoreEntry kGeluFunctions[] = {
    {"geluInPlace", geluInPlace},
    {nullptr, nullptr},
};

}  // namespace tessera
