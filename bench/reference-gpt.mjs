// The same generation executed as the reference executes it (LlamaGen's generate and its model in eager mode): a cache of
// all positions, written whole, attention over the whole of it under a mask row, one general matrix product a weight, the
// logits' path through softmax and a draw. Operations are this engine's, so the difference is what is executed.

import {
  arange,
  cat,
  embedding,
  keep,
  linear,
  noGrad,
  ones,
  scaledDotProductAttention,
  scope,
  silu,
  zeros,
} from '@tessera/torch';
import { applyRope, ropeRows } from 'tessera';

/** Draws `count` tokens of each label with guidance; returns the tokens [B, count], the caller's. */
export function referenceGenerate(model, labels, guidanceScale, count) {
  const { embedDim, numHeads, depth, normEps } = model.config;
  const { headDim } = model.sizes;
  const weights = model.state;
  const rows = 2 * labels.size(0);
  const length = Math.ceil((1 + model.seqLen) / 8) * 8;
  const shape = [rows, numHeads, length, headDim];
  const caches = Array.from({ length: depth }, () => [keep(zeros(shape)), keep(zeros(shape))]);
  const mask = keep(scope(() => ones([length, length]).tril().to('bool')));
  const norm = (x, weight) => x.mul(x.square().mean([-1], true).add(normEps).rsqrt()).mul(weight);

  const forward = (x, position) => {
    const rope = ropeRows(model.rope(), position, 1);
    const at = arange(position, position + 1);
    const row = mask.index([at]).unsqueeze(0).unsqueeze(0).expand([rows, 1, 1, length]);
    for (let i = 0; i < depth; i++) {
      const w = (name) => weights.get(`layers.${i}.${name}.weight`);
      const qkv = linear(norm(x, w('attention_norm')), w('attention.wqkv'));
      const [q, k, v] = qkv.split(embedDim, -1).map((part) => part.view([rows, 1, numHeads, headDim]));
      const [keys, values] = caches[i];
      keys.indexCopy_(2, at, applyRope(k, rope).transpose(1, 2));
      values.indexCopy_(2, at, v.transpose(1, 2));
      // A copy of the whole cache each, though the heads are not grouped.
      const spread = [keys, values].map((cache) => cache.repeatInterleave(1, 1));
      const attended = scaledDotProductAttention(applyRope(q, rope).transpose(1, 2), ...spread, { attnMask: row });
      const h = x.add(linear(attended.transpose(1, 2).contiguous().view([rows, 1, embedDim]), w('attention.wo')));
      const normed = norm(h, w('ffn_norm'));
      const gated = silu(linear(normed, w('feed_forward.w1'))).mul(linear(normed, w('feed_forward.w3')));
      x = h.add(linear(gated, w('feed_forward.w2')));
    }
    return linear(norm(x, weights.get('norm.weight')), weights.get('output.weight')).select(1, 0);
  };
  const draw = (logits) => {
    const [cond, uncond] = logits.chunk(2);
    const probabilities = uncond.add(cond.sub(uncond).mul(guidanceScale)).div(1).softmax(-1);
    return probabilities.div(probabilities.emptyLike().exponential_()).argmax(-1);
  };
  try {
    return noGrad(() => {
      let last = scope(() => draw(forward(model.embedClasses(cat([labels, labels.fullLike(model.nullLabel)])), 0)));
      const tokens = [last];
      for (let i = 1; i < count; i++) {
        last = scope(() =>
          draw(forward(embedding(weights.get('tok_embeddings.weight'), cat([last, last])).unsqueeze(1), i)),
        );
        tokens.push(last);
      }
      return tokens;
    });
  } finally {
    for (const cache of caches.flat()) cache.dispose();
    mask.dispose();
  }
}
