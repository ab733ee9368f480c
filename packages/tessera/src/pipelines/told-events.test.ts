import { expect, it } from 'vitest';
import type { PipelineEvent } from './events.ts';
import { ToldEvents } from './told-events.ts';

const note = (message: string): PipelineEvent => ({ kind: 'note', message });

it('yields what is told, in order and before the end, and returns what the work returns', async () => {
  const events = new ToldEvents();
  const work = async (): Promise<number> => {
    for (const word of ['a', 'b', 'c']) {
      events.tell(note(word));
      await new Promise((resolve) => setImmediate(resolve));
    }
    events.tell(note('d'));
    return 7;
  };
  const seen: string[] = [];
  const running = events.during(work());
  let step = await running.next();
  for (; step.done !== true; step = await running.next()) if (step.value.kind === 'note') seen.push(step.value.message);
  expect(seen).toEqual(['a', 'b', 'c', 'd']);
  expect(step.value).toBe(7);
});

it('throws what the work throws', async () => {
  const events = new ToldEvents();
  const running = events.during(Promise.reject(new Error('broken')));
  await expect(running.next()).rejects.toThrow('broken');
});
