/**
 * Under `srun`, a process is told who it is by Slurm's names; here they become torchrun's, where those are not set. Only in
 * a job step: a batch script's own shell has some of the same variables and is no rank.
 * https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
 */

const FIRST_PORT = 20_000;
const PORTS = 20_000;

export function adoptSlurmEnvironment(env: NodeJS.ProcessEnv): void {
  const { SLURM_PROCID: rank, SLURM_STEP_NUM_TASKS: size, SLURM_LOCALID: local, SLURM_JOB_ID: job } = env;
  if (env.RANK !== undefined || rank === undefined || size === undefined || job === undefined) return;
  env.RANK = rank;
  env.WORLD_SIZE = size;
  env.LOCAL_RANK ??= local ?? '0';
  env.MASTER_ADDR ??= firstHost(env.SLURM_STEP_NODELIST ?? env.SLURM_JOB_NODELIST ?? 'localhost');
  // The same for all ranks of the step, another for the next one.
  env.MASTER_PORT ??= String(FIRST_PORT + ((Number(job) * 31 + Number(env.SLURM_STEP_ID ?? 0)) % PORTS));
}

/** Of a list such as `gpu[07-09,12],login1`: gpu07. */
export function firstHost(list: string): string {
  const match = /^([^[,]*)(?:\[([^\],-]+)[^\]]*\])?([^,[]*)/.exec(list);
  return match === null ? list : `${match[1]}${match[2] ?? ''}${match[3]}`;
}
