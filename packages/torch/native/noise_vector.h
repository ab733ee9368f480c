// Exp(1) noise sixteen codes at a time on processors with AVX2: four counters of the generator side by side. Each
// operation is the one of noise_arithmetic.h, correctly rounded and in the same order, so the bits are the same.
#pragma once

#include <cstdint>

#include "noise_arithmetic.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define TESSERA_NOISE_AVX2 __attribute__((target("avx2")))  // not fma: products and sums are rounded apart
#include <immintrin.h>
#endif

namespace tessera {

#ifdef TESSERA_NOISE_AVX2

/** -log((word + 0.5) / 2^32) of four words, each in the low half of a lane. */
TESSERA_NOISE_AVX2 inline __m128 exponentialLanes(__m256i words) {
  const __m256d two52 = _mm256_set1_pd(4503599627370496.0);
  const __m256i two52Bits = _mm256_castpd_si256(two52);
  const __m256d word = _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(words, two52Bits)), two52);  // exact
  const __m256d x = _mm256_mul_pd(_mm256_add_pd(word, _mm256_set1_pd(0.5)), _mm256_set1_pd(1.0 / 4294967296.0));
  // portableLog
  const __m256i bits = _mm256_castpd_si256(x);
  __m256d k = _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(_mm256_srli_epi64(bits, 52), two52Bits)),
                            _mm256_set1_pd(4503599627370496.0 + 1023));
  const __m256i mantissa = _mm256_and_si256(bits, _mm256_set1_epi64x(0x000FFFFFFFFFFFFFll));
  __m256d m = _mm256_castsi256_pd(_mm256_or_si256(mantissa, _mm256_set1_epi64x(0x3FF0000000000000ll)));
  const __m256d one = _mm256_set1_pd(1.0);
  const __m256d high = _mm256_cmp_pd(m, _mm256_set1_pd(1.4142135623730951), _CMP_GE_OQ);
  m = _mm256_blendv_pd(m, _mm256_mul_pd(m, _mm256_set1_pd(0.5)), high);
  k = _mm256_add_pd(k, _mm256_and_pd(high, one));
  const __m256d s = _mm256_div_pd(_mm256_sub_pd(m, one), _mm256_add_pd(m, one));
  const __m256d z = _mm256_mul_pd(s, s);
  constexpr double kSeries[] = {1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3};
  __m256d p = _mm256_set1_pd(1.0 / 21.0);
  for (const double term : kSeries) p = _mm256_add_pd(_mm256_mul_pd(p, z), _mm256_set1_pd(term));
  const __m256d twice = _mm256_add_pd(s, s);
  const __m256d logM = _mm256_add_pd(twice, _mm256_mul_pd(twice, _mm256_mul_pd(z, p)));
  const __m256d low = _mm256_add_pd(_mm256_mul_pd(k, _mm256_set1_pd(1.9082149292705877e-10)), logM);
  const __m256d log = _mm256_add_pd(_mm256_mul_pd(k, _mm256_set1_pd(0.6931471803691238)), low);
  return _mm256_cvtpd_ps(_mm256_xor_pd(log, _mm256_set1_pd(-0.0)));
}

TESSERA_NOISE_AVX2 inline int64_t exponentialBlocksAvx2(float* out, int64_t codes, int64_t position, int64_t image,
                                                        const NoiseAddress& where) {
  const auto wide = [](uint32_t value) { return static_cast<long long>(value); };
  const __m256i low32 = _mm256_set1_epi64x(0xFFFFFFFFll);
  int64_t code = 0;
  for (; code + 16 <= codes; code += 16) {
    // A lane a counter; only the low halves of lanes count until the end.
    __m256i c0 = _mm256_add_epi64(_mm256_set1_epi64x(wide(static_cast<uint32_t>(code >> 2))), _mm256_setr_epi64x(0, 1, 2, 3));
    __m256i c1 = _mm256_set1_epi64x(wide(static_cast<uint32_t>(position)));
    __m256i c2 = _mm256_set1_epi64x(wide(static_cast<uint32_t>(image)));
    __m256i c3 = _mm256_set1_epi64x(wide(where.stepAndPurpose));
    uint32_t key0 = where.key0, key1 = where.key1;
    for (int round = 0; round < 10; ++round) {
      const __m256i product0 = _mm256_mul_epu32(c0, _mm256_set1_epi64x(0xD2511F53ll));
      const __m256i product1 = _mm256_mul_epu32(c2, _mm256_set1_epi64x(0xCD9E8D57ll));
      c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), c1), _mm256_set1_epi64x(wide(key0)));
      c1 = product1;
      c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), c3), _mm256_set1_epi64x(wide(key1)));
      c3 = product0;
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    __m128 w0 = exponentialLanes(_mm256_and_si256(c0, low32));
    __m128 w1 = exponentialLanes(_mm256_and_si256(c1, low32));
    __m128 w2 = exponentialLanes(_mm256_and_si256(c2, low32));
    __m128 w3 = exponentialLanes(_mm256_and_si256(c3, low32));
    _MM_TRANSPOSE4_PS(w0, w1, w2, w3);  // from a word of all counters to all words of a counter
    _mm_storeu_ps(out + code, w0);
    _mm_storeu_ps(out + code + 4, w1);
    _mm_storeu_ps(out + code + 8, w2);
    _mm_storeu_ps(out + code + 12, w3);
  }
  return code;
}
#endif

/** Fills whole blocks of codes from 0 on, where the processor can, and says how many codes that was. */
inline int64_t exponentialBlocks(float* out, int64_t codes, int64_t position, int64_t image, const NoiseAddress& where) {
#ifdef TESSERA_NOISE_AVX2
  static const bool capable = __builtin_cpu_supports("avx2");
  if (capable) return exponentialBlocksAvx2(out, codes, position, image, where);
#endif
  (void)out, (void)codes, (void)position, (void)image, (void)where;
  return 0;
}

}  // namespace tessera
