// Attention of one new position a row over what its cache holds, as generation has it: reads each key and value once,
// where the general kernel is made for many queries. Rows may have come differently far. Sums are added up in the same
// order whatever the number of rows or threads, so a row's result is the same bits in any batch.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core.h"
#include "rows_vector.h"

namespace tessera {
namespace {

#ifdef TESSERA_ROWS

/** q · key, still spread over a vector. */
template <int Parts>
TESSERA_AVX2 inline __m256 spreadDot(const __m256 (&query)[Parts], const float* key) {
  __m256 even = _mm256_mul_ps(query[0], _mm256_loadu_ps(key));
  __m256 odd = _mm256_setzero_ps();
#pragma GCC unroll 8
  for (int i = 1; i < Parts; ++i) {
    __m256& sum = i % 2 == 0 ? even : odd;
    sum = _mm256_fmadd_ps(query[i], _mm256_loadu_ps(key + 8 * i), sum);
  }
  return _mm256_add_ps(even, odd);
}

/** One query [Width] over `length` keys and values of consecutive rows; `scores` has room for paddedTo8(length). */
template <int Width>
TESSERA_AVX2 void attendOne(const float* query, const float* keys, const float* values, float* out, float* scores,
                            int64_t length, float scale) {
  constexpr int kParts = Width / 8;
  __m256 parts[kParts];
#pragma GCC unroll 8
  for (int i = 0; i < kParts; ++i) parts[i] = _mm256_loadu_ps(query + 8 * i);
  const __m128 scales = _mm_set1_ps(scale);
  int64_t s = 0;
  for (; s + 4 <= length; s += 4) {
    const float* key = keys + s * Width;
    const __m128 four = sumsOf(spreadDot(parts, key), spreadDot(parts, key + Width), spreadDot(parts, key + 2 * Width),
                               spreadDot(parts, key + 3 * Width));
    _mm_storeu_ps(scores + s, _mm_mul_ps(four, scales));
  }
  for (; s < length; ++s) scores[s] = scale * sumOf(spreadDot(parts, keys + s * Width));
  for (; s % 8 != 0; ++s) scores[s] = -INFINITY;
  const int64_t padded = s;

  __m256 tops = _mm256_loadu_ps(scores);
  for (s = 8; s < padded; s += 8) tops = _mm256_max_ps(tops, _mm256_loadu_ps(scores + s));
  float lanes[8];
  _mm256_storeu_ps(lanes, tops);
  const __m256 largest = _mm256_set1_ps(*std::max_element(lanes, lanes + 8));
  __m256 totals = _mm256_setzero_ps();
  for (s = 0; s < padded; s += 8) {
    const __m256 weights = expOf(_mm256_sub_ps(_mm256_loadu_ps(scores + s), largest));
    totals = _mm256_add_ps(totals, weights);
    _mm256_storeu_ps(scores + s, weights);
  }

#pragma GCC unroll 8
  for (int i = 0; i < kParts; ++i) parts[i] = _mm256_setzero_ps();
  for (s = 0; s < length; ++s) {
    const __m256 weight = _mm256_set1_ps(scores[s]);
    const float* value = values + s * Width;
#pragma GCC unroll 8
    for (int i = 0; i < kParts; ++i) parts[i] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(value + 8 * i), parts[i]);
  }
  const __m256 inverse = _mm256_set1_ps(1 / sumOf(totals));
#pragma GCC unroll 8
  for (int i = 0; i < kParts; ++i) _mm256_storeu_ps(out + 8 * i, _mm256_mul_ps(parts[i], inverse));
}

int64_t paddedTo8(int64_t length) { return (length + 7) / 8 * 8; }

using AttendOne = void (*)(const float*, const float*, const float*, float*, float*, int64_t, float);

/** The widths of the published heads that registers hold; none for others. */
AttendOne kernelOf(int64_t width) {
  switch (width) {
    case 16: return attendOne<16>;
    case 32: return attendOne<32>;
    case 40: return attendOne<40>;
    case 64: return attendOne<64>;
    default: return nullptr;
  }
}
#endif

bool rowsLieTogether(const at::Tensor& cache) {
  return cache.stride(3) == 1 && cache.stride(2) == cache.size(3);
}

/**
 * attendRows(query [R, Hkv, G, K], keys and values [R, Hkv, S, K], lengths [R] int64 or nothing) → [R, Hkv, G, K]:
 * softmax(q k / sqrt(K)) v over the first `length` positions of each row, over all S without lengths.
 */
napi_value attendRows(Arguments& a) {
  const at::Tensor& query = a.tensor(0);
  const at::Tensor& keys = a.tensor(1);
  const at::Tensor& values = a.tensor(2);
  const std::optional<at::Tensor> lengths = a.optionalTensor(3);
  if (query.dim() != 4 || keys.dim() != 4 || keys.sizes() != values.sizes() || query.size(0) != keys.size(0) ||
      query.size(1) != keys.size(1) || query.size(3) != keys.size(3) || keys.size(2) < 1) {
    throw std::runtime_error("expected a query [R, Hkv, G, K] with keys and values [R, Hkv, S, K]");
  }
  const int64_t rows = query.size(0);
  const int64_t most = keys.size(2);
  if (lengths.has_value()) {
    const at::Tensor& given = *lengths;
    if (given.scalar_type() != at::kLong || given.dim() != 1 || given.size(0) != rows) {
      throw std::runtime_error("expected lengths [R] int64");
    }
    if (given.is_cpu() && rows > 0 && (given.min().item<int64_t>() < 1 || given.max().item<int64_t>() > most)) {
      throw std::runtime_error("expected lengths from 1 to " + std::to_string(most));
    }
  }
#ifdef TESSERA_ROWS
  const AttendOne kernel = kernelOf(query.size(3));
  const bool plain = isPlain(query) && isPlain(keys) && isPlain(values) && rowsLieTogether(keys) &&
                     rowsLieTogether(values) && (!lengths.has_value() || lengths->is_cpu());
  if (hasAvx2() && kernel != nullptr && plain) {
    const at::Tensor queries = query.contiguous();
    const at::Tensor counts = lengths.has_value() ? lengths->contiguous() : at::Tensor();
    const int64_t heads = query.size(1);
    const int64_t groups = query.size(2);
    const int64_t width = query.size(3);
    at::Tensor out = at::empty(query.sizes(), query.options());
    const float scale = 1 / std::sqrt(static_cast<float>(width));
    at::parallel_for(0, rows * heads, 4, [&](int64_t begin, int64_t end) {
      std::vector<float> scores(static_cast<size_t>(paddedTo8(most)));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = i / heads;
        const int64_t head = i % heads;
        const int64_t length = counts.defined() ? counts.const_data_ptr<int64_t>()[row] : most;
        const float* key = keys.const_data_ptr<float>() + row * keys.stride(0) + head * keys.stride(1);
        const float* value = values.const_data_ptr<float>() + row * values.stride(0) + head * values.stride(1);
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t at = (i * groups + g) * width;
          kernel(queries.const_data_ptr<float>() + at, key, value, out.data_ptr<float>() + at, scores.data(), length,
                 scale);
        }
      }
    });
    return a.result(out);
  }
#endif
  std::optional<at::Tensor> mask;
  if (lengths.has_value()) {
    mask = at::arange(most, lengths->options()).unsqueeze(0).lt(lengths->unsqueeze(1)).unsqueeze(1).unsqueeze(1);
  }
  return a.result(at::scaled_dot_product_attention(query, keys, values, mask));
}

}  // namespace

const CoreEntry kAttendRowsFunctions[] = {
    {"attendRows", attendRows},
    {nullptr, nullptr},
};

}  // namespace tessera
