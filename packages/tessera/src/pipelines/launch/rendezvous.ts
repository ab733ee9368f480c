/**
 * How the launchers of several machines act as one. The first machine's holds the meeting place; the others join it, start
 * their ranks when it says so, tell how they ended, and start again or finish as it decides. A machine that is lost counts
 * as failed and may come back, until the time for meeting is over.
 */

import { createConnection, createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { PipelineError } from '../events.ts';
import { type LaunchMessage, Link } from './link.ts';
import type { Outcome } from './local-ranks.ts';

export interface MeetingPlace {
  host: string;
  port: number;
}

export function parseMeetingPlace(text: string): MeetingPlace {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match !== null && port >= 1 && port <= 65535) return { host: match[1]!, port };
  throw new PipelineError('OPTIONS', `--rdzv: expected HOST:PORT of the first machine, got "${text}".`);
}

interface Member {
  link: Link;
  count: number;
  /** Of the attempt under way. */
  ended: ((outcome: Outcome) => void) | undefined;
}

/** The first machine's side. */
export class Meeting {
  private readonly members = new Map<number, Member>();
  private readonly nodes: number;
  private readonly server: Server;
  private arrived: () => void = () => {};

  private constructor(nodes: number, server: Server) {
    this.nodes = nodes;
    this.server = server;
    server.on('connection', (socket) => this.welcome(new Link(socket)));
  }

  static async open({ port }: MeetingPlace, nodes: number): Promise<Meeting> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        reject(new PipelineError('RENDEZVOUS', `Cannot open port ${port} (${cause.message}): choose another --rdzv.`));
      });
      server.listen(port, resolve);
    });
    return new Meeting(nodes, server);
  }

  /** Resolves with the ranks of each machine but this one, once all are there. */
  async gather(timeoutMs: number, signal: AbortSignal | undefined): Promise<Map<number, number>> {
    const end = performance.now() + timeoutMs;
    while (this.members.size < this.nodes - 1) {
      signal?.throwIfAborted();
      const left = end - performance.now();
      if (left <= 0) {
        const missing = Array.from({ length: this.nodes - 1 }, (_, i) => i + 1).filter((i) => !this.members.has(i));
        throw new PipelineError(
          'RENDEZVOUS',
          `Machine ${missing.join(', ')} of ${this.nodes} did not come within ${timeoutMs / 1000} s.`,
        );
      }
      const came = new Promise<void>((resolve) => {
        this.arrived = resolve;
      });
      await Promise.race([came, sleep(Math.min(left, 500))]);
    }
    return new Map([...this.members].sort(([a], [b]) => a - b).map(([node, { count }]) => [node, count]));
  }

  /** Starts a machine's ranks; resolves when they have ended or the machine is lost. */
  start(node: number, message: Extract<LaunchMessage, { kind: 'start' }>): Promise<Outcome> {
    const member = this.members.get(node);
    const lost: Outcome = { kind: 'failed', code: 1, why: `machine ${node} was lost` };
    if (member === undefined) return Promise.resolve(lost);
    return new Promise((resolve) => {
      member.ended = resolve;
      member.link.send(message);
      void member.link.lost.then((why) => resolve({ ...lost, why: `machine ${node} was lost: ${why}` }));
    });
  }

  tell(message: LaunchMessage): void {
    for (const { link } of this.members.values()) link.send(message);
  }

  close(): void {
    for (const { link } of this.members.values()) link.close();
    this.server.close();
  }

  private welcome(link: Link): void {
    link.onMessage = (message) => {
      if (message.kind !== 'join' || message.nodes !== this.nodes || this.members.has(message.node)) {
        link.close();
        return;
      }
      const member: Member = { link, count: message.count, ended: undefined };
      this.members.set(message.node, member);
      void link.lost.then(() => this.members.delete(message.node));
      link.onMessage = (next) => {
        if (next.kind === 'ended') member.ended?.(next.outcome);
      };
      this.arrived();
    };
  }
}

/** Joins the meeting of the first machine; tries again until the time is over. */
export async function joinMeeting(
  { host, port }: MeetingPlace,
  hello: Extract<LaunchMessage, { kind: 'join' }>,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Link> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const socket = await new Promise<ReturnType<typeof createConnection>>((resolve, reject) => {
        const opening = createConnection({ host, port, timeout: 5000 });
        opening.once('connect', () => resolve(opening));
        opening.once('timeout', () => opening.destroy(new Error('no answer for 5 s')));
        opening.once('error', reject);
      });
      const link = new Link(socket);
      link.send(hello);
      return link;
    } catch (error) {
      if (performance.now() > end) {
        const reason = (error as Error).message;
        throw new PipelineError('RENDEZVOUS', `Cannot reach the first machine at ${host}:${port}: ${reason}.`);
      }
      await sleep(500);
    }
  }
}
