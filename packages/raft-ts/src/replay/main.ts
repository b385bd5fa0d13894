import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { replay } from './replay.ts';

// Replays etcd/raft's datadriven scripts against the core:
//   npm run raft:replay -- [--tier 1|2|3] <file or folder>...

/** A file that is named is a script; of a folder, the `.txt` files in it and below. */
const scriptsUnder = (path: string): string[] =>
  statSync(path).isDirectory()
    ? readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() || entry.name.endsWith('.txt'))
        .map((entry) => join(path, entry.name))
        .sort()
        .flatMap(scriptsUnder)
    : [path];

function main(args: readonly string[]): number {
  const flag = args.indexOf('--tier');
  const tier = flag < 0 ? 2 : Number(args[flag + 1]);
  const paths = args.filter((_, i) => flag < 0 || (i !== flag && i !== flag + 1));
  if ((tier !== 1 && tier !== 2 && tier !== 3) || paths.length === 0) {
    process.stderr.write('usage: npm run raft:replay -- [--tier 1|2|3] <file or folder>...\n');
    return 2;
  }
  const results = paths.flatMap(scriptsUnder).map((path) => replay(path, readFileSync(path, 'utf8'), tier));
  const failures = results.filter((result) => result !== undefined);
  for (const failure of failures) process.stdout.write(`${failure}\n\n`);
  process.stdout.write(`${results.length - failures.length} passed, ${failures.length} failed\n`);
  return failures.length === 0 && results.length > 0 ? 0 : 1;
}

process.exitCode = main(process.argv.slice(2));
