import { afterAll, beforeAll, describe } from 'vitest';
import { badInput } from './scenarios/bad-input.ts';
import { clientsOverTls } from './scenarios/clients-over-tls.ts';
import { dockerCommandLine } from './scenarios/docker-command-line.ts';
import { failures } from './scenarios/failures.ts';
import { aFormedCluster } from './scenarios/formed-cluster.ts';
import { membership } from './scenarios/membership.ts';
import { newScene } from './scenarios/scene.ts';
import { updates } from './scenarios/updates.ts';
import { type RuntimeName, World } from './world.ts';

// What a cluster must do for those who run their company on it, once for each runtime. The tests of a suite share one cluster and run in order;
// each leaves it whole.

export function scenarios(runtime: RuntimeName): void {
  let world: World;
  beforeAll(async () => {
    world = await World.make(runtime);
  }, 120_000);
  afterAll(async () => {
    await world?.stop();
  }, 60_000);

  const scene = newScene(runtime, () => world);
  describe('a formed cluster', () => aFormedCluster(scene));
  if (runtime === 'docker') {
    describe('clients over TLS', () => clientsOverTls(scene));
    describe("Docker's own command line", () => dockerCommandLine(scene));
  }
  describe('bad input', () => badInput(scene));
  describe('updates', () => updates(scene));
  describe('failures', () => failures(scene));
  describe('membership', () => membership(scene));
}
