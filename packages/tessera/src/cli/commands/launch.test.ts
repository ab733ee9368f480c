import { expect, it } from 'vitest';
import { COMMANDS } from '../commands.ts';
import { launchCommand, SHARING, SINGLE } from './launch.ts';

it('knows of each command whether processes share its work', () => {
  expect([...SHARING, ...SINGLE].sort()).toEqual(COMMANDS.map(({ name }) => name).sort());
});

it('starts no other program of the name of a command that is one process', () => {
  const start = (rest: string[]) => () =>
    launchCommand.start({ nprocPerNode: '2', rest }, { signal: new AbortController().signal });
  expect(start(['convert', 'tokens'])).toThrow(/"tessera convert" is one process; train, .*, search share their work/);
  expect(start([])).toThrow(/^expected "-- COMMAND …" at the end$/);
});
