/**
 * What pipelines tell whoever runs them. A pipeline is an async generator of these; it parses no arguments, prints
 * nothing and never exits. The command line draws bars of them, a server sends them on, `--json` prints them.
 */

export type PipelineEvent =
  /** A stage begins; `message` says what it does, for people. */
  | { kind: 'stage'; stage: string; message: string }
  /** Work done so far in a stage; `done` of `total` in `unit` (a plural, such as `images`), rate in units a second. */
  | {
      kind: 'progress';
      stage: string;
      done: number;
      total: number;
      unit: string;
      rate?: number;
      secondsLeft?: number;
      /** Such as the loss. */
      detail?: string;
    }
  /** A line worth keeping. */
  | { kind: 'note'; message: string }
  /** The same, about something that may be wrong. */
  | { kind: 'warning'; message: string }
  /** A file for people was written. */
  | { kind: 'file'; path: string; what: string }
  /** The last event of a pipeline that succeeded. */
  | { kind: 'result'; result: Record<string, unknown> };

/** Errors that are the user's to mend: shown in one line. */
export class PipelineError extends Error {
  readonly code: string;
  /** Of the process, where another than 1 tells more. */
  readonly exitCode: number;

  constructor(code: string, message: string, options: { cause?: unknown; exitCode?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'PipelineError';
    this.code = code;
    this.exitCode = options.exitCode ?? 1;
  }
}
