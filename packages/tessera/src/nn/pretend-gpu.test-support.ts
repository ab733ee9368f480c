/**
 * A GPU that is not there, for tests of where tensors are: everything is computed on the CPU, and each tensor is remembered
 * as being on `cuda:0` or on the host. An operation with tensors of both is noted, as a GPU would refuse it; so are values
 * that the host reads, for each makes it wait, and copies to the device. A recorded graph runs again what it recorded and
 * refuses what no recording can hold. Use: vi.mock('@tessera/torch', async (original) => (await import(…)).pretendGpu(original)).
 */

import type * as Torch from '@tessera/torch';

const GPU = 'cuda:0';

interface Log {
  /** Operations that were given tensors of both, with their devices. */
  mixed: string[];
  /** Values of the device that the host asked for, and waited for. */
  reads: number;
  /** Copies from the host to the device. */
  uploads: number;
  /** Operations on the device. */
  operations: number;
}

export const gpuLog: Log = { mixed: [], reads: 0, uploads: 0, operations: 0 };

export function clearGpuLog(): void {
  Object.assign(gpuLog, { mixed: [], reads: 0, uploads: 0, operations: 0 });
}

const there = new Set<number>();
let recording = false;

function refuseWhileRecording(what: string): void {
  if (recording) throw new Error(`${what} while a graph is recorded`);
}

function read(tensor: Torch.Tensor): void {
  if (!there.has(tensor.handle)) return;
  refuseWhileRecording('a value was read');
  gpuLog.reads++;
}

export async function pretendGpu(original: () => Promise<typeof Torch>): Promise<typeof Torch> {
  const torch = await original();
  const { Tensor } = torch;
  const place = (tensor: Torch.Tensor, onGpu: boolean): Torch.Tensor => {
    if (onGpu) there.add(tensor.handle);
    else there.delete(tensor.handle);
    return tensor;
  };
  const move = (tensor: Torch.Tensor, device: string): Torch.Tensor => {
    const isThere = there.has(tensor.handle);
    if (device.startsWith('cuda') && !isThere) {
      refuseWhileRecording('a tensor was copied to the device');
      gpuLog.uploads++;
    } else if (device === 'cpu') read(tensor);
    return place(tensor.clone(), device.startsWith('cuda'));
  };

  const proto = Tensor.prototype as unknown as Record<string, unknown>;
  const own = (name: string): ((...args: unknown[]) => unknown) => proto[name] as never;
  const [toDtypeOrDevice, grad] = [own('to'), Object.getOwnPropertyDescriptor(proto, 'grad')!];
  Object.defineProperty(proto, 'device', {
    get(this: Torch.Tensor) {
      return there.has(this.handle) ? GPU : 'cpu';
    },
  });
  proto.to = function (this: Torch.Tensor, target: string) {
    return target === 'cpu' || target.startsWith('cuda') ? move(this, target) : toDtypeOrDevice.call(this, target);
  };
  for (const name of ['item', 'toBytes', 'toTypedArray', 'asTypedArray']) {
    const plain = own(name);
    proto[name] = function (this: Torch.Tensor) {
      read(this);
      return plain.call(this);
    };
  }
  Object.defineProperty(proto, 'grad', {
    get(this: Torch.Tensor) {
      const found = grad.get!.call(this) as Torch.Tensor | undefined;
      return found === undefined ? undefined : place(found, there.has(this.handle));
    },
    set: grad.set!,
  });

  torch.listen(({ operation, args, result }) => {
    const given = tensorsIn(args, Tensor);
    const onGpu = given.filter((tensor) => there.has(tensor.handle));
    if (onGpu.length > 0) gpuLog.operations++;
    // A copy is the one operation that may have both.
    if (onGpu.length > 0 && onGpu.length < given.length && operation.name !== 'copy_') {
      gpuLog.mixed.push(`${operation.name}(${given.map((tensor) => tensor.device).join(', ')})`);
    }
    const isThere = operation.name === 'copy_' ? there.has(given[0]!.handle) : onGpu.length > 0;
    for (const tensor of tensorsIn([result], Tensor)) place(tensor, isThere);
  });

  const makers = ['zeros', 'ones', 'empty', 'full', 'arange'] as const;
  const made = Object.fromEntries(
    makers.map((name) => [
      name,
      (...args: unknown[]) => {
        const options = args.at(-1) as { device?: string };
        const onGpu = typeof options === 'object' && options.device?.startsWith('cuda') === true;
        const plain = onGpu ? [...args.slice(0, -1), { ...options, device: 'cpu' }] : args;
        return place((torch[name] as (...all: unknown[]) => Torch.Tensor)(...plain), onGpu);
      },
    ]),
  );
  const { arange } = made as { arange: typeof Torch.arange };
  return {
    ...torch,
    ...made,
    // Its mask for listeners is made inside the package, out of reach of what is replaced here.
    attendRows: (query, keys, values, lengths) => {
      if (lengths === undefined) return torch.scaledDotProductAttention(query, keys, values);
      const positions = arange(0, keys.size(2), 1, { device: lengths.device });
      const attnMask = positions.lt(lengths.unsqueeze(1)).unsqueeze(1).unsqueeze(1);
      return torch.scaledDotProductAttention(query, keys, values, { attnMask });
    },
    gradients: (outputs, inputs, options) =>
      torch.gradients(outputs, inputs, options).map((found, i) => {
        if (found !== undefined) place(found, there.has(inputs[i]!.handle));
        return found;
      }) as never,
    cudaIsAvailable: () => true,
    cudaDeviceCount: () => 1,
    setDevice: () => {},
    toAsync: move,
    CudaGraph: PretendGraph as never,
  };
}

function tensorsIn(values: readonly unknown[], Tensor: typeof Torch.Tensor): Torch.Tensor[] {
  return values.flatMap((value) => {
    if (value instanceof Tensor) return value.isLive ? [value] : [];
    return Array.isArray(value) ? tensorsIn(value, Tensor) : [];
  });
}

class PretendGraph {
  readonly result: Record<string, Torch.Tensor | undefined>;
  private readonly body: () => Record<string, Torch.Tensor | undefined>;

  private constructor(body: PretendGraph['body']) {
    this.body = body;
    this.result = body();
  }

  static capture(body: PretendGraph['body'], { warmUps = 3 } = {}): PretendGraph {
    for (let k = 0; k < warmUps; k++) body();
    recording = true;
    try {
      return new PretendGraph(body);
    } finally {
      recording = false;
    }
  }

  /** The body once more, its results where those of the recording were. */
  replay(): PretendGraph['result'] {
    const fresh = this.body();
    for (const [name, tensor] of Object.entries(this.result)) tensor?.copy_(fresh[name]!);
    return this.result;
  }

  dispose(): void {}
}
