/** From the training loop's events to a pipeline's: progress with the loss beside it, evaluations as notes. */

import type { TrainingEvent } from '../training/loop.ts';
import { PipelineError, type PipelineEvent } from './events.ts';

/** Translates the events of one training, remembering the last metrics; samples and the end are the caller's. */
export class TrainingNarrator {
  private readonly stage: string;
  private readonly globalBatch: number;
  /** Of the last logging interval. */
  private detail: string | undefined;

  /** @param globalBatch items of a step: the loop tells items a second, people see steps */
  constructor(stage: string, globalBatch: number) {
    this.stage = stage;
    this.globalBatch = globalBatch;
  }

  *tell(event: TrainingEvent): Generator<PipelineEvent> {
    switch (event.kind) {
      case 'start':
        if (event.resumed) yield this.note(`going on after step ${event.step} of ${event.totalSteps}`);
        return;
      case 'warning':
        yield { kind: 'warning', message: event.message };
        return;
      case 'step':
        if (event.metrics !== undefined) this.detail = describeStep(event.metrics);
        yield {
          kind: 'progress',
          stage: this.stage,
          done: event.step,
          total: event.totalSteps,
          unit: 'steps',
          rate: event.itemsPerSecond / this.globalBatch,
          secondsLeft: event.secondsLeft,
          ...(this.detail === undefined ? {} : { detail: this.detail }),
        };
        return;
      case 'evaluation':
        yield this.note(`step ${event.step}, held-out: ${describeMetrics(event.metrics)}`);
        return;
      case 'sample':
      case 'checkpoint':
      case 'end':
        return;
      default:
        event satisfies never;
    }
  }

  private note(message: string): PipelineEvent {
    return { kind: 'note', message: `${this.stage}: ${message}` };
  }
}

/** What the bar shows: the loss, and of a tokenizer's codebook how much is in use. */
function describeStep({ loss, codebookUsage }: Readonly<Record<string, number>>): string {
  const used = codebookUsage === undefined ? '' : `, ${Math.round(100 * codebookUsage)} % of codes in use`;
  return `loss ${(loss ?? Number.NaN).toFixed(3)}${used}`;
}

export function describeMetrics(metrics: Readonly<Record<string, number>>): string {
  return Object.entries(metrics)
    .map(([name, value]) => `${name} ${Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3)}`)
    .join(', ');
}

/** Thrown when the user's signal has ended a training; everything is saved. */
export function stopped(): PipelineError {
  return new PipelineError('STOPPED', 'Stopped; everything so far is saved. The same command goes on from here.');
}
