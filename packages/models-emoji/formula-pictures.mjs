// Pictures drawn by formulas, one formula a kind, every number drawn: what the local extractor is trained on beside emoji, so
// that it knows more than flat drawings on white. A picture is a function of its random numbers alone.

const TAU = 2 * Math.PI;

/** Each kind gives, from random numbers, a function of (x, y) in [-1, 1]² with values in [0, 1]. */
const KINDS = {
  stripes: (r) => {
    const [a, f, phase] = [r() * TAU, 2 + r() * 14, r() * TAU];
    return (x, y) => 0.5 + 0.5 * Math.sin(f * (x * Math.cos(a) + y * Math.sin(a)) + phase);
  },
  checks: (r) => {
    const [a, f] = [r() * TAU, 1.5 + r() * 6];
    return (x, y) => {
      const [u, v] = turned(x, y, a);
      return (Math.floor(u * f) + Math.floor(v * f)) & 1;
    };
  },
  rings: (r) => {
    const [cx, cy, f] = [spread(r, 0.6), spread(r, 0.6), 4 + r() * 16];
    return (x, y) => 0.5 + 0.5 * Math.sin(f * Math.hypot(x - cx, y - cy));
  },
  rays: (r) => {
    const [cx, cy, n] = [spread(r, 0.5), spread(r, 0.5), 3 + Math.floor(r() * 9)];
    return (x, y) => 0.5 + 0.5 * Math.sin(n * Math.atan2(y - cy, x - cx));
  },
  slope: (r) => {
    const a = r() * TAU;
    return (x, y) => 0.5 + 0.35 * (x * Math.cos(a) + y * Math.sin(a));
  },
  clouds: (r) => {
    const waves = Array.from({ length: 14 }, (_, i) => {
      const f = 1.5 * 1.25 ** i;
      return [f * spread(r, 1), f * spread(r, 1), r() * TAU, 1 / (1 + i)];
    });
    return (x, y) => 0.5 + 0.16 * waves.reduce((sum, [u, v, p, w]) => sum + w * Math.sin(u * x + v * y + p), 0);
  },
  bubbles: (r) => {
    const discs = Array.from({ length: 4 + Math.floor(r() * 10) }, () => [spread(r, 1), spread(r, 1), 0.08 + r() * 0.3, r()]);
    return (x, y) => discs.reduce((value, [cx, cy, size, tone]) => (Math.hypot(x - cx, y - cy) < size ? tone : value), 0);
  },
  polygon: (r) => {
    const [n, a, size] = [3 + Math.floor(r() * 5), r() * TAU, 0.4 + r() * 0.4];
    return (x, y) => {
      const angle = ((Math.atan2(y, x) + a + 2 * TAU) % (TAU / n)) - Math.PI / n;
      return Math.hypot(x, y) * Math.cos(angle) < size ? 1 : 0;
    };
  },
  dots: (r) => {
    const [f, size, a] = [2 + r() * 5, 0.15 + r() * 0.25, r() * TAU];
    return (x, y) => {
      const [u, v] = turned(x * f, y * f, a);
      return Math.hypot(u - Math.round(u), v - Math.round(v)) < size ? 1 : 0;
    };
  },
  cells: (r) => {
    const seeds = Array.from({ length: 6 + Math.floor(r() * 14) }, () => [spread(r, 1.1), spread(r, 1.1), r()]);
    return (x, y) => {
      let [best, tone] = [9, 0];
      for (const [cx, cy, own] of seeds) {
        const distance = (x - cx) ** 2 + (y - cy) ** 2;
        if (distance < best) [best, tone] = [distance, own];
      }
      return tone;
    };
  },
  spiral: (r) => {
    const [arms, tight] = [1 + Math.floor(r() * 4), 6 + r() * 12];
    return (x, y) => 0.5 + 0.5 * Math.sin(arms * Math.atan2(y, x) + tight * Math.hypot(x, y));
  },
  waves: (r) => {
    const [f, g, h] = [4 + r() * 10, 2 + r() * 6, 0.1 + r() * 0.3];
    return (x, y) => (Math.sin(f * (y + h * Math.sin(g * x))) > 0 ? 1 : 0);
  },
  mosaic: (r) => {
    const n = 4 + Math.floor(r() * 12);
    const tones = Array.from({ length: n * n }, r);
    return (x, y) => tones[Math.floor(((x + 1) / 2) * n) * n + Math.floor(((y + 1) / 2) * n)];
  },
  grain: (r) => {
    const [base, depth] = [0.3 + r() * 0.4, 0.1 + r() * 0.4];
    return () => base + spread(r, depth);
  },
  cross: (r) => {
    const [a, wide, long] = [r() * TAU, 0.08 + r() * 0.2, 0.5 + r() * 0.4];
    return (x, y) => {
      const [u, v] = turned(x, y, a).map(Math.abs);
      return Math.min(u, v) < wide && Math.max(u, v) < long ? 1 : 0;
    };
  },
  leaves: (r) => {
    const ovals = Array.from({ length: 3 + Math.floor(r() * 8) }, () => [spread(r, 0.9), spread(r, 0.9), r() * TAU, 0.15 + r() * 0.35, r()]);
    return (x, y) =>
      ovals.reduce((value, [cx, cy, a, size, tone]) => {
        const [u, v] = turned(x - cx, y - cy, a);
        return (u / size) ** 2 + (v / (size / 3)) ** 2 < 1 ? tone : value;
      }, 0.1);
  },
}; // biome-ignore format: one row a number

export const formulaKinds = Object.keys(KINDS);

/** Values of a side × side picture into `target`, [side, side, 3] bytes; between two colours that are drawn as well. */
export function drawFormula(kind, side, random, target) {
  const from = [random(), random(), random()];
  const to = from.map((value) => (value + 0.3 + 0.4 * random()) % 1);
  const value = KINDS[formulaKinds[kind]](random);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const t = Math.min(1, Math.max(0, value((2 * column + 1) / side - 1, (2 * row + 1) / side - 1)));
      const at = (row * side + column) * 3;
      for (let c = 0; c < 3; c++) target[at + c] = Math.round(255 * (from[c] + (to[c] - from[c]) * t));
    }
  }
}

function turned(x, y, angle) {
  return [x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)];
}

function spread(random, reach) {
  return reach * (2 * random() - 1);
}
