import { expect, it } from 'vitest';
import { corpus } from './corpus.ts';
import { ClusterLife, type LifeOptions, type Outcome } from './life.ts';

// Random lives of clusters of whole members. SIM_SECONDS is how long fresh seeds are tried (5, or 120 where CI is set); RAFT_SIM_FIRST_SEED where
// they begin.

const seconds = Number(process.env['SIM_SECONDS'] ?? (process.env['CI'] ? 120 : 5));
const first = Number(process.env['RAFT_SIM_FIRST_SEED'] ?? Math.floor(Math.random() * 2 ** 30));
const steps = 300;

async function live(options: LifeOptions): Promise<Outcome> {
  const life = new ClusterLife(options);
  try {
    return await life.run();
  } catch (error) {
    const off = options.without === undefined ? '' : ` --without ${options.without.join(',')}`;
    const replay = `npm run sim:raft -- --seed ${options.seed} --steps ${life.steps}${off}`;
    throw new Error(`${(error as Error).message}\nreplay and shrink: ${replay}`, { cause: error });
  }
}

it('keeps its promises over a corpus of seeds, in which everything happens', async () => {
  const total = {
    kills: 0,
    powerCuts: 0,
    diskFaults: 0,
    restores: 0,
    elections: 0,
    confChanges: 0,
    reads: 0,
    writes: 0,
  };
  let refusals = 0;
  for (const { seed, steps } of corpus) {
    const outcome = await live({ seed, steps });
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += outcome[key];
    refusals += outcome.refusals;
  }
  for (const [what, count] of Object.entries(total)) expect(count, what).toBeGreaterThan(corpus.length);
  expect(refusals).toBeGreaterThan(0);
});

it('lives the same life for the same seed', async () => {
  expect(await live({ seed: 5, steps: 120 })).toEqual(await live({ seed: 5, steps: 120 }));
});

it('tells lives of different seeds apart', async () => {
  const [one, other] = [await live({ seed: 1, steps: 20 }), await live({ seed: 2, steps: 20 })];
  expect(one.hash).not.toBe(other.hash);
});

it(`keeps its promises over ${seconds} s of fresh seeds`, { timeout: (seconds + 100) * 1000 }, async () => {
  const until = performance.now() + seconds * 1000;
  for (let seed = first; performance.now() < until; seed++) await live({ seed, steps });
});
