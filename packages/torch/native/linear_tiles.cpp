// Linear maps of some dozens of rows up to a few hundred, as a step of ENAT or of a small batch has them. A general product lays
// the weights out anew at each call, which for so few rows costs as much as a good part of the product. Here the rows are laid
// out instead, and each weight is read once, as it lies: six outputs to sixteen rows at a time, their sums in registers.
//
// An output is added up in the same order whatever the other rows and the number of threads: a row's result is the same bits
// in any batch.
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "core.h"
#include "tiles_vector.h"

namespace tessera {
namespace {

/** Fewer rows are for the kernel of few rows; from more on libtorch's product is as fast. */
constexpr int64_t kFewestTileRows = 17;
constexpr int64_t kMostTileRows = 256;
/** Smaller weights stay in a cache, laid out or not. */
constexpr int64_t kFewestWeights = 1 << 18;

#ifdef TESSERA_ROWS

/** Input channels at a time: a panel of so many stays in the nearest cache. */
constexpr int64_t kDepth = 256;
/** Outputs at a time: their weights and sums stay in the second cache. */
constexpr int64_t kOutputs = 48;

int64_t paddedRows(int64_t rows) { return (rows + kPanel - 1) / kPanel * kPanel; }

/** Sixteen rows [rows, channels] from `first` on, channels from `begin` to `end`, as a panel [channels][16]; zeros after the last row. */
TESSERA_AVX2 void packPanel(const float* x, int64_t rows, int64_t channels, int64_t first, int64_t begin, int64_t end,
                            float* panel) {
  for (int64_t i = 0; i < kPanel; i += 8) {
    const float* row = x + (first + i) * channels;
    int64_t k = begin;
    if (first + i + 8 <= rows) {
      for (; k + 8 <= end; k += 8) transposeEight(row + k, channels, panel + (k - begin) * kPanel + i, kPanel);
    }
    for (; k < end; ++k) {
      for (int64_t j = 0; j < 8; ++j) {
        panel[(k - begin) * kPanel + i + j] = first + i + j < rows ? row[j * channels + k] : 0;
      }
    }
  }
}

/** x [rows, channels] as panels, kDepth channels of all rows after another. */
void packRows(const float* x, int64_t rows, int64_t channels, float* panels) {
  const int64_t padded = paddedRows(rows);
  at::parallel_for(0, padded / kPanel, 2, [&](int64_t from, int64_t to) {
    for (int64_t first = from * kPanel; first < to * kPanel; first += kPanel) {
      for (int64_t begin = 0; begin < channels; begin += kDepth) {
        const int64_t end = std::min(begin + kDepth, channels);
        packPanel(x, rows, channels, first, begin, end, panels + begin * padded + first * (end - begin));
      }
    }
  });
}

/** sums [6, 16], rows `stride` apart, = or += weights [6, depth] · panel. */
TESSERA_AVX2 inline void addTile(const float* const (&weights)[kTileRows], int64_t depth, const float* panel,
                                 float* sums, int64_t stride, bool isFirst) {
  __m256 tile[kTileRows][2];
  multiplyTile<2>(weights, depth, panel, tile);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      float* at = sums + r * stride + 8 * v;
      _mm256_storeu_ps(at, isFirst ? tile[r][v] : _mm256_add_ps(_mm256_loadu_ps(at), tile[r][v]));
    }
  }
}

/** sums [count outputs, padded rows] = weight [count, channels] · panels. */
TESSERA_AVX2 void multiplyOutputs(const float* weight, int64_t count, int64_t channels, const float* panels,
                                  int64_t padded, float* sums) {
  for (int64_t begin = 0; begin < channels; begin += kDepth) {
    const int64_t depth = std::min(kDepth, channels - begin);
    for (int64_t m = 0; m < padded; m += kPanel) {
      for (int64_t n = 0; n < count; n += kTileRows) {
        const float* rows[kTileRows];
        for (int r = 0; r < kTileRows; ++r) rows[r] = weight + std::min(n + r, count - 1) * channels + begin;
        addTile(rows, depth, panels + begin * padded + m * depth, sums + n * padded + m, padded, begin == 0);
      }
    }
  }
}

/** out [rows, outputs] = the transpose of sums [count, padded rows] + bias, from output `first` on; sums has room for eights of outputs. */
TESSERA_AVX2 void storeOutputs(const float* sums, int64_t count, int64_t padded, const float* bias, float* out,
                               int64_t rows, int64_t outputs, int64_t first) {
  float block[64];
  for (int64_t n = 0; n < count; n += 8) {
    const int64_t real = std::min<int64_t>(8, count - n);
    float shift[8] = {};
    if (bias != nullptr) std::copy(bias + first + n, bias + first + n + real, shift);
    const __m256 shifts = _mm256_loadu_ps(shift);
    for (int64_t m = 0; m < rows; m += 8) {
      transposeEight(sums + n * padded + m, padded, block, 8);
      for (int64_t j = 0; j < std::min<int64_t>(8, rows - m); ++j) {
        const __m256 row = _mm256_add_ps(_mm256_loadu_ps(block + 8 * j), shifts);
        float* to = out + (m + j) * outputs + first + n;
        if (real == 8) {
          _mm256_storeu_ps(to, row);
        } else {
          _mm256_storeu_ps(block + 8 * j, row);
          std::copy(block + 8 * j, block + 8 * j + real, to);
        }
      }
    }
  }
}
#endif

/** linearTiles(x [..., in], weight [out, in], bias [out] or nothing) → [..., out], or nothing. */
napi_value linearTiles(Arguments& a) {
  const at::Tensor& x = a.tensor(0);
  const at::Tensor& weight = a.tensor(1);
  const std::optional<at::Tensor> bias = a.optionalTensor(2);
  if (x.dim() < 1 || weight.dim() != 2 || x.size(-1) != weight.size(1) ||
      (bias.has_value() && (bias->dim() != 1 || bias->size(0) != weight.size(0)))) {
    throw std::runtime_error("expected x [..., in], a weight [out, in] and a bias [out]");
  }
#ifdef TESSERA_ROWS
  const int64_t channels = weight.size(1), outputs = weight.size(0);
  const int64_t rows = channels == 0 ? 0 : x.numel() / channels;
  const bool pays = rows >= kFewestTileRows && rows <= kMostTileRows && weight.numel() >= kFewestWeights;
  const bool plain = isPlain(x) && isPlain(weight) && weight.is_contiguous() &&
                     (!bias.has_value() || (isPlain(*bias) && bias->is_contiguous()));
  if (pays && plain && multipliesTiles()) {
    const at::Tensor input = x.contiguous();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = outputs;
    at::Tensor out = at::empty(shape, x.options());
    const int64_t padded = paddedRows(rows);
    const at::Tensor panels = at::empty({channels * padded}, x.options());
    packRows(input.const_data_ptr<float>(), rows, channels, panels.data_ptr<float>());
    const float* shifts = bias.has_value() ? bias->const_data_ptr<float>() : nullptr;
    const float* weights = weight.const_data_ptr<float>();
    const float* packed = panels.const_data_ptr<float>();
    float* to = out.data_ptr<float>();
    at::parallel_for(0, (outputs + kOutputs - 1) / kOutputs, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> sums(static_cast<size_t>(kOutputs * padded));
      for (int64_t first = begin * kOutputs; first < std::min(end * kOutputs, outputs); first += kOutputs) {
        const int64_t count = std::min(kOutputs, outputs - first);
        multiplyOutputs(weights + first * channels, count, channels, packed, padded, sums.data());
        storeOutputs(sums.data(), count, padded, shifts, to, rows, outputs, first);
      }
    });
    return a.result(out);
  }
#endif
  return a.nothing();
}

}  // namespace

const CoreEntry kLinearTilesFunctions[] = {
    {"linearTiles", linearTiles},
    {nullptr, nullptr},
};

}  // namespace tessera
