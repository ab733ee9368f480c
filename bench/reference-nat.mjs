// The same generation executed as the released AutoNAT and ENAT execute it in eager mode on a CPU: both branches one after
// the other at every step, ENAT's modulations anew in each block, attention as two products and a softmax (what their code
// does where xformers is not installed), features put back to their positions, head, draw and confidence at every
// position. Operations are this engine's, so the difference is what is executed. Each step also pays for the draw of
// torch's own exponential noise; the values used are ours, made outside, so that the tokens can be compared.

import { resolveSteps } from '@tessera/schedule';
import {
  arange,
  cat,
  embedding,
  full,
  gelu,
  layerNorm,
  linear,
  noGrad,
  scope,
  silu,
  tensor,
  where,
} from '@tessera/torch';

/**
 * @param exponential Exp(1) noise of each step, [B, L, V]
 * @param gumbel of each step, [B, L] float64
 * @param afterStep called after each step, for what is measured side by side
 * @returns tokens [B, L] of numbers, row after row
 */
export function referenceTokens(model, strategy, labels, { exponential, gumbel }, afterStep) {
  const { seqLen, maskToken } = model;
  const { codebookSize } = model.config;
  const predict = model.family === 'autonat' ? autonat(model) : enat(model);
  return noGrad(() =>
    scope(() => {
      const cond = tensor(labels, 'int64');
      const uncond = cond.fullLike(model.nullLabel);
      let tokens = full([labels.length, seqLen], maskToken, { dtype: 'int64' });
      let [before, beforeUncond] = [undefined, undefined];
      let sampled;
      for (const [i, step] of resolveSteps(strategy, seqLen).entries()) {
        const [first, second] = [predict(tokens, cond, before), predict(tokens, uncond, beforeUncond)];
        [before, beforeUncond] = [first.state, second.state];
        const logits = first.logits.add(first.logits.sub(second.logits).mul(step.guidanceScale - 1));
        logits.emptyLike().exponential_();
        const unknown = tokens.eq(maskToken);
        const drawn = logits.div(step.sampleTemperature).softmax(-1).div(exponential[i]).argmax(-1);
        sampled = where(unknown, drawn, tokens);
        const score = logits.logSoftmax(-1).gather(-1, sampled.unsqueeze(-1)).squeeze(-1);
        const known = score.fullLike(Number.POSITIVE_INFINITY);
        const confidence = where(unknown, score, known).add(gumbel[i].mul(step.choiceTemperature).to('float32'));
        const cut = confidence.sort()[0].narrow(1, Math.max(0, step.remasked - 1), 1);
        tokens = step.remasked === 0 ? sampled : where(confidence.le(cut), sampled.fullLike(maskToken), sampled);
        afterStep();
      }
      if (sampled.amax().item() >= codebookSize) throw new Error('a mask token was left');
      return sampled.toNumbers();
    }),
  );
}

/** The parts that both networks have. */
function layers(model) {
  const { embedDim, numHeads } = model.config;
  const weights = model.state;
  const get = (name) => weights.get(name);
  const dense = (x, name) => linear(x, get(`${name}.weight`), get(`${name}.bias`));
  const norm = (x, name, eps) => layerNorm(x, [embedDim], get(`${name}.weight`), get(`${name}.bias`), eps);
  const mlp = (x, name, approximate) => dense(gelu(dense(x, `${name}.fc1`), { approximate }), `${name}.fc2`);
  const heads = (x) => x.view([x.size(0), x.size(1), numHeads, embedDim / numHeads]).permute([0, 2, 1, 3]);
  const attend = (q, k, v) => {
    const weight = heads(q)
      .matmul(heads(k).transpose(-2, -1))
      .mul((embedDim / numHeads) ** -0.5)
      .softmax(-1);
    return weight.matmul(heads(v)).transpose(1, 2).reshape(q.shape);
  };
  const embed = (ids, positions, name) => {
    const sum = embedding(get(`${name}.word_embeddings.weight`), ids).add(
      embedding(get(`${name}.position_embeddings.weight`), positions),
    );
    return norm(sum, `${name}.LayerNorm`, 1e-6);
  };
  /** At every position and the mask token's logit too, which is then cut off. */
  const head = (x, words) => {
    const h = norm(gelu(dense(norm(x, 'norm', 1e-5), 'mlm_layer.fc')), 'mlm_layer.ln', 1e-5);
    return h.matmul(get(words).transpose(0, 1)).add(get('mlm_layer.bias'));
  };
  return { get, dense, norm, mlp, attend, embed, head };
}

function autonat(model) {
  const { depth, codebookSize, embedDim } = model.config;
  const { get, dense, norm, mlp, attend, embed, head } = layers(model);
  const block = (x, name) =>
    scope(() => {
      const qkv = linear(norm(x, `${name}.norm1`, 1e-5), get(`${name}.attn.qkv.weight`));
      const [q, k, v] = qkv.split(embedDim, -1).map((part) => part.contiguous());
      const h = x.add(dense(attend(q, k, v), `${name}.attn.proj`));
      return h.add(mlp(norm(h, `${name}.norm2`, 1e-5), `${name}.mlp`, 'none'));
    });
  return (tokens, labels) => ({
    logits: scope(() => {
      const ids = labels.unsqueeze(1);
      const positions = arange(0, model.seqLen).unsqueeze(0).expand(tokens.shape);
      let x = cat([embed(ids, ids.zerosLike(), 'context_embed'), embed(tokens, positions, 'token_emb')], 1);
      const skips = [];
      for (let i = 0; i < depth / 2; i++) {
        x = block(x, `in_blocks.${i}`);
        skips.push(x);
      }
      x = block(x, 'mid_block');
      for (let i = 0; i < depth / 2; i++) {
        const joined = dense(cat([x, skips.pop()], -1), `out_blocks.${i}.skip_linear`);
        x = block(joined, `out_blocks.${i}`);
      }
      return head(x, 'token_emb.word_embeddings.weight')
        .narrow(1, 1, model.seqLen)
        .narrow(2, 0, codebookSize)
        .contiguous();
    }),
  });
}

function enat(model) {
  const { encoderDepth, decoderDepth, codebookSize, embedDim } = model.config;
  const { get, dense, norm, mlp, attend, embed, head } = layers(model);
  const plainNorm = (x) => layerNorm(x, [embedDim], undefined, undefined, 1e-6);
  const modulated = (x, shift, scale) => plainNorm(x).mul(scale.add(1)).add(shift);
  const block = (index, x, c, foreign) =>
    scope(() => {
      const name = `blocks.${index}`;
      const [shiftA, scaleA, shiftF, scaleF, gateA, shiftM, scaleM, gateM] = dense(
        silu(c),
        `${name}.adaLN_modulation.1`,
      )
        .unsqueeze(1)
        .chunk(8, -1);
      const own = modulated(x, shiftA, scaleA);
      const fromOwn = dense(own, `${name}.attn.kv.B`);
      const both =
        foreign === undefined
          ? fromOwn
          : cat([dense(modulated(foreign, shiftF, scaleF), `${name}.attn.kv.A`), fromOwn], 1);
      const [k, v] = both.split(embedDim, -1).map((part) => part.contiguous());
      const h = x.add(gateA.mul(dense(attend(dense(own, `${name}.attn.q`), k, v), `${name}.attn.proj`)));
      return h.add(gateM.mul(mlp(modulated(h, shiftM, scaleM), `${name}.mlp`, 'tanh')));
    });
  const rowsOf = (x, rows) => x.gather(1, rows.unsqueeze(-1).expand([-1, -1, embedDim]));
  const putRows = (x, rows, values) => x.scatter(1, rows.unsqueeze(-1).expand([-1, -1, embedDim]), values);
  /** Positions where a mask [B, L] is set, `count` of each sample. */
  const where1 = (mask, count) => mask.logicalNot().argsort({ stable: true }).narrow(1, 0, count);

  return (tokens, labels, before) =>
    scope(() => {
      const c = embedding(get('y_embedder.embedding_table.weight'), labels);
      const positions = arange(0, model.seqLen).unsqueeze(0).expand(tokens.shape);
      const x = embed(tokens, positions, 'x_embedder');
      const masked = tokens.eq(model.maskToken);
      const count = masked.select(0, 0).to('int64').sum().item();
      const numVisible = model.seqLen - count;
      const numOld = before?.numVisible ?? 0;
      let features = x.zerosLike();
      let old;
      if (numOld > 0) {
        const rows = where1(before.masked.logicalNot(), numOld);
        const y = rowsOf(before.features, rows);
        old = y.add(mlp(norm(y, 'prev_proj.norm', 1e-6), 'prev_proj.mlp', 'tanh'));
        features = putRows(features, rows, old);
      }
      if (numVisible > numOld) {
        const fresh = numOld === 0 ? masked.logicalNot() : masked.logicalNot().logicalAnd(before.masked);
        const rows = where1(fresh, numVisible - numOld);
        let h = rowsOf(x, rows);
        for (let i = 0; i < encoderDepth; i++) h = block(i, h, c, old);
        features = putRows(features, rows, h);
      }
      const visible = numVisible === 0 ? undefined : rowsOf(features, where1(masked.logicalNot(), numVisible));
      const rows = where1(masked, count);
      let h = rowsOf(x, rows);
      for (let i = 0; i < decoderDepth; i++) h = block(encoderDepth + i, h, c, visible);
      features = putRows(features, rows, h);
      const logits = head(features, 'x_embedder.word_embeddings.weight').narrow(2, 0, codebookSize).contiguous();
      return { logits, state: { features, masked, numVisible } };
    });
}
