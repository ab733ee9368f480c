import { defineConfig } from 'vitest/config';

// One project a stage of `npm test` (scripts/test.mjs): vitest run --project unit
const project = (name: string, include: string) => ({ extends: true as const, test: { name, include: [include] } });

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 2,
    // Two workers on two cores: more threads would only wait for one another. Children of the tests inherit it.
    env: { OMP_NUM_THREADS: '1' },
    testTimeout: 30_000,
    projects: [
      project('unit', 'packages/*/src/**/*.test.ts'),
      project('parity', 'test/parity/**/*.test.ts'),
      project('repo', 'test/*.test.ts'),
      project('slow', 'test/slow/**/*.test.ts'),
    ],
  },
});
