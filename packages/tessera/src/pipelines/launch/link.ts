/**
 * A connection between two launchers: JSON messages, one a line, and a sign of life every second. A link is lost when it
 * closes or when nothing has come for ten seconds, as when a cable is cut.
 */

import type { Socket } from 'node:net';
import type { Assignment, Outcome } from './local-ranks.ts';

export type LaunchMessage =
  /** From a machine to the first one: here I am. */
  | { kind: 'join'; node: number; nodes: number; count: number }
  /** From the first one: start your ranks. */
  | ({ kind: 'start' } & Assignment)
  /** How a machine's ranks have ended. */
  | { kind: 'ended'; outcome: Outcome }
  /** From the first one: end your ranks, another machine's have failed. */
  | { kind: 'end' }
  /** From the first one: that was it. */
  | { kind: 'finish'; outcome: Outcome };

const BEAT_MS = 1000;
const SILENCE_MS = 10_000;
const LONGEST_LINE = 1 << 16;

export class Link {
  /** Why it is no more. */
  readonly lost: Promise<string>;
  onMessage: (message: LaunchMessage) => void = () => {};
  private readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    // Not the socket's own timeout, which takes what is written here for a sign of life.
    let heardAt = performance.now();
    let beat: NodeJS.Timeout;
    this.lost = new Promise((resolve) => {
      beat = setInterval(() => {
        if (socket.writable) socket.write('\n');
        if (performance.now() - heardAt < SILENCE_MS) return;
        resolve(`no sign of life for ${SILENCE_MS / 1000} s`);
        socket.destroy();
      }, BEAT_MS);
      socket.on('error', (error) => resolve(error.message));
      socket.on('close', () => {
        clearInterval(beat);
        resolve('the connection was closed');
      });
    });
    let rest = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      heardAt = performance.now();
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop()!;
      if (rest.length > LONGEST_LINE) socket.destroy();
      for (const line of lines) if (line !== '') this.receive(line);
    });
  }

  send(message: LaunchMessage): void {
    if (this.socket.writable) this.socket.write(`${JSON.stringify(message)}\n`);
  }

  close(): void {
    this.socket.end();
  }

  private receive(line: string): void {
    try {
      this.onMessage(JSON.parse(line) as LaunchMessage);
    } catch {
      // Somebody who does not speak this.
      this.socket.destroy();
    }
  }
}
