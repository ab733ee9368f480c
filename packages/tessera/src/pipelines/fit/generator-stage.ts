/** The generator of a fit: an ENAT on the tokens, by the plan. */

import { join } from 'node:path';
import type { GeneratorModel } from '../../models/family.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { resolveTrainingConfig } from '../../training/config.ts';
import type { PipelineEvent } from '../events.ts';
import { trainGenerator } from '../train-generator.ts';
import type { StageContext } from './tokenizer-stage.ts';
import type { FitTokens } from './tokens-stage.ts';

/** Returns the averaged network, owned by the caller. */
export async function* generatorStage(
  { out, plan, signal }: StageContext,
  tokenizer: Tokenizer,
  tokens: FitTokens,
): AsyncGenerator<PipelineEvent, GeneratorModel> {
  const { config, task, training } = plan.generator;
  yield { kind: 'stage', stage: 'generator', message: `training an ENAT on ${tokens.train.numRows} images` };
  return yield* trainGenerator({
    run: join(out, 'generator'),
    stage: 'generator',
    family: 'enat',
    config,
    task,
    training: resolveTrainingConfig(training, 'the plan of the generator'),
    data: tokens.train,
    heldOut: tokens.heldOut,
    dataIdentity: plan.dataFingerprint,
    tokenizer,
    signal,
  });
}
