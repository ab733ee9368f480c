/** The tokenizer that a command names: a folder of ours, or a published architecture with its weights file. */
import { existsSync } from 'node:fs';
import { scope } from '@tessera/torch';
import { loadModule } from '../../nn/state-dict.ts';
import { tokenizerFamily, tokenizerPresets } from '../../tokenizers/registry.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { PipelineError } from '../events.ts';
import { loadWeights } from '../load-weights.ts';
import { openAnyTokenizer } from '../model-folder.ts';

export interface TokenizerChoice {
  /** A model folder, a tokenizer folder, or the name of an architecture such as `llamagen-vq16`. */
  tokenizer: string;
  /** Weights of a named architecture: safetensors, or the published PyTorch file as it is. */
  weights?: string | undefined;
}

/** Owned by the caller. `imageSize` where a model folder says it. */
export function chooseTokenizer(choice: TokenizerChoice): { tokenizer: Tokenizer; imageSize: number | undefined } {
  const { tokenizer: name, weights } = choice;
  const preset = tokenizerPresets().get(name);
  if (preset === undefined && weights === undefined && existsSync(name)) return openAnyTokenizer(name);
  if (preset === undefined) {
    throw new PipelineError(
      'TOKENIZER',
      `Expected a model or tokenizer folder${weights === undefined ? '' : ' without --tokenizer-weights'}, or one of ` +
        `${[...tokenizerPresets().keys()].join(', ')}, got ${name}.`,
    );
  }
  if (weights === undefined) {
    throw new PipelineError(
      'TOKENIZER',
      `${name} needs its weights: add --tokenizer-weights FILE (the published file).`,
    );
  }
  const { family, config } = preset;
  const construct = tokenizerFamily(family).construct;
  const tokenizer = scope(() => loadModule((p) => construct(config, p), loadWeights(weights), weights));
  return { tokenizer, imageSize: undefined };
}
