// Attention of many tokens to many, as the blocks of AutoNAT and ENAT have it: two products a head with a softmax between them,
// on tiles whose sums stay in registers. Keys and values are first laid out so that a tile reads them in order; scores of a few
// queries to all keys stay in the nearest cache. Heads are read from and written to the rows of the projections as they are. A
// query's result is the same bits whatever the other queries. Where this does not reach, nothing is returned and the caller
// takes libtorch's attention.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core.h"
#include "tiles_vector.h"

#ifdef TESSERA_ROWS
namespace tessera {
/** Rows of one head, each dense, `stride` apart. */
struct HeadRows {
  const float* first;
  int64_t stride;
};
}  // namespace tessera

#define TESSERA_VECTOR TESSERA_AVX2
namespace tessera::lanes8 {
#include "attend_tokens_lanes.h"
}
#undef TESSERA_VECTOR
#define TESSERA_VECTOR TESSERA_AVX512
namespace tessera::lanes16 {
#include "attend_tokens_lanes.h"
}
#undef TESSERA_VECTOR
#endif

namespace tessera {
namespace {

#ifdef TESSERA_ROWS
/** [B, N, D], each row dense. */
bool isOfRows(const at::Tensor& x) { return isPlain(x) && x.stride(2) == 1 && x.numel() > 0; }
#endif

/**
 * attendTokens(queries [B, N, H·K], keys and values [B, S, H·K], H) → [B, N, H·K]: softmax(q k / sqrt(K)) v in each head, or
 * nothing.
 */
napi_value attendTokens(Arguments& a) {
  const at::Tensor& queries = a.tensor(0);
  const at::Tensor& keys = a.tensor(1);
  const at::Tensor& values = a.tensor(2);
  const int64_t heads = a.integer(3);
  if (queries.dim() != 3 || keys.dim() != 3 || keys.sizes() != values.sizes() || queries.size(0) != keys.size(0) ||
      queries.size(2) != keys.size(2) || heads < 1 || queries.size(2) % heads != 0) {
    throw std::runtime_error("expected queries [B, N, H·K] with keys and values [B, S, H·K]");
  }
#ifdef TESSERA_ROWS
  if (hasAvx2() && isOfRows(queries) && isOfRows(keys) && isOfRows(values)) {
    at::Tensor out = at::empty(queries.sizes(), queries.options());
    const auto attendHeads = hasAvx512() ? lanes16::attendHeads : lanes8::attendHeads;
    at::parallel_for(0, queries.size(0) * heads, 1, [&](int64_t begin, int64_t end) {
      attendHeads(queries, keys, values, heads, out, begin, end);
    });
    return a.result(out);
  }
#endif
  return a.nothing();
}

}  // namespace

const CoreEntry kAttendTokensFunctions[] = {
    {"attendTokens", attendTokens},
    {nullptr, nullptr},
};

}  // namespace tessera
