import { describe, expect, test } from 'vitest';
import { tryCompose } from './test-compose.ts';

const labelsOf = (lines: string) =>
  tryCompose(`services:\n  web:\n    image: web:1\n    ${lines.replaceAll('\n', '\n    ')}\n`).stack.services[0]?.spec
    .Labels ?? {};

describe('what reaches beyond the container is asked for by labels', () => {
  test.each<[string, Record<string, string>]>([
    ['privileged: true', { privileged: 'true' }],
    ['privileged: false\nipc: private\npid: ""\nuserns_mode: ""\nruntime: runc\ndevices: []', {}],
    [
      'devices: [/dev/snd, "/dev/a:/dev/b", "/dev/c:rw", {source: /dev/d, target: /dev/e, permissions: r}]',
      { devices: '/dev/snd,/dev/a:/dev/b,/dev/c:rw,/dev/d:/dev/e:r' },
    ],
    ['gpus: all', { gpus: 'all' }],
    ['gpus: [{driver: nvidia, count: 2}]', { gpus: '2' }],
    ['gpus: [{device_ids: ["0", GPU-1], capabilities: [gpu]}]', { gpus: 'device=0,GPU-1' }],
    ['deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}', { gpus: 'all' }],
    ['deploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: -1}]}}}', { gpus: 'all' }],
    ['ipc: host\npid: host', { ipc: 'host', pid: 'host' }],
    ['cgroup: private', { cgroupns: 'private' }],
    ['userns_mode: host\nruntime: runsc', { userns: 'host', runtime: 'runsc' }],
    ['shm_size: 256mb', { 'shm-size': '256mb' }],
    ['shm_size: 1.5g', { 'shm-size': '1610612736' }],
    [
      'security_opt: ["apparmor:mine", "systempaths=unconfined", "no-new-privileges:true"]',
      { 'security-opt': 'apparmor=mine,systempaths=unconfined' },
    ],
    ['ipc: host\ndeploy: {labels: {swarmctl.container.ipc: host}}', { ipc: 'host' }],
  ])('%s', (lines, wanted) => {
    const prefix = 'swarmctl.container.';
    const labels = Object.entries(labelsOf(lines)).filter(([key]) => key.startsWith(prefix));
    expect(Object.fromEntries(labels.map(([key, value]) => [key.slice(prefix.length), value]))).toEqual(wanted);
  });
});
