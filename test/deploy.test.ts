// What deploy/ holds is what Kubernetes and this command line take: manifests against schemas of the fields that they use
// (unknown fields are errors, as with kubectl --validate=strict), scripts by the shell's own parser, commands by ours.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { COMMANDS } from '../packages/tessera/dist/cli/commands.js';
import { parseStrictly } from '../packages/tessera/dist/cli/strict-arguments.js';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const read = (path: string): string => readFileSync(join(root, 'deploy', path), 'utf8');

/** RFC 1123 label: what names of objects, containers and volumes must be. */
const name = z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
const metadata = z.strictObject({ name, labels: z.record(z.string(), z.string()).optional() });
const restartPolicy = z.enum(['OnFailure', 'Never']);

const pod = z
  .strictObject({
    subdomain: name.optional(),
    restartPolicy: restartPolicy.optional(),
    terminationGracePeriodSeconds: z.int().min(30),
    containers: z
      .array(
        z.strictObject({
          name,
          image: z.string().min(1),
          command: z.array(z.string()).min(1),
          args: z.array(z.string()).optional(),
          resources: z.strictObject({ limits: z.record(z.string(), z.union([z.int(), z.string()])) }),
          volumeMounts: z.array(z.strictObject({ name, mountPath: z.string().startsWith('/') })),
        }),
      )
      .length(1),
    volumes: z.array(
      z.union([
        z.strictObject({ name, persistentVolumeClaim: z.strictObject({ claimName: name }) }),
        z.strictObject({ name, emptyDir: z.strictObject({ medium: z.literal('Memory') }) }),
      ]),
    ),
  })
  .refine(({ containers, volumes }) => {
    const there = volumes.map((volume) => volume.name);
    return containers.every(({ volumeMounts }) => volumeMounts.every((mount) => there.includes(mount.name)));
  }, 'a mount of no volume');

const service = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Service'),
  metadata,
  spec: z.strictObject({
    clusterIP: z.literal('None'),
    publishNotReadyAddresses: z.literal(true),
    selector: z.record(z.string(), z.string()),
  }),
});

const job = z.strictObject({
  apiVersion: z.literal('batch/v1'),
  kind: z.literal('Job'),
  metadata,
  spec: z.strictObject({
    completionMode: z.literal('Indexed'),
    completions: z.int().min(1),
    parallelism: z.int().min(1),
    backoffLimit: z.int().min(0),
    template: z.strictObject({ spec: pod }),
  }),
});

const replica = z.strictObject({ replicas: z.int().min(1), restartPolicy, template: z.strictObject({ spec: pod }) });
const pytorchJob = z.strictObject({
  apiVersion: z.literal('kubeflow.org/v1'),
  kind: z.literal('PyTorchJob'),
  metadata,
  spec: z.strictObject({
    runPolicy: z.strictObject({ backoffLimit: z.int().min(0), cleanPodPolicy: z.enum(['None', 'All', 'Running']) }),
    pytorchReplicaSpecs: z.strictObject({ Master: replica, Worker: replica }),
  }),
});

/** Every flag must be one of the command's, every needed one there. Returns the values. */
function checkCommand([command, ...words]: string[]): Record<string, unknown> {
  const found = COMMANDS.find((one) => one.name === command);
  expect(found, command).toBeDefined();
  return parseStrictly(words, found!.args, command!);
}

function documents(path: string): unknown[] {
  return parseAllDocuments(read(path)).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS();
  });
}

test('the indexed Job', () => {
  const [first, second] = documents('kubernetes/indexed-job.yaml');
  const { metadata: ofService, spec: network } = service.parse(first);
  const { metadata: ofJob, spec } = job.parse(second);
  const { subdomain, containers } = spec.template.spec;
  expect([subdomain, network.selector]).toEqual([ofService.name, { 'job-name': ofJob.name }]);
  expect(spec.parallelism).toBe(spec.completions);
  const words = containers[0]!.args![0]!.replace(/^exec tessera /, '').replaceAll('"$JOB_COMPLETION_INDEX"', '1').split(/\s+/); // biome-ignore format: one row
  const end = words.indexOf('--');
  const launched = checkCommand(words.slice(0, end));
  expect(launched).toMatchObject({ nnodes: `${spec.completions}`, rdzv: `${ofJob.name}-0.${ofService.name}:29500` });
  expect(launched.nprocPerNode).toBe(String(containers[0]!.resources.limits['nvidia.com/gpu']));
  checkCommand(words.slice(end + 1));
});

test('the PyTorchJob', () => {
  const [manifest] = documents('kubernetes/pytorchjob.yaml');
  const { Master, Worker } = pytorchJob.parse(manifest).spec.pytorchReplicaSpecs;
  expect(Master.replicas).toBe(1);
  for (const { template } of [Master, Worker]) {
    const [container] = template.spec.containers;
    expect(container!.name).toBe('pytorch');
    expect(container!.command[0]).toBe('tessera');
    checkCommand(container!.command.slice(1));
  }
});

test('a field that Kubernetes does not know is refused here', () => {
  const [, manifest] = documents('kubernetes/indexed-job.yaml') as { spec: object }[];
  expect(job.safeParse({ ...manifest, spec: { ...manifest!.spec, completion: 2 } }).success).toBe(false);
});

test('the Slurm script', () => {
  execFileSync('bash', ['-n', join(root, 'deploy/slurm/train.sh')]);
  const words = read('slurm/train.sh')
    .match(/^\s+tessera (.*) "\$@"$/m)![1]!
    .split(' ');
  checkCommand(words);
});
