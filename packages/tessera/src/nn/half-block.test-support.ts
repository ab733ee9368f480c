/** A block of two weights that float16 runs through, for tests of loss scaling. */

import type { Tensor } from '@tessera/torch';
import { ONES } from './initialisation.ts';
import { Module, type ParameterBuilder } from './module.ts';

export class HalfBlock extends Module {
  readonly weight: Tensor;

  constructor(p: ParameterBuilder) {
    super(p);
    this.weight = p.parameter('weight', [2], ONES);
  }

  readonly block = (x: Tensor): Tensor => this.weight.to('float16').mul(x.to('float16')).to('float32');
}
