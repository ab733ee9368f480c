/** Axis marks at round numbers: 1, 2 or 5 times a power of ten; on a logarithmic axis powers of ten, or finer. */

export interface Axis {
  /** Range of the axis, on which the outer marks lie or between which they fall. */
  low: number;
  high: number;
  ticks: { value: number; text: string }[];
  /** Where a value lies: 0 at `low`, 1 at `high`. */
  place(value: number): number;
}

export function linearAxis(low: number, high: number, count: number): Axis {
  const [from, to] = low === high ? [low - padding(low), high + padding(high)] : [low, high];
  const step = roundStep((to - from) / count);
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => {
    const value = (first + i) * step;
    return { value, text: formatTick(value, Math.min(digits, 6)) };
  });
  return { low: from, high: to, ticks, place: (value) => (value - from) / (to - from) };
}

/** Both ends must be above 0. */
export function logAxis(low: number, high: number): Axis {
  const from = Math.log10(low) - 0.02;
  const to = Math.log10(high) + 0.02;
  // Fewer than two powers of ten in the range: 1, 2 and 5 of each.
  const factors = Math.floor(to) - Math.ceil(from) >= 1 ? [1] : [1, 2, 5];
  const ticks: Axis['ticks'] = [];
  for (let power = Math.floor(from); power <= Math.ceil(to); power++) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      const place = Math.log10(value);
      if (place >= from && place <= to)
        ticks.push({ value, text: formatTick(value, Math.min(6, Math.max(0, -power))) });
    }
  }
  return { low: 10 ** from, high: 10 ** to, ticks, place: (value) => (Math.log10(value) - from) / (to - from) };
}

/** The smallest of 1, 2, 5 times a power of ten that is at least `step`. */
function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= step * (1 - 1e-9))!;
  return factor * power;
}

function padding(value: number): number {
  return value === 0 ? 1 : Math.abs(value) / 10;
}

/** Such as `12k` and `0.05`. */
function formatTick(value: number, digits: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-5)) return value.toExponential().replace('e+', 'e');
  if (size >= 1e6) return `${trimmed(value / 1e6)}M`;
  if (size >= 1e4) return `${trimmed(value / 1e3)}k`;
  return value.toFixed(digits);
}

function trimmed(value: number): string {
  return String(Number(value.toFixed(3)));
}
