/** What can go wrong with a training run, as the person who started it should read it. */

export type TrainingErrorCode =
  /** The loss or a gradient is NaN or infinite. */
  | 'NOT_FINITE'
  /** A task gave a loss for a network that it does not list. */
  | 'PART'
  /** The folder holds a run with other settings. */
  | 'RUN_CONFIG_DIFFERS'
  /** Another process writes this run. */
  | 'RUN_BUSY'
  /** The folder holds something that is not a run of this program. */
  | 'RUN_FOLDER'
  /** The processes of a run do not fit one another or the settings. */
  | 'RANKS'
  /** A checkpoint is not whole, or not what its manifest says. */
  | 'CHECKPOINT_READ'
  /** A checkpoint could not be written; earlier ones are whole. */
  | 'CHECKPOINT_WRITE';

export class TrainingError extends Error {
  readonly code: TrainingErrorCode;

  constructor(code: TrainingErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TrainingError';
    this.code = code;
  }
}
