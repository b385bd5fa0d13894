import { expect, it } from 'vitest';
import { type Outcome, World } from './world.ts';

// Random lives of a raft cluster. A failing seed replays with:
//   SEED=<seed> STEPS=<steps> npx vitest run --project sim test/sim/raft/random.test.ts
// and SEEDS=<n> runs n fresh seeds instead of the usual few; FIERCE=1 makes every life one of many elections.

const steps = Number(process.env['STEPS'] ?? 1500);
/** The last are those that found something. */
const corpus = [...Array.from({ length: 40 }, (_, i) => i + 1), 868210939, 879970280, 673350031, 416111652];
const fresh = Number(process.env['SEEDS'] ?? 10);

const fierce = process.env['FIERCE'] === '1' ? { fierce: true } : {};

const run = (seed: number): Outcome => new World({ seed, steps, ...fierce }).run();

if (process.env['SEED'] !== undefined) {
  it(`seed ${process.env['SEED']}`, () => {
    expect(run(Number(process.env['SEED'])).committed).toBeGreaterThan(0);
  });
} else {
  it('keeps its promises over a corpus of seeds, in which everything happens', () => {
    const total = { committed: 0, reads: 0, elections: 0, crashes: 0, snapshots: 0, confChanges: 0, transfers: 0 };
    for (const seed of corpus) {
      const outcome = run(seed);
      for (const key of Object.keys(total) as (keyof Outcome)[]) total[key] += outcome[key];
    }
    for (const [what, count] of Object.entries(total)) expect(count, what).toBeGreaterThan(corpus.length);
  });

  it('keeps its promises over fresh seeds', () => {
    for (let i = 0; i < fresh; i++) run(Math.floor(Math.random() * 2 ** 31));
  });

  it('lives the same life for the same seed', () => {
    expect(run(7)).toEqual(run(7));
  });
}
