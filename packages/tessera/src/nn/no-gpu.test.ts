import { cudaIsAvailable } from '@tessera/torch';
import { expect, test } from 'vitest';
import { useDevice } from './device.ts';

test('a GPU that is not there is one clear error', () => {
  if (cudaIsAvailable()) expect(useDevice('cuda')).toMatch(/^cuda:\d+$/);
  else expect(() => useDevice('cuda')).toThrow(/^No CUDA for the device cuda: .*nvidia-smi.*npm run setup/);
  useDevice('cpu');
});
