// The kernel of linear_tiles.cpp, included there once for each number of lanes; no guard.

/** Input channels at a time: a panel of so many stays in the nearest cache. */
constexpr int64_t kDepth = 256;
/** Outputs at a time, whole tiles: their weights and sums stay in the second cache. */
constexpr int64_t kOutputs = 48;

inline int64_t paddedRows(int64_t rows) { return (rows + kPanel - 1) / kPanel * kPanel; }

/** kPanel rows of [rows, channels] from `first` on, channels from `begin` to `end`, as a panel [channels][kPanel]; zeros after the last row. */
TESSERA_VECTOR void packPanel(const float* x, int64_t rows, int64_t channels, int64_t first, int64_t begin, int64_t end,
                            float* panel) {
  for (int64_t i = 0; i < kPanel; i += 8) {
    const float* row = x + (first + i) * channels;
    const int64_t real = std::clamp<int64_t>(rows - first - i, 0, 8);
    int64_t k = begin;
    if (real == 8) {
      for (; k + 8 <= end; k += 8) transposeEight(row + k, channels, panel + (k - begin) * kPanel + i, kPanel);
    }
    for (; k < end; k += 8) {
      transposeUpToEight(row + k, channels, real, std::min<int64_t>(8, end - k), panel + (k - begin) * kPanel + i, kPanel);
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

/** sums [kTileRows, kPanel], rows `stride` apart, = or += weights [kTileRows, depth] · panel. */
TESSERA_VECTOR inline void addTile(const float* const (&weights)[kTileRows], int64_t depth, const float* panel,
                                 float* sums, int64_t stride, bool isFirst) {
  Vector tile[kTileRows][2];
  multiplyTile<2>(weights, depth, panel, tile);
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      float* at = sums + r * stride + kLanes * v;
      store(at, isFirst ? tile[r][v] : add(load(at), tile[r][v]));
    }
  }
}

/** sums [count outputs, padded rows] = weight [count, channels] · panels. */
TESSERA_VECTOR void multiplyOutputs(const float* weight, int64_t count, int64_t channels, const float* panels,
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
TESSERA_VECTOR inline void storeOutputs(const float* sums, int64_t count, int64_t padded, const float* bias, float* out,
                                        int64_t rows, int64_t outputs, int64_t first) {
  float block[64];
  for (int64_t n = 0; n < count; n += 8) {
    const int64_t real = std::min<int64_t>(8, count - n);
    const __m256 shifts = bias == nullptr ? _mm256_setzero_ps() : lanes8::loadFirst(bias + first + n, real);
    for (int64_t m = 0; m < rows; m += 8) {
      transposeEight(sums + n * padded + m, padded, block, 8);
      for (int64_t j = 0; j < std::min<int64_t>(8, rows - m); ++j) {
        const __m256 row = _mm256_add_ps(_mm256_loadu_ps(block + 8 * j), shifts);
        float* to = out + (m + j) * outputs + first + n;
        if (real == 8) {
          _mm256_storeu_ps(to, row);
        } else {
          lanes8::storeFirst(to, row, real);
        }
      }
    }
  }
}

/** out [rows, outputs] = x [rows, channels] weightᵀ + bias [outputs] or nothing. */
inline void multiplyByTiles(const float* x, int64_t rows, int64_t channels, const float* weight, const float* bias,
                            int64_t outputs, float* out) {
  const int64_t padded = paddedRows(rows);
  const at::Tensor panels = at::empty({channels * padded}, at::kFloat);
  packRows(x, rows, channels, panels.data_ptr<float>());
  const float* packed = panels.const_data_ptr<float>();
  at::parallel_for(0, (outputs + kOutputs - 1) / kOutputs, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(static_cast<size_t>(kOutputs * padded));
    for (int64_t first = begin * kOutputs; first < std::min(end * kOutputs, outputs); first += kOutputs) {
      const int64_t count = std::min(kOutputs, outputs - first);
      multiplyOutputs(weight + first * channels, count, channels, packed, padded, sums.data());
      storeOutputs(sums.data(), count, padded, bias, out, rows, outputs, first);
    }
  });
}
