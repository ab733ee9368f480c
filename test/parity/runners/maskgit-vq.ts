/** MaskGIT's VQGAN from a manifest's configuration and weights; weights made by a rule. */

import { noGrad, tensor } from '@tessera/torch';
import { loadModule, type MaskgitConfig, type MaskgitConfigInput, MaskgitVqgan, maskgitConfigSchema } from 'tessera';
import type { Output } from '../compare.ts';
import type { Json } from '../golden-set.ts';
import { namedHash } from '../named-hash.ts';
import type { CaseContext, Runner } from '../runner.ts';
import { vggHash } from '../vgg-hash.ts';

export function maskgitConfig(config: Record<string, Json>): MaskgitConfig {
  const fields = Object.keys(maskgitConfigSchema.shape).filter((name) => config[name] !== undefined);
  return maskgitConfigSchema.parse(
    Object.fromEntries(fields.map((name) => [name, config[name]])) as MaskgitConfigInput,
  );
}

export function maskgitModel(context: CaseContext): MaskgitVqgan {
  const config = maskgitConfig(context.config);
  return loadModule((p) => new MaskgitVqgan(config, p), context.weights(), context.golden.id);
}

/** Input `image` is in [0, 1]; outputs are not clamped unless `clampOutput`. */
export const maskgitVqCodec: Runner = (context) =>
  noGrad(() => {
    const model = maskgitModel(context);
    const image = context.tensor('image');
    const latent = model.encodeToLatent(image);
    const { tokens, quantized } = model.quantize(latent);
    if (!tokens.equal(model.encode(image))) throw new Error('encode() and quantize() disagree');
    const clamp = context.optional<boolean>('clampOutput') === true;
    const outputs: Record<string, Output> = { latent, ids: tokens, quantized };
    const picture = (ids: typeof tokens, rows: number, columns: number): Output => {
      const images = model.decodeLatent(model.quantizer.lookUp(ids, rows, columns));
      return clamp ? images.clamp(0, 1) : images;
    };
    if (context.wants('reconstruction')) {
      outputs.reconstruction = picture(tokens, latent.size(2), latent.size(3));
    }
    if (context.wants('decoded')) {
      const ids = context.tensor('decodeIds').to('int64'); // [B, y, x], or flat: [B, L]
      const [count, rows, columns] = ids.shape.length === 3 ? ids.shape : [ids.size(0), latent.size(2), latent.size(3)];
      outputs.decoded = picture(ids.reshape([count!, rows! * columns!]), rows!, columns!);
    }
    model.dispose();
    return outputs;
  });

/** First values of the named parameters made by the rule. */
export const weightRule: Runner = (context) => {
  const reference = context.golden.weights;
  if (typeof reference !== 'object' || !('rule' in reference)) throw new Error('expected weights by a rule');
  const { rule, keysFile } = reference as { rule: string; keysFile?: string };
  const { rules } = context.reader.folder;
  const count = context.param<number>('count');
  const firstValues = (name: string): ArrayLike<number | bigint> => {
    if (keysFile === undefined) return vggHash(rules, rule, name, count).data;
    const shapes = context.reader.json(keysFile, []) as Record<string, number[]>;
    return namedHash(rules, rule, name, shapes[name]!, count).data;
  };
  const wanted = Object.keys(context.golden.outputs.firstValues?.tensors ?? {});
  const values = wanted.map((name) => [name, tensor(Array.from(firstValues(name), Number))] as const);
  return { firstValues: new Map<string, Output>(values) };
};
