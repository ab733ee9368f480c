/** The commands, in the order in which help lists them. */

import type { Command } from './command.ts';
import { convertCommand } from './commands/convert.ts';
import { demoCommand } from './commands/demo.ts';
import { editCommand } from './commands/edit.ts';
import { evaluateCommand } from './commands/evaluate.ts';
import { exportCommand } from './commands/export.ts';
import { fetchCommand } from './commands/fetch.ts';
import { fitCommand } from './commands/fit.ts';
import { importCommand } from './commands/import.ts';
import { inspectCommand } from './commands/inspect.ts';
import { launchCommand } from './commands/launch.ts';
import { sampleCommand } from './commands/sample.ts';
import { searchCommand } from './commands/search.ts';
import { searchTrainingCommand } from './commands/search-training.ts';
import { setupCommand } from './commands/setup.ts';
import { statsCommand } from './commands/stats.ts';
import { tokenizeCommand } from './commands/tokenize.ts';
import { trainCommand } from './commands/train.ts';
import { trainTokenizerCommand } from './commands/train-tokenizer.ts';

export const COMMANDS: readonly Command[] = [
  demoCommand,
  fitCommand,
  sampleCommand,
  searchCommand,
  searchTrainingCommand,
  editCommand,
  evaluateCommand,
  statsCommand,
  inspectCommand,
  tokenizeCommand,
  convertCommand,
  trainCommand,
  trainTokenizerCommand,
  importCommand,
  exportCommand,
  fetchCommand,
  launchCommand,
  setupCommand,
];
