import { noGrad, scope, tensor } from '@tessera/torch';
import { afterEach, expect, test, vi } from 'vitest';
import { beside, DEVICE_VARIABLE, DeviceError, networkDevice, ownGpu, useDevice } from './device.ts';
import { Linear } from './layers.ts';
import { initialise, Module, type ParameterBuilder } from './module.ts';
import { gpuLog } from './pretend-gpu.test-support.ts';
import { loadModule } from './state-dict.ts';

vi.mock('@tessera/torch', async (original) => (await import('./pretend-gpu.test-support.ts')).pretendGpu(original));

class One extends Module {
  readonly layer: Linear;

  constructor(p: ParameterBuilder) {
    super(p);
    this.layer = new Linear(p.child('layer'), 2, 3);
  }
}

afterEach(() => {
  useDevice('cpu');
  delete process.env[DEVICE_VARIABLE];
});

test('networks are made and loaded where the process says, inputs follow them', () => {
  scope(() => {
    const onCpu = initialise((p) => new One(p));
    expect(onCpu.device).toBe('cpu');
    useDevice('cuda');
    expect([networkDevice(), process.env[DEVICE_VARIABLE]]).toEqual(['cuda:0', 'cuda']);
    const fresh = initialise((p) => new One(p));
    const loaded = loadModule((p) => new One(p), onCpu.state, 'here');
    expect([fresh.device, loaded.device]).toEqual(['cuda:0', 'cuda:0']);
    const x = beside(tensor([[1, 2]]), loaded);
    expect(x.device).toBe('cuda:0');
    const y = noGrad(() => loaded.layer.forward(x));
    expect([y.device, y.shape]).toEqual(['cuda:0', [1, 3]]);
    expect(gpuLog.mixed).toEqual([]);
    loaded.layer.forward(tensor([[1, 2]]));
    expect(gpuLog.mixed).toEqual(['linear(cpu, cuda:0, cuda:0)']);
    for (const module of [onCpu, fresh, loaded]) module.dispose();
  });
});

test('loading copies, whatever the type', () => {
  const whole = initialise((p) => new One(p));
  const same = loadModule((p) => new One(p), whole.state, 'here');
  const half = loadModule((p) => new One(p), whole.state, 'here', 'bfloat16');
  const before = whole.layer.weight.toNumbers();
  noGrad(() => whole.layer.weight.zero_());
  expect(same.layer.weight.toNumbers()).toEqual(before);
  expect(half.layer.weight.dtype).toBe('bfloat16');
  for (const [i, value] of half.layer.weight.toNumbers().entries()) {
    expect(Math.abs(value - before[i]!)).toBeLessThanOrEqual(Math.abs(before[i]!) / 256);
  }
  for (const module of [whole, same, half]) module.dispose();
});

test('what is no device, or not here, is one clear error', () => {
  for (const name of ['gpu', 'cuda:', 'cuda:x', 'cuda:-1', '']) {
    expect(() => useDevice(name), name).toThrow(DeviceError);
    expect(() => useDevice(name), name).toThrow('cpu, cuda or cuda:N');
  }
  expect(() => useDevice('cuda:1')).toThrow('below cuda:1, the number of GPUs here, got cuda:1');
  expect(networkDevice()).toBe('cpu');
});

test('each process of a machine has the GPU of its number, or the one that it is shown', () => {
  expect([0, 1, 7].map((rank) => ownGpu(8, { LOCAL_RANK: `${rank}`, RANK: '9' }))).toEqual([0, 1, 7]);
  expect([ownGpu(8, {}), ownGpu(8, { CUDA_VISIBLE_DEVICES: '0,1,2,3,4,5,6,7', LOCAL_RANK: '5' })]).toEqual([0, 5]);
  expect(ownGpu(1, { CUDA_VISIBLE_DEVICES: '5', LOCAL_RANK: '5' })).toBe(0);
  vi.stubEnv('LOCAL_RANK', '1');
  expect(() => useDevice('cuda')).toThrow('below cuda:1, the number of GPUs here, got cuda:1');
  vi.stubEnv('LOCAL_RANK', '0');
  expect(useDevice('cuda')).toBe('cuda:0');
  vi.unstubAllEnvs();
});
