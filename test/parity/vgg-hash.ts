/** The manifests' rule `vgg16-hash`: the thirteen convolutions of VGG16 as a hash of (index, salt), a salt a tensor. */

import type { Json } from './golden-set.ts';
import { type SaltedHashRule, saltedHash } from './hash-image.ts';

interface VggHashRule {
  type: string;
  saltBase: number;
  convChannels: [number, number][];
  uniform: string;
}

/** `conv{i}.weight` [out, in, 3, 3] or `conv{i}.bias` [out]; with `count`, only the first values. */
export function vggHash(
  rules: Record<string, Json>,
  ruleName: string,
  name: string,
  count?: number,
): { shape: number[]; data: Float32Array } {
  const rule = rules[ruleName] as unknown as VggHashRule | undefined;
  const [, conv, part] = /^conv(\d+)\.(weight|bias)$/.exec(name) ?? [];
  const channels = rule?.convChannels[Number(conv)];
  if (rule?.type !== 'vgg16-hash' || channels === undefined)
    throw new Error(`no rule vgg16-hash for ${ruleName}, ${name}`);
  const [inChannels, outChannels] = channels;
  const whole = part === 'weight' ? [outChannels, inChannels, 3, 3] : [outChannels];
  const salt = rule.saltBase + 2 * Number(conv) + (part === 'bias' ? 1 : 0);
  const uniform = rules[rule.uniform] as unknown as SaltedHashRule;
  const scale = part === 'weight' ? Math.sqrt(6 / (9 * inChannels)) : 0.1;
  const shape = count === undefined ? whole : [count];
  const data = new Float32Array(shape.reduce((product, side) => product * side, 1));
  for (let i = 0; i < data.length; i++) data[i] = ((2 * saltedHash(i, salt, uniform)) / 2 ** 32 - 1) * scale;
  return { shape, data };
}
