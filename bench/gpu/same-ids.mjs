// Token ids that must not depend on how they are drawn: with CUDA graphs and without them the same ids, and on the device
// nearly those of the CPU (float32; where the two best scores nearly tie, another order of addition decides).
//
//   node bench/gpu/same-ids.mjs            DEVICE=cpu: the recorded path without a recording

import { autonatSearched8, autoregressiveSettings, ENAT_PRESETS, enatStrategy } from '@tessera/schedule';
import * as T from '@tessera/torch';
import {
  AutoregressiveGeneration,
  familyOf,
  forgetGraph,
  generateLabelled,
  initialise,
  loadModule,
  modelPreset,
  philoxTokenNoise,
  useDevice,
} from 'tessera';
import { device } from './measure.mjs';

const LEAST_EQUAL = 0.99;
const large = device === 'cpu' ? [] : ['enat-l', 'autonat-l', 'gpt-b'];
let failures = 0;

for (const preset of ['enat-nano', 'autonat-nano', 'gpt-nano', ...large]) {
  const dtypes = preset.endsWith('nano') ? ['float32', 'bfloat16'] : ['bfloat16'];
  for (const dtype of device === 'cpu' ? ['float32'] : dtypes) {
    useDevice('cpu');
    T.manualSeed(2);
    const { family, config } = modelPreset(preset);
    const construct = (p) => familyOf(family).construct(config, p);
    const whole = initialise(construct);
    T.noGrad(() => T.scope(() => [...whole.state.values()].forEach((x) => void x.add_(x.randnLike().mul(0.02)))));
    useDevice(device);
    const model = loadModule(construct, whole.state, preset, dtype);
    const plain = draw(model, false);
    judge(`${preset} ${dtype}: graphs on and off`, share(draw(model, true), plain), 1);
    if (preset.endsWith('nano') && dtype === 'float32' && device !== 'cpu') {
      useDevice('cpu');
      judge(`${preset}: ids of the CPU`, share(plain, draw(whole, false)), LEAST_EQUAL);
    }
    model.dispose();
    whole.dispose();
  }
}
process.exitCode = failures > 0 ? 1 : 0;

/** The ids of three batches of four images, the second and third of which are replayed where graphs are on. */
function draw(model, graphs) {
  const labels = [0, 1, 2, 3];
  return [0, 4, 8].flatMap((first) => {
    if (model.generation === 'masked') {
      const strategy = model.family === 'enat' ? enatStrategy(ENAT_PRESETS[256]) : autonatSearched8();
      const tokens = T.scope(() => generateLabelled(model, { strategy, labels, seed: 5, first, graphs }).toNumbers());
      if (first === 8) forgetGraph(model);
      return tokens;
    }
    const generation = new AutoregressiveGeneration(model, {
      settings: autoregressiveSettings({ guidanceScale: 2, topK: 500 }),
      noise: philoxTokenNoise(5),
      images: labels.map((i) => first + i),
      condition: (images, guided) =>
        model.conditionOn(
          T.tensor(
            images.map((i) => i % 4),
            'int64',
          ),
          guided,
        ),
      slots: 3,
      graphs,
    });
    const rows = new Map();
    while (!generation.isDone) {
      for (const { image, tokens } of generation.step()) {
        rows.set(image, tokens.toNumbers());
        tokens.dispose();
      }
    }
    generation.dispose();
    return [...rows].sort(([a], [b]) => a - b).flatMap(([, row]) => row);
  });
}

function share(a, b) {
  return a.filter((id, i) => id === b[i]).length / b.length;
}

function judge(name, equal, least) {
  if (!(equal >= least)) failures++;
  console.log(`${equal >= least ? 'ok   ' : 'FAIL '} ${name}: ${(100 * equal).toFixed(2)} % equal`);
}
