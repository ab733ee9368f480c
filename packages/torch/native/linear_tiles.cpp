// Linear maps of some dozens of rows up to a few hundred, as a step of ENAT or of a small batch has them. A general product lays
// the weights out anew at each call, which for so few rows costs as much as a good part of the product. Here the rows are laid
// out instead, and each weight is read once, as it lies: a tile of some outputs to some rows at a time, its sums in registers.
//
// An output is added up in the same order whatever the other rows and the number of threads: a row's result is the same bits
// in any batch.
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "core.h"
#include "tiles_vector.h"

#ifdef TESSERA_ROWS
#define TESSERA_VECTOR TESSERA_AVX2
namespace tessera::lanes8 {
#include "linear_tiles_lanes.h"
}
#undef TESSERA_VECTOR
#define TESSERA_VECTOR TESSERA_AVX512
namespace tessera::lanes16 {
#include "linear_tiles_lanes.h"
}
#undef TESSERA_VECTOR
#endif

namespace tessera {
namespace {

/** Fewer rows are for the kernel of few rows. */
constexpr int64_t kFewestTileRows = 17;
/** From more on libtorch's product is as fast; with AVX-512 it is so from half as many, and up to a twentieth faster. */
constexpr int64_t kMostTileRows = 256;
/** Smaller weights stay in a cache, laid out or not. */
constexpr int64_t kFewestWeights = 1 << 18;

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
  if (pays && plain && hasAvx2()) {
    const at::Tensor input = x.contiguous();
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = outputs;
    at::Tensor out = at::empty(shape, x.options());
    const auto multiplyByTiles = hasAvx512() ? lanes16::multiplyByTiles : lanes8::multiplyByTiles;
    multiplyByTiles(input.const_data_ptr<float>(), rows, channels, weight.const_data_ptr<float>(),
                    bias.has_value() ? bias->const_data_ptr<float>() : nullptr, outputs, out.data_ptr<float>());
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
