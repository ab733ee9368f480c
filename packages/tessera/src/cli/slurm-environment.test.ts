import { expect, it } from 'vitest';
import { adoptSlurmEnvironment, firstHost } from './slurm-environment.ts';

it.each([
  ['node1', 'node1'],
  ['gpu[07-09,12],login1', 'gpu07'],
  ['rack1-[3,5-6].cluster', 'rack1-3.cluster'],
  ['a,b', 'a'],
])('the first host of %s is %s', (list, host) => {
  expect(firstHost(list)).toBe(host);
});

const STEP = {
  SLURM_PROCID: '3',
  SLURM_STEP_NUM_TASKS: '8',
  SLURM_LOCALID: '1',
  SLURM_JOB_ID: '77',
  SLURM_STEP_ID: '2',
  SLURM_STEP_NODELIST: 'n[1-4]',
};

it('a task of a step is a rank', () => {
  const env: NodeJS.ProcessEnv = { ...STEP };
  adoptSlurmEnvironment(env);
  expect(env).toMatchObject({ RANK: '3', WORLD_SIZE: '8', LOCAL_RANK: '1', MASTER_ADDR: 'n1' });
  expect(Number(env.MASTER_PORT)).toBe(20_000 + 77 * 31 + 2);
});

it('what is set stands, and a batch script is no rank', () => {
  const env: NodeJS.ProcessEnv = { ...STEP, RANK: '0', WORLD_SIZE: '1' };
  adoptSlurmEnvironment(env);
  expect(env).toEqual({ ...STEP, RANK: '0', WORLD_SIZE: '1' });
  const { SLURM_STEP_NUM_TASKS: _, ...script } = STEP;
  const shell: NodeJS.ProcessEnv = { ...script };
  adoptSlurmEnvironment(shell);
  expect(shell).toEqual(script);
});
