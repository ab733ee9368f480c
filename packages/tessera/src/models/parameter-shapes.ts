/** The tensors of a network without the network: names and shapes, nothing allocated, however large it is. */

import { empty, type Tensor } from '@tessera/torch';
import { type Module, ParameterBuilder } from '../nn/module.ts';

export interface ParameterShapes {
  /** Of all tensors, buffers included, in checkpoint order. */
  shapes: Map<string, readonly number[]>;
  /** Numbers in the trained ones. */
  numParameters: number;
}

/** @param construct as for initialise(); what it returns is not used */
export function parameterShapes(construct: (p: ParameterBuilder) => Module): ParameterShapes {
  const shapes = new Map<string, readonly number[]>();
  const placeholder = empty([0]);
  const take = (name: string, shape: readonly number[]): Tensor => {
    shapes.set(name, [...shape]);
    return placeholder;
  };
  const builder = new ParameterBuilder({ take });
  try {
    construct(builder);
  } finally {
    placeholder.dispose();
  }
  let numParameters = 0;
  for (const [name, shape] of shapes) {
    if (!builder.bufferNames.has(name)) numParameters += shape.reduce((product, side) => product * side, 1);
  }
  return { shapes, numParameters };
}
