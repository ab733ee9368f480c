// Errors between processes: which operation, and which ranks are the reason.

export type DistributedErrorCode =
  /** The environment or the options do not describe a process group. */
  | 'ENVIRONMENT'
  /** initProcessGroup was not called, was called twice, or the group was destroyed. */
  | 'NO_GROUP'
  /** Ranks did not come to an operation in time. */
  | 'RANK_MISSING'
  /** Ranks have died, failed before, or left. */
  | 'RANK_GONE'
  /** Ranks are in different operations, or in one with different tensors. */
  | 'RANKS_DISAGREE'
  /** An argument that no collective takes. */
  | 'ARGUMENT'
  /** Anything else that went wrong between the processes. */
  | 'COMMUNICATION';

export class DistributedError extends Error {
  readonly code: DistributedErrorCode;
  readonly operation: string;
  /** Ranks of the whole world that are the reason, where it is known. */
  readonly ranks: readonly number[];

  constructor(
    code: DistributedErrorCode,
    operation: string,
    problem: string,
    options: { ranks?: readonly number[]; cause?: unknown } = {},
  ) {
    super(`${operation}: ${problem}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'DistributedError';
    this.code = code;
    this.operation = operation;
    this.ranks = options.ranks ?? [];
  }
}
