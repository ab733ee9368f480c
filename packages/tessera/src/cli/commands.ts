/** The commands, in the order in which help lists them. */

import type { Command } from './command.ts';
import { fitCommand } from './commands/fit.ts';
import { inspectCommand } from './commands/inspect.ts';
import { sampleCommand } from './commands/sample.ts';
import { setupCommand } from './commands/setup.ts';

export const COMMANDS: readonly Command[] = [fitCommand, sampleCommand, inspectCommand, setupCommand];
