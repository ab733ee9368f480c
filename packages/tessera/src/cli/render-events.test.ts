import { describe, expect, it } from 'vitest';
import type { PipelineEvent } from '../pipelines/events.ts';
import { type EventRenderer, formatDuration, jsonRenderer, textRenderer } from './render-events.ts';

class Output {
  text = '';
  isTTY: boolean;
  columns = 80;

  constructor(isTTY = false) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.text += text;
  }
}

function step(done: number, more: object = {}): PipelineEvent {
  return { kind: 'progress', stage: 'train', done, total: 1000, unit: 'steps', ...more };
}

/** Shows an event a second. */
function play(renderer: EventRenderer, events: readonly PipelineEvent[], clock: { now: number }): void {
  for (const event of events) {
    renderer.show(event);
    clock.now += 1000;
  }
}

describe('textRenderer without a terminal', () => {
  it('writes plain lines: a stage, every 20 seconds, its end', () => {
    const out = new Output();
    const clock = { now: 0 };
    const events: PipelineEvent[] = [
      { kind: 'stage', stage: 'train', message: 'Training' },
      ...Array.from({ length: 45 }, (_, i) => step(10 * (i + 1), { detail: 'loss 1.5' })),
      { kind: 'warning', message: 'careful' },
      step(1000),
      { kind: 'file', path: 'a.png', what: 'samples' },
      { kind: 'result', result: {} },
    ];
    play(
      textRenderer(out, () => clock.now),
      events,
      clock,
    );
    expect(out.text.split('\n')).toEqual([
      'Training',
      '  200/1,000 steps, 10.0 steps/s, 1 min 20 s left, loss 1.5',
      '  400/1,000 steps, 10.0 steps/s, 1 min 00 s left, loss 1.5',
      'warning: careful',
      '  1,000 steps in 47 s',
      'samples: a.png',
      '',
    ]);
  });

  it("prefers the pipeline's own rate, and makes control characters visible", () => {
    const out = new Output();
    const clock = { now: 0 };
    const renderer = textRenderer(out, () => clock.now);
    play(renderer, [{ kind: 'note', message: 'class \u001b[2J' }, step(1)], clock);
    clock.now += 30_000;
    renderer.show(step(2, { rate: 0.25, secondsLeft: 7300 }));
    expect(out.text).toBe('class \\x1b[2J\n  2/1,000 steps, 4.0 s each, 2 h 01 min left\n');
  });
});

describe('textRenderer on a terminal', () => {
  it('redraws one line in place, and leaves a summary', () => {
    const out = new Output(true);
    const clock = { now: 0 };
    play(
      textRenderer(out, () => clock.now),
      [step(250), step(500), step(1000)],
      clock,
    );
    const clear = '\r\u001b[K';
    expect(out.text).toBe(
      `${clear}  ━━━━━━────────────────── 250/1,000 steps` +
        `${clear}  ━━━━━━━━━━━━──────────── 500/1,000 steps, 500 steps/s, 1.0 s left` +
        `${clear}  1,000 steps in 2.0 s\n`,
    );
  });

  it('is never wider than the terminal and never redraws too often', () => {
    const out = new Output(true);
    out.columns = 30;
    const renderer = textRenderer(out, () => 0);
    for (let i = 0; i < 100; i++) renderer.show(step(i, { detail: 'x'.repeat(50) }));
    expect(out.text.split('\r')).toHaveLength(2);
    expect(out.text.replace('\r\u001b[K', '')).toHaveLength(29);
  });

  it('puts lines above the bar', () => {
    const out = new Output(true);
    const renderer = textRenderer(out, () => 0);
    renderer.show(step(1));
    renderer.show({ kind: 'note', message: 'hello' });
    const bar = `  ${'─'.repeat(24)} 1/1,000 steps`;
    const clear = '\r\u001b[K';
    expect(out.text).toBe(`${clear}${bar}${clear}hello\n${clear}${bar}`);
  });
});

describe('jsonRenderer', () => {
  it('writes an object a line and says what JSON has no word for', () => {
    const out = new Output(true);
    const renderer = jsonRenderer(out);
    renderer.show({ kind: 'note', message: 'two\nlines' });
    renderer.show({ kind: 'result', result: { loss: Number.NaN } });
    expect(out.text).toBe('{"kind":"note","message":"two\\nlines"}\n{"kind":"result","result":{"loss":"NaN"}}\n');
  });
});

describe('formatDuration', () => {
  it.each([
    [-1, '0.0 s'],
    [9.94, '9.9 s'],
    [59.4, '59 s'],
    [59.6, '1 min 00 s'],
    [3599.7, '1 h 00 min'],
    [7325, '2 h 02 min'],
  ])('%d', (seconds, expected) => {
    expect(formatDuration(seconds)).toBe(expected);
  });
});
