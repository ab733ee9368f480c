// Linear maps of few rows: generation multiplies a handful of rows with every weight at each step, so what costs is
// reading the weights. A general matrix product packs them first and gains nothing by it; here each weight is read once,
// in order, fetched ahead, and used for four rows of the input at a time while it lies in the nearest cache.
//
// An output is one dot product, added up in the same order whatever the number of rows, threads or neighbours: a row's
// result is the same bits in any batch. Weights may be int8 with one scale an output: a quarter of the bytes.
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define TESSERA_STREAMS 1
#include <immintrin.h>
#endif

#include "core.h"

namespace tessera {
namespace {

/** From here on libtorch's product is faster. */
constexpr int64_t kMostRows = 16;

#ifdef TESSERA_STREAMS
#define TESSERA_AVX2 __attribute__((target("avx2,fma")))

constexpr int64_t kTile = 3;   // outputs computed together; with 4 rows they fill the 16 registers
constexpr int64_t kAhead = 2;  // tiles fetched ahead

bool hasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

TESSERA_AVX2 inline float sumOf(__m256 v) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

/** What of a tile's rows comes after, to be fetched meanwhile: `bytes` a step of one input channel. */
struct Fetch {
  const char* from;
  int64_t bytes;
};

/** out[m, n] = x[m] · w[n] for Rows rows of x and Outputs rows of w, all of length k. */
template <int Rows, int Outputs>
TESSERA_AVX2 void dotTile(const float* x, const float* w, float* out, int64_t k, int64_t outStride, Fetch fetch) {
  // Unrolled by command: only then do the sums live in registers.
  __m256 sums[Rows][Outputs];
#pragma GCC unroll 4
  for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < Outputs; ++n) sums[m][n] = _mm256_setzero_ps();
  }
  int64_t at = 0;
  for (; at + 8 <= k; at += 8) {
    __m256 weights[Outputs];
#pragma GCC unroll 4
    for (int n = 0; n < Outputs; ++n) weights[n] = _mm256_loadu_ps(w + n * k + at);
    if (fetch.from != nullptr) {
      const char* line = fetch.from + at * fetch.bytes;
      _mm_prefetch(line, _MM_HINT_T1);
      if (fetch.bytes > 8) _mm_prefetch(line + 64, _MM_HINT_T1);  // 8 channels are more than a line
    }
#pragma GCC unroll 4
    for (int m = 0; m < Rows; ++m) {
      const __m256 input = _mm256_loadu_ps(x + m * k + at);
#pragma GCC unroll 4
      for (int n = 0; n < Outputs; ++n) sums[m][n] = _mm256_fmadd_ps(input, weights[n], sums[m][n]);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < Rows; ++m) {
#pragma GCC unroll 4
    for (int n = 0; n < Outputs; ++n) {
      float sum = sumOf(sums[m][n]);
      for (int64_t rest = at; rest < k; ++rest) sum += x[m * k + rest] * w[n * k + rest];
      out[m * outStride + n] = sum;
    }
  }
}

template <int Outputs>
void dotRows(const float* x, const float* w, float* out, int64_t rows, int64_t k, int64_t outStride, const char* next,
             int64_t nextBytes) {
  const int64_t passes = (rows + 3) / 4;
  int64_t pass = 0;
  for (int64_t m = 0; m < rows; ++pass) {
    // Each pass fetches its share of what comes after.
    const Fetch fetch = next == nullptr ? Fetch{nullptr, 0}
                                        : Fetch{next + pass * (nextBytes / passes), nextBytes / passes / k};
    const float* from = x + m * k;
    float* to = out + m * outStride;
    switch (std::min<int64_t>(4, rows - m)) {
      case 4: dotTile<4, Outputs>(from, w, to, k, outStride, fetch); m += 4; break;
      case 3: dotTile<3, Outputs>(from, w, to, k, outStride, fetch); m += 3; break;
      case 2: dotTile<2, Outputs>(from, w, to, k, outStride, fetch); m += 2; break;
      default: dotTile<1, Outputs>(from, w, to, k, outStride, fetch); m += 1; break;
    }
  }
}

void streamFloats(const float* x, const float* w, float* out, int64_t rows, int64_t k, int64_t outputs, int64_t begin,
                  int64_t end) {
  int64_t n = begin;
  for (; n + kTile <= end; n += kTile) {
    const bool more = n + (kAhead + 1) * kTile <= end;
    const char* next = more ? reinterpret_cast<const char*>(w + (n + kAhead * kTile) * k) : nullptr;
    dotRows<kTile>(x, w + n * k, out + n, rows, k, outputs, next, kTile * k * 4);
  }
  for (; n < end; ++n) dotRows<1>(x, w + n * k, out + n, rows, k, outputs, nullptr, 0);
}

/** int8 to float32, n values. */
TESSERA_AVX2 void widen(const int8_t* from, float* to, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
  }
  for (; i < n; ++i) to[i] = from[i];
}

void streamBytes(const float* x, const int8_t* w, const float* scales, float* out, int64_t rows, int64_t k,
                 int64_t outputs, int64_t begin, int64_t end) {
  std::vector<float> wide(static_cast<size_t>(kTile * k));
  for (int64_t n = begin; n < end; n += kTile) {
    const int64_t count = std::min(kTile, end - n);
    widen(w + n * k, wide.data(), count * k);
    if (count == kTile) {
      dotRows<kTile>(x, wide.data(), out + n, rows, k, outputs, nullptr, 0);
    } else {
      for (int64_t i = 0; i < count; ++i) dotRows<1>(x, wide.data() + i * k, out + n + i, rows, k, outputs, nullptr, 0);
    }
    for (int64_t m = 0; m < rows; ++m) {
      for (int64_t i = n; i < n + count; ++i) out[m * outputs + i] *= scales[i];
    }
  }
}
#endif

/** Whether this machine and these tensors can stream. */
bool streams(const at::Tensor& x, const at::Tensor& weight, int64_t rows) {
#ifdef TESSERA_STREAMS
  static const bool capable = hasAvx2();
  return capable && rows >= 1 && rows <= kMostRows && x.is_cpu() && weight.is_cpu() &&
         x.scalar_type() == at::kFloat && weight.is_contiguous() && x.size(-1) >= 8 &&
         !(c10::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad()));
#else
  (void)x, (void)weight, (void)rows;
  return false;
#endif
}

void checkShapes(const at::Tensor& x, const at::Tensor& weight) {
  if (x.dim() < 1 || weight.dim() != 2 || x.size(-1) != weight.size(1)) {
    throw std::runtime_error("expected x [..., in] and a weight [out, in]");
  }
}

at::Tensor emptyOutput(const at::Tensor& x, int64_t outputs) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = outputs;
  return at::empty(shape, x.options());
}

/** linearRows(x [..., in], weight [out, in]) → [..., out]. */
napi_value linearRows(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& weight = a.tensor(1);
  checkShapes(x, weight);
  const int64_t k = x.size(-1);
  const int64_t rows = k == 0 ? 0 : x.numel() / k;
  if (weight.scalar_type() != at::kFloat || !streams(x, weight, rows)) return a.result(at::linear(x, weight));
#ifdef TESSERA_STREAMS
  const at::Tensor input = x.contiguous();
  const int64_t outputs = weight.size(0);
  at::Tensor out = emptyOutput(x, outputs);
  at::parallel_for(0, outputs, 96, [&](int64_t begin, int64_t end) {
    streamFloats(input.const_data_ptr<float>(), weight.const_data_ptr<float>(), out.data_ptr<float>(), rows, k, outputs,
                 begin, end);
  });
  return a.result(out);
#endif
}

/** linearRowsInt8(x [..., in], weight [out, in] int8, scales [out] float32) → [..., out]. */
napi_value linearRowsInt8(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& weight = a.tensor(1);
  const at::Tensor& scales = a.tensor(2);
  checkShapes(x, weight);
  if (weight.scalar_type() != at::kChar || scales.scalar_type() != at::kFloat || scales.dim() != 1 ||
      scales.size(0) != weight.size(0) || !scales.is_contiguous()) {
    throw std::runtime_error("expected an int8 weight [out, in] and float32 scales [out]");
  }
  const int64_t k = x.size(-1);
  const int64_t rows = k == 0 ? 0 : x.numel() / k;
  if (!streams(x, weight, rows)) {
    return a.result(at::linear(x, weight.to(x.scalar_type()).mul(scales.to(x.scalar_type()).unsqueeze(1))));
  }
#ifdef TESSERA_STREAMS
  const at::Tensor input = x.contiguous();
  const int64_t outputs = weight.size(0);
  at::Tensor out = emptyOutput(x, outputs);
  at::parallel_for(0, outputs, 96, [&](int64_t begin, int64_t end) {
    streamBytes(input.const_data_ptr<float>(), weight.const_data_ptr<int8_t>(), scales.const_data_ptr<float>(),
                out.data_ptr<float>(), rows, k, outputs, begin, end);
  });
  return a.result(out);
#endif
}

}  // namespace

const CoreEntry kLinearRowsFunctions[] = {
    {"linearRows", linearRows},
    {"linearRowsInt8", linearRowsInt8},
    {nullptr, nullptr},
};

}  // namespace tessera
