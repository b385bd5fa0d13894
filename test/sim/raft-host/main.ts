import { parseArgs } from 'node:util';
import { ClusterLife, kinds, type LifeOptions } from './life.ts';
import { shrink } from './shrink.ts';

// The command: npm run sim:raft -- --seed N --steps M [--hours H] [--seeds COUNT] [--without KIND,...] [--no-shrink]

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    steps: { type: 'string' },
    hours: { type: 'string' },
    without: { type: 'string', default: '' },
    'no-shrink': { type: 'boolean', default: false },
  },
});

const without = values.without.split(',').filter((kind) => kind !== '');
const unknown = without.filter((kind) => !(kinds as readonly string[]).includes(kind));
if (unknown.length > 0) throw new Error(`unknown: ${unknown.join(', ')}; there are ${kinds.join(', ')}`);

const hours = values.hours === undefined ? {} : { hours: Number(values.hours) };
const steps = Number(values.steps ?? (values.hours === undefined ? 1000 : Number.MAX_SAFE_INTEGER));

const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

async function live(options: LifeOptions): Promise<boolean> {
  const begun = performance.now();
  const life = new ClusterLife(options);
  try {
    const { seed, hash, clusterMs, ...counts } = await life.run();
    const real = ((performance.now() - begun) / 1000).toFixed(1);
    say(`seed ${seed}: ${(clusterMs / 3_600_000).toFixed(2)} h of the cluster in ${real} s, trace ${hash}`);
    say(
      `  ${Object.entries(counts)
        .map(([name, count]) => `${name} ${count}`)
        .join(', ')}`,
    );
    return true;
  } catch (error) {
    say(`seed ${options.seed}, step ${life.steps}: ${(error as Error).stack}`);
    const least = values['no-shrink']
      ? { ...options, steps: life.steps }
      : await shrink({ ...options, steps: life.steps });
    const off =
      least.without === undefined || least.without.length === 0 ? '' : ` --without ${least.without.join(',')}`;
    say(`replay: npm run sim:raft -- --seed ${least.seed} --steps ${least.steps}${off} --no-shrink`);
    return false;
  }
}

let failed = false;
for (let i = 0; i < Number(values.seeds); i++) {
  failed = !(await live({ seed: Number(values.seed) + i, steps, without, ...hours })) || failed;
}
process.exit(failed ? 1 : 0);
