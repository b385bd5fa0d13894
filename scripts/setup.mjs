// Makes a fresh clone ready: installs when the lock file changed, then builds what is named (default: everything). Quick when nothing changed.
//   node scripts/setup.mjs [PROJECT …]
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../', import.meta.url);
const path = (name) => new URL(name, root);
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Node ${process.versions.node} is too old: 20.19 or later is needed.`);
  process.exit(1);
}

const marker = path('node_modules/.installed');
const hash = createHash('sha256')
  .update(readFileSync(path('package-lock.json')))
  .digest('hex');

const run = (command, args) => {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', process.env.SETUP_QUIET ? 'ignore' : 'inherit', 'inherit'],
  });
  if (error) console.error(error.message);
  if (status !== 0) process.exit(status ?? 1);
};

if (!existsSync(marker) || readFileSync(marker, 'utf8') !== hash) {
  console.log('Installing dependencies …');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(marker, hash);
}
export const build = (...projects) =>
  run(process.execPath, [path('node_modules/typescript/bin/tsc').pathname, '-b', ...projects]);
if (process.argv[1] === fileURLToPath(import.meta.url)) build(...process.argv.slice(2));
