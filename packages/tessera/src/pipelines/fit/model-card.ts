/** The model card of a fit, in Markdown. */

import type { GeneratorModel } from '../../models/family.ts';
import { tokenizerFamily } from '../../tokenizers/registry.ts';
import type { Tokenizer } from '../../tokenizers/tokenizer.ts';
import type { FitPlan } from './plan.ts';

export function modelCard(plan: FitPlan, model: GeneratorModel, tokenizer: Tokenizer): string {
  const { generator } = plan;
  const vq = plan.tokenizer.training;
  return `# A generator of ${plan.imageSize} px images

Made with \`tessera fit\` from ${plan.numTrain} images of ${plan.classes.length} classes (${plan.numHeldOut} held out).

| part | what | parameters | training |
| --- | --- | --- | --- |
| tokenizer | ${tokenizerFamily(tokenizer.family).title}, ${tokenizer.codebookSize} codes | ${tokenizer.numParameters} | ${vq === undefined ? 'the shipped one, kept' : `${vq.totalSteps} steps of ${vq.globalBatch} images (${plan.tokenizer.mode})`} |
| generator | ENAT, width ${generator.config.embedDim}, ${generator.config.encoderDepth} + ${generator.config.decoderDepth} blocks | ${model.numParameters} | ${generator.training.totalSteps} steps of ${generator.training.globalBatch} images |

Classes: ${plan.classes.join(', ')}.

Sample it: \`npx tessera sample MODEL_FOLDER\`. Its images can resemble what it was trained on; their rights are those of
the training images.
`;
}
