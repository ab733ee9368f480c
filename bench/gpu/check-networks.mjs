// Weights, inputs and outputs of tiny networks on our engine, in a safetensors file each, for check_networks.py: the
// baselines must compute what ours does.
//
//   node bench/gpu/check-networks.mjs FOLDER && python3 bench/gpu/check_networks.py FOLDER

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as T from '@tessera/torch';
import { familyOf, gptLoss, initialise, LlamaGenVq, modelPreset, vqPreset } from 'tessera';

const [folder] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
T.manualSeed(3);

/** Random weights, none of them zero. */
function filled(construct) {
  const model = initialise(construct);
  T.noGrad(() => T.scope(() => [...model.state.values()].forEach((x) => void x.add_(x.randnLike().mul(0.05)))));
  return model;
}

function save(name, model, config, entries) {
  T.saveSafetensors(join(folder, `${name}.safetensors`), [
    ...[...model.state].map(([key, tensor]) => [`weights.${key}`, tensor]),
    ...Object.entries(entries),
  ]);
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(config));
  model.dispose();
}

T.noGrad(() =>
  T.scope(() => {
    for (const preset of ['enat-nano', 'autonat-nano']) {
      const { family, config } = modelPreset(preset);
      const model = filled((p) => familyOf(family).construct(config, p));
      const clean = T.randint(0, config.codebookSize, [2, model.seqLen]);
      const labels = T.tensor([1, model.nullLabel], 'int64');
      const order = T.rand([2, model.seqLen]).argsort(1);
      // Two steps: 40 masked positions, then 24 of them.
      const [first, second] = [40, 24].map((count) => clean.maskedFill(order.lt(count), model.maskToken));
      const masks = [first, second].map((tokens) => tokens.eq(model.maskToken));
      const where = (mask, count) => mask.logicalNot().argsort({ stable: true }).narrow(1, 0, count);
      const session = model.startSession(labels, false);
      const [some, more] = [where(masks[0], 40), where(masks[1], 24)];
      const one = session.predict(
        { tokens: first, masked: some, fresh: where(masks[0].logicalNot(), 24) },
        'done',
      ).cond;
      const fresh = where(masks[0].logicalAnd(masks[1].logicalNot()), 16);
      const two = session.predict({ tokens: second, masked: more, fresh }, 'done').cond;
      save(family, model, config, { first, second, labels, some, more, one, two });
      session.dispose();
    }
    const { config } = modelPreset('gpt-nano');
    const gpt = filled((p) => familyOf('gpt').construct(config, p));
    const tokens = T.randint(0, config.codebookSize, [2, gpt.seqLen]);
    const labels = T.tensor([1, gpt.nullLabel], 'int64');
    const { logits } = gptLoss(gpt, { tokens, condition: gpt.embedClasses(labels), patchSide: 1 });
    save('gpt', gpt, config, { tokens, labels, logits });
    const vqConfig = vqPreset('vq-small', { l2Norm: true, deepestAttention: true, middleAttention: true });
    const vq = filled((p) => new LlamaGenVq(vqConfig, p));
    const images = T.rand([2, 3, 32, 32]);
    const ids = vq.encode(images);
    save('vq', vq, vqConfig, { images, ids, decoded: vq.decode(ids) });
  }),
);
