// What the kernels of generation share: sums across a vector in one fixed order, and e^x of eight values. Only for
// processors with AVX2 and FMA; whoever includes this asks hasAvx2() first.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define TESSERA_ROWS 1
#include <immintrin.h>

#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#define TESSERA_AVX2 __attribute__((target("avx2,fma")))

namespace tessera {

inline bool hasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}

/** Float32 on the CPU, without a gradient to record; not under autocast, which would have chosen another type. */
inline bool isPlain(const at::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == at::kFloat && !(c10::GradMode::is_enabled() && x.requires_grad()) &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

/** The sums of four vectors. Each is added up in the same order, whatever the others are. */
TESSERA_AVX2 inline __m128 sumsOf(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}

/** The sum of one, to the same bits. */
TESSERA_AVX2 inline float sumOf(__m256 v) {
  const __m256 none = _mm256_setzero_ps();
  return _mm_cvtss_f32(sumsOf(v, none, none, none));
}

/** e^x within 2 units in the last place (the polynomial of Cephes' expf); 0 below -87.3, NaN of NaN. */
TESSERA_AVX2 inline __m256 expOf(__m256 x) {
  const __m256 lowest = _mm256_set1_ps(-87.33654f);
  const __m256 seen = _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ);
  x = _mm256_max_ps(lowest, _mm256_min_ps(_mm256_set1_ps(88.3762589f), x));  // the second operand where one is NaN
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.9875691500e-4f);
#pragma GCC unroll 5
  for (const float next : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(next));
  }
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1)));
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_and_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(power)), seen);
}

}  // namespace tessera
#endif
