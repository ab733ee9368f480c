// What stands between the products of generation: the root-mean-square norm and the rotary turn of the few rows of a step, and
// the modulated norm and the gate of blocks that are conditioned by adaLN (Peebles and Xie, ICCV 2023). Each is a handful of
// operations otherwise, which read and write the rows again and again. A row's result is the same bits in any batch. Where these
// kernels do not reach, nothing is returned and the caller takes the long way.
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "core.h"
#include "rows_vector.h"

namespace tessera {
namespace {

#ifdef TESSERA_ROWS
TESSERA_AVX2 void normRow(const float* x, const float* weight, float* out, int64_t width, float eps) {
  __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const __m256 first = _mm256_loadu_ps(x + i), second = _mm256_loadu_ps(x + i + 8);
    even = _mm256_fmadd_ps(first, first, even);
    odd = _mm256_fmadd_ps(second, second, odd);
  }
  float squares = sumOf(_mm256_add_ps(even, odd));
  for (; i < width; ++i) squares += x[i] * x[i];
  const float scale = 1 / std::sqrt(squares / static_cast<float>(width) + eps);
  const __m256 scales = _mm256_set1_ps(scale);
  for (i = 0; i + 8 <= width; i += 8) {
    const __m256 normed = _mm256_mul_ps(_mm256_loadu_ps(x + i), scales);
    _mm256_storeu_ps(out + i, _mm256_mul_ps(normed, _mm256_loadu_ps(weight + i)));
  }
  for (; i < width; ++i) out[i] = x[i] * scale * weight[i];
}

/** Entries that are worth a thread. */
constexpr int64_t kEntriesOfRows = 16384;

/** The sum of (x − mean)², or with mean 0 and `squares` unset of x; in four parts, whatever the neighbours. */
template <bool squares>
TESSERA_AVX2 float sumOfRow(const float* x, float mean, int64_t width) {
  const __m256 means = _mm256_set1_ps(mean);
  __m256 parts[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  int64_t i = 0;
  for (; i + 32 <= width; i += 32) {
#pragma GCC unroll 4
    for (int part = 0; part < 4; ++part) {
      const __m256 value = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8 * part), means);
      parts[part] = squares ? _mm256_fmadd_ps(value, value, parts[part]) : _mm256_add_ps(parts[part], value);
    }
  }
  float sum = sumOf(_mm256_add_ps(_mm256_add_ps(parts[0], parts[1]), _mm256_add_ps(parts[2], parts[3])));
  for (; i < width; ++i) sum += squares ? (x[i] - mean) * (x[i] - mean) : x[i];
  return sum;
}

/** out = shift + (x − mean) / deviation · (1 + scale). */
TESSERA_AVX2 void modulateRow(const float* x, const float* shift, const float* scale, float* out, int64_t width, float eps) {
  const float mean = sumOfRow<false>(x, 0, width) / static_cast<float>(width);
  const float factor = 1 / std::sqrt(sumOfRow<true>(x, mean, width) / static_cast<float>(width) + eps);
  const __m256 means = _mm256_set1_ps(mean), factors = _mm256_set1_ps(factor), one = _mm256_set1_ps(1);
  int64_t i = 0;
  for (; i + 8 <= width; i += 8) {
    const __m256 normed = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), means), factors);
    const __m256 scaled = _mm256_mul_ps(normed, _mm256_add_ps(_mm256_loadu_ps(scale + i), one));
    _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_loadu_ps(shift + i), scaled));
  }
  for (; i < width; ++i) out[i] = shift[i] + (x[i] - mean) * factor * (scale[i] + 1);
}

/** y = x + gate · y, two roundings. */
TESSERA_AVX2 void gateRow(const float* x, const float* gate, float* y, int64_t width) {
  int64_t i = 0;
  for (; i + 8 <= width; i += 8) {
    const __m256 gated = _mm256_mul_ps(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(y + i));
    _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(x + i), gated));
  }
  for (; i < width; ++i) y[i] = x[i] + gate[i] * y[i];
}

/** Whether `part` is [B, 1, D] beside rows [B, N, D], each of its rows dense. */
bool isOfSamples(const at::Tensor& part, const at::Tensor& rows) {
  return isPlain(part) && part.dim() == 3 && part.size(0) == rows.size(0) && part.size(1) == 1 &&
         part.size(2) == rows.size(2) && part.stride(2) == 1;
}

/** Calls run(row, sample) for all rows of [B, N, D], on as many threads as pay. */
template <typename Run>
void forRows(const at::Tensor& rows, const Run& run) {
  const int64_t count = rows.size(1), width = rows.size(2);
  const int64_t grain = std::max<int64_t>(1, kEntriesOfRows / std::max<int64_t>(1, width));
  at::parallel_for(0, rows.size(0) * count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) run(row * width, row / count);
  });
}

/** Pairs of neighbours: (a, b) → (a cos − b sin, b cos + a sin), the sign in the table. */
TESSERA_AVX2 void turnHead(const float* x, const float* cos, const float* sin, float* out, int64_t width) {
  for (int64_t i = 0; i < width; i += 8) {
    const __m256 pairs = _mm256_loadu_ps(x + i);
    const __m256 swapped = _mm256_permute_ps(pairs, 0b10110001);
    const __m256 along = _mm256_mul_ps(pairs, _mm256_loadu_ps(cos + i));
    _mm256_storeu_ps(out + i, _mm256_add_ps(along, _mm256_mul_ps(swapped, _mm256_loadu_ps(sin + i))));
  }
}
#endif

/** normRows(x [..., D], weight [D], eps) → x / sqrt(mean(x²) + eps) · weight, or nothing. */
napi_value normRows(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& weight = a.tensor(1);
  const float eps = static_cast<float>(a.real(2));
  if (x.dim() < 1 || weight.dim() != 1 || x.size(-1) != weight.size(0)) {
    throw std::runtime_error("expected x [..., D] and a weight [D]");
  }
#ifdef TESSERA_ROWS
  if (hasAvx2() && isPlain(x) && isPlain(weight) && x.is_contiguous() && weight.is_contiguous()) {
    const int64_t width = x.size(-1);
    at::Tensor out = at::empty(x.sizes(), x.options());
    const float* from = x.const_data_ptr<float>();
    float* to = out.data_ptr<float>();
    for (int64_t at = 0; at < x.numel(); at += width) {
      normRow(from + at, weight.const_data_ptr<float>(), to + at, width, eps);
    }
    return a.result(out);
  }
#endif
  (void)eps;
  return a.nothing();
}

/** modulateRows(x [B, N, D], shift [B, 1, D], scale [B, 1, D], eps) → shift + LN(x) · (1 + scale), or nothing. */
napi_value modulateRows(Arguments& a) {
#ifdef TESSERA_ROWS
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& shift = a.tensor(1);
  const at::Tensor& scale = a.tensor(2);
  const float eps = static_cast<float>(a.real(3));
  if (hasAvx2() && isPlain(x) && x.dim() == 3 && x.is_contiguous() && isOfSamples(shift, x) && isOfSamples(scale, x)) {
    at::Tensor out = at::empty(x.sizes(), x.options());
    const float* from = x.const_data_ptr<float>();
    float* to = out.data_ptr<float>();
    forRows(x, [&](int64_t at, int64_t sample) {
      modulateRow(from + at, shift.const_data_ptr<float>() + sample * shift.stride(0),
                  scale.const_data_ptr<float>() + sample * scale.stride(0), to + at, x.size(2), eps);
    });
    return a.result(out);
  }
#endif
  return a.nothing();
}

/** gateRows(x [B, N, D], gate [B, 1, D], y [B, N, D]): y = x + gate · y in place → whether it was done here. */
napi_value gateRows(Arguments& a) {
  at::Tensor& y = a.written(2);
#ifdef TESSERA_ROWS
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& gate = a.tensor(1);
  if (hasAvx2() && isPlain(x) && isPlain(y) && x.dim() == 3 && x.sizes() == y.sizes() && x.is_contiguous() &&
      y.is_contiguous() && isOfSamples(gate, x)) {
    const float* from = x.const_data_ptr<float>();
    float* to = y.data_ptr<float>();
    forRows(x, [&](int64_t at, int64_t sample) {
      gateRow(from + at, gate.const_data_ptr<float>() + sample * gate.stride(0), to + at, x.size(2));
    });
    y.unsafeGetTensorImpl()->bump_version();  // autograd may have kept it
    return a.result(true);
  }
#endif
  (void)y;
  return a.result(false);
}

/** turnRows(x [B, S, H, K], cos and sin [S, K] or [B, 1, 1, K]) → [B, S, H, K], or nothing. */
napi_value turnRows(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& cos = a.tensor(1);
  const at::Tensor& sin = a.tensor(2);
#ifdef TESSERA_ROWS
  if (hasAvx2() && isPlain(x) && x.dim() == 4 && x.size(3) % 8 == 0 && x.stride(3) == 1 && x.stride(2) == x.size(3) &&
      isPlain(cos) && isPlain(sin) && cos.is_contiguous() && sin.is_contiguous() && cos.sizes() == sin.sizes()) {
    const int64_t batch = x.size(0), positions = x.size(1), heads = x.size(2), width = x.size(3);
    const bool bySequence = cos.sizes() == at::IntArrayRef({batch, 1, 1, width});
    if (bySequence || cos.sizes() == at::IntArrayRef({positions, width})) {
      at::Tensor out = at::empty(x.sizes(), x.options());
      const float* from = x.const_data_ptr<float>();
      float* to = out.data_ptr<float>();
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t s = 0; s < positions; ++s) {
          const int64_t row = (bySequence ? b : s) * width;
          for (int64_t h = 0; h < heads; ++h) {
            turnHead(from + b * x.stride(0) + s * x.stride(1) + h * width, cos.const_data_ptr<float>() + row,
                     sin.const_data_ptr<float>() + row, to, width);
            to += width;
          }
        }
      }
      return a.result(out);
    }
  }
#endif
  (void)x, (void)cos, (void)sin;
  return a.nothing();
}

}  // namespace

const CoreEntry kNormRowsFunctions[] = {
    {"normRows", normRows},
    {"modulateRows", modulateRows},
    {"gateRows", gateRows},
    {"turnRows", turnRows},
    {nullptr, nullptr},
};

}  // namespace tessera
