import { setTimeout as sleep } from 'node:timers/promises';
import type { Service } from '@swarmctl/shared/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab, noLab } from './lab.ts';
import { Load, LoadServices, report } from './traffic.ts';

// Nothing is dropped, in small: `npm test -- load` tries the rest, and more of it.

const missing = noLab();
const name = `d${process.pid}`;

describe.skipIf(missing)(
  `a little traffic through two hosts${missing ? ` (skipped: ${missing} is missing)` : ''}`,
  () => {
    let lab: Lab;
    let services: LoadServices;

    beforeAll(async () => {
      lab = await Lab.up({ name, nodes: 2, managers: 1 });
      services = new LoadServices(lab);
      await services.create('web', 8080, 4, 5_000, '--update-monitor', '500ms');
      await services.settled('web', 4);
    }, 60_000);
    afterAll(async () => {
      await Lab.remove(name);
    }, 60_000);

    test('an update that stops first, then a scale down: no request fails and no transfer is cut, by TCP or UDP', async () => {
      const load = new Load(lab, 8080, { rate: 60, kept: 12, transfers: 6, transferMs: 1_500, udp: 30 }, lab.hosts);
      await sleep(1_000);
      await services.api.ctl(
        ...['service', 'update', '--quiet', '--update-order', 'stop-first', '--update-parallelism', '2'],
        ...['--update-monitor', '500ms', '--env-add', 'VERSION=2', 'web'],
      );
      await services.settled('web', 4);
      expect((await services.api.api.get<Service>('/services/web')).UpdateStatus?.State).toBe('completed');
      await services.api.ctl('service', 'scale', '-d', 'web=2');
      await services.settled('web', 2);
      const outcome = await load.stop();
      report(outcome);
      expect(outcome.failures.slice(0, 3), `${outcome.failures.length} failures`).toEqual([]);
      for (const kind of ['new', 'kept', 'transfer', 'udp'] as const) {
        expect(outcome[kind].sent, kind).toBeGreaterThan(0);
        expect(outcome[kind].ok, kind).toBe(outcome[kind].sent);
      }
      expect(new Set(Object.values(outcome.tasks).map(({ version }) => version))).toEqual(new Set(['1', '2']));
    }, 60_000);
  },
);
