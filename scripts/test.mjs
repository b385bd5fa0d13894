// `npm test`: set-up, the checks, then every suite in turn; closes with `N passed, N failed`.
// `npm test -- unit sim` runs some suites only; `load`, minutes of traffic over a lab of hosts, runs only when it is asked for.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './setup.mjs';

build();

const root = fileURLToPath(new URL('../', import.meta.url));
const suites = ['unit', 'sim', 'netns', 'docker', 'e2e'];
const wanted = process.argv.slice(2);
const known = [...suites, 'load'];
const unknown = wanted.filter((name) => !known.includes(name));
if (unknown.length > 0) {
  console.error(`unknown suite: ${unknown.join(', ')}; there are ${known.join(', ')}`);
  process.exit(125);
}

const totals = { passed: 0, failed: 0, skipped: 0 };
const run = (command, args) =>
  spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status ?? 1;
const heading = (text) => console.log(`\n== ${text}`);

heading('checks: format, lint, arrows');
totals[
  run(process.execPath, [join(root, 'node_modules/@biomejs/biome/bin/biome'), 'check', '.']) === 0 ? 'passed' : 'failed'
]++;

const folder = mkdtempSync(join(tmpdir(), 'swarm-test-'));
for (const suite of wanted.length > 0 ? wanted : suites) {
  heading(`suite ${suite}`);
  const report = join(folder, `${suite}.json`);
  const started = Date.now();
  const status = run(process.execPath, [
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--project',
    suite,
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
  ]);
  const counted = count(report);
  totals.passed += counted.passed;
  totals.failed += counted.failed + (status !== 0 && counted.failed === 0 ? 1 : 0);
  totals.skipped += counted.skipped;
  console.log(
    `suite ${suite}: ${counted.passed} passed, ${counted.failed} failed, ${counted.skipped} skipped in ${Math.round((Date.now() - started) / 1000)} s (exit ${status})`,
  );
}
rmSync(folder, { recursive: true, force: true });

if (process.env.CI && totals.skipped > 0) {
  console.log(`\nSkipped tests count as failures here: the machine lacks something that they need (see above).`);
  totals.failed += totals.skipped;
}
console.log(`\n${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed > 0 ? 1 : 0);

function count(report) {
  try {
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
      readFileSync(report, 'utf8'),
    );
    const broken = testResults.filter(
      (file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'),
    );
    return { passed: numPassedTests, failed: numFailedTests + broken.length, skipped: numPendingTests + numTodoTests };
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
}
