// Exp(1) noise to a part in a thousand, eight codes at a time in float32: enough to tell which codes a draw can fall on
// (draw_rows.cpp). The words are those of noise_arithmetic.h, their logarithm is not.
#pragma once

#include "noise_arithmetic.h"
#include "rows_vector.h"

#ifdef TESSERA_ROWS
namespace tessera {

/** log(u) of normal u > 0 within 2e-7 and, near 1, within 2e-7 of its value (the polynomial of Cephes' logf). */
TESSERA_AVX2 inline __m256 roughLog(__m256 u) {
  const __m256 one = _mm256_set1_ps(1);
  const __m256i bits = _mm256_castps_si256(u);
  // The mantissa in [√½, √2): the exponent is that of u / √½.
  const __m256i shifted = _mm256_sub_epi32(bits, _mm256_set1_epi32(0x3F3504F3));
  const __m256 exponent = _mm256_cvtepi32_ps(_mm256_srai_epi32(shifted, 23));
  const __m256i mantissa = _mm256_sub_epi32(bits, _mm256_and_si256(shifted, _mm256_set1_epi32(static_cast<int>(0xFF800000u))));
  const __m256 x = _mm256_sub_ps(_mm256_castsi256_ps(mantissa), one);
  __m256 p = _mm256_set1_ps(7.0376836292e-2f);
#pragma GCC unroll 8
  for (const float next : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                           2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f}) {
    p = _mm256_fmadd_ps(p, x, _mm256_set1_ps(next));
  }
  const __m256 squared = _mm256_mul_ps(x, x);
  p = _mm256_fmadd_ps(_mm256_mul_ps(squared, x), p, _mm256_fnmadd_ps(_mm256_set1_ps(0.5f), squared, x));
  return _mm256_fmadd_ps(exponent, _mm256_set1_ps(0.69314718056f), p);
}

/** word + 0.5, rounded: two halves, since only signed words convert. */
TESSERA_AVX2 inline __m256 middleOf(__m256i words) {
  const __m256 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(words, 16));
  const __m256 low = _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32(0xFFFF)));
  return _mm256_fmadd_ps(high, _mm256_set1_ps(65536), _mm256_add_ps(low, _mm256_set1_ps(0.5f)));
}

/** -log((word + 0.5) / 2^32) within 5e-4 of its value. */
TESSERA_AVX2 inline __m256 roughExponential(__m256i words) {
  const __m256 unit = _mm256_set1_ps(1.0f / 4294967296.0f);
  const __m256 u = _mm256_mul_ps(middleOf(words), unit);
  // Near 1 the difference from it, which u has rounded away, is the value: -log(1 - v) = v + v²/2 + …
  const __m256 v = _mm256_mul_ps(middleOf(_mm256_xor_si256(words, _mm256_set1_epi32(-1))), unit);
  const __m256 far = _mm256_sub_ps(_mm256_setzero_ps(), roughLog(u));
  return _mm256_blendv_ps(far, v, _mm256_cmp_ps(v, _mm256_set1_ps(2.4e-4f), _CMP_LT_OQ));
}

/** Rough noise of codes 0, 1, …, in blocks of 32: eight counters of the generator side by side. */
TESSERA_AVX2 inline void roughNoise(float* out, int64_t codes, uint32_t position, uint32_t image, const NoiseAddress& where) {
  const __m256i multiplier0 = _mm256_set1_epi32(static_cast<int>(0xD2511F53u));
  const __m256i multiplier1 = _mm256_set1_epi32(static_cast<int>(0xCD9E8D57u));
  // High and low words of eight products: of the even lanes as they stand, of the odd ones after a shift.
  const auto multiply = [](__m256i a, __m256i b, __m256i& high, __m256i& low) TESSERA_AVX2 {
    const __m256i even = _mm256_mul_epu32(a, b);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), b);
    high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0b10101010);
    low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0b10101010);
  };
  for (int64_t code = 0; code < codes; code += 32) {
    __m256i c0 = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(code >> 2)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    __m256i c1 = _mm256_set1_epi32(static_cast<int>(position));
    __m256i c2 = _mm256_set1_epi32(static_cast<int>(image));
    __m256i c3 = _mm256_set1_epi32(static_cast<int>(where.stepAndPurpose));
    uint32_t key0 = where.key0, key1 = where.key1;
    for (int round = 0; round < 10; ++round) {
      __m256i high0, low0, high1, low1;
      multiply(c0, multiplier0, high0, low0);
      multiply(c2, multiplier1, high1, low1);
      c0 = _mm256_xor_si256(_mm256_xor_si256(high1, c1), _mm256_set1_epi32(static_cast<int>(key0)));
      c2 = _mm256_xor_si256(_mm256_xor_si256(high0, c3), _mm256_set1_epi32(static_cast<int>(key1)));
      c1 = low1;
      c3 = low0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    // A vector holds one word of eight counters; codes lie word by word of one counter.
    const __m256 e0 = roughExponential(c0), e1 = roughExponential(c1), e2 = roughExponential(c2), e3 = roughExponential(c3);
    const __m256 t0 = _mm256_unpacklo_ps(e0, e1), t1 = _mm256_unpackhi_ps(e0, e1);
    const __m256 t2 = _mm256_unpacklo_ps(e2, e3), t3 = _mm256_unpackhi_ps(e2, e3);
    const __m256 r0 = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(t0), _mm256_castps_pd(t2)));  // counters 0, 4
    const __m256 r1 = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(t0), _mm256_castps_pd(t2)));  // 1, 5
    const __m256 r2 = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(t1), _mm256_castps_pd(t3)));  // 2, 6
    const __m256 r3 = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(t1), _mm256_castps_pd(t3)));  // 3, 7
    _mm256_storeu_ps(out + code, _mm256_permute2f128_ps(r0, r1, 0x20));
    _mm256_storeu_ps(out + code + 8, _mm256_permute2f128_ps(r2, r3, 0x20));
    _mm256_storeu_ps(out + code + 16, _mm256_permute2f128_ps(r0, r1, 0x31));
    _mm256_storeu_ps(out + code + 24, _mm256_permute2f128_ps(r2, r3, 0x31));
  }
}

}  // namespace tessera
#endif
