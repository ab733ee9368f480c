/** The official five-file checkpoint folder: both networks' logits, and one more optimizer step from the restored state. */

import { atPath, type TorchDict, TorchTensor } from '@tessera/formats';
import { learningRateAt } from '@tessera/schedule';
import { crossEntropyLoss, fromTorchTensor, noGrad, type Tensor } from '@tessera/torch';
import { AdamW } from 'tessera';
import type { CaseContext, Runner } from '../runner.ts';
import { allLogits, natModel } from './nat-model.ts';

const MEAN = 1;

export const natCheckpointResume: Runner = (context) => {
  const files = context.golden.checkpointFiles!;
  const net = natModel(context, context.reader.stateDict(files.net!)).trainable();
  const ema = natModel(context, context.reader.stateDict(files.ema!));
  const ids = context.tensor('ids');
  const labels = context.tensor('labels').flatten();
  const netLogits = allLogits(net, ids, labels);
  const loss = crossEntropyLoss(
    netLogits.flatten(0, 1),
    context.tensor('targets').flatten(),
    undefined,
    MEAN,
    context.param<number>('ignoreIndex'),
    context.param<number>('labelSmoothing'),
  );
  loss.backward();

  const [beta1, beta2] = context.param<[number, number]>('betas');
  const optimizer = new AdamW(net.parameters, {
    betas: [beta1, beta2],
    eps: context.param<number>('eps'),
    weightDecay: context.param<number>('weightDecay'),
  });
  optimizer.load(officialState(context, files.optimizer!), files.optimizer!);
  // The counter of the next step is the number of steps done.
  const step = context.reader.pickleNumber(files.step!, []);
  const lr = learningRateAt(
    {
      kind: 'constant',
      base: context.param<number>('baseLr'),
      warmupSteps: context.param<number>('warmupSteps'),
      exactOriginal: true,
    },
    step,
  );
  noGrad(() => optimizer.step(lr));
  const outputs = {
    netLogits: netLogits.detach(),
    emaLogits: noGrad(() => allLogits(ema, ids, labels)),
    loss: loss.detach(),
    logitsAfterStep: noGrad(() => allLogits(net, ids, labels)),
    lr,
  };
  optimizer.dispose();
  return outputs;
};

/** torch's AdamW state: entries numbered by parameter, absent for parameters that never had a gradient. */
function officialState(context: CaseContext, file: string): Map<string, Tensor> {
  const names = context.param<string[]>('paramOrder');
  const entries = atPath(context.reader.checkpoint(file), ['state']) as TorchDict;
  const tensors = new Map<string, Tensor>();
  for (const [index, fields] of entries) {
    for (const [field, value] of fields as TorchDict) {
      if (value instanceof TorchTensor) tensors.set(`${names[Number(index)]}.${String(field)}`, fromTorchTensor(value));
    }
  }
  return tensors;
}
