/** The tokenizer that a command names: a folder of ours, or a published architecture with its weights file. */
import { existsSync } from 'node:fs';
import { withFile } from '@tessera/formats/node';
import { fromBytes, isDType, scope } from '@tessera/torch';
import { loadModule } from '../../nn/state-dict.ts';
import { tokenizerFamily, tokenizerPresets } from '../../tokenizers/registry.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import { PipelineError } from '../events.ts';
import { openAnyTokenizer } from '../model-folder.ts';
import { readWeights } from '../official/read-weights.ts';

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
  const tokenizer = withFile(weights, (reader) =>
    scope(() => {
      const tensors = [...readWeights(reader).tensors].map(([tensorName, { bytes, shape, dtype }]) => {
        if (!isDType(dtype)) throw new PipelineError('WEIGHTS', `${weights}: ${tensorName} is ${dtype}.`);
        // Copied: the file's bytes may lie where no element of this type may.
        return [tensorName, fromBytes(bytes().slice(), shape, dtype)] as const;
      });
      return loadModule((p) => construct(config, p), new Map(tensors), weights);
    }),
  );
  return { tokenizer, imageSize: undefined };
}
