// `npm test`: set-up, the checks, then every suite in turn; closes with `N passed, N failed`.
// `npm test -- unit sim` runs some suites only; `load`, minutes of traffic over a lab of hosts, runs only when it is asked for.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
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
/** What failed, said again at the end: the output between is long. */
const failures = [];
const run = (command, args) =>
  spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status ?? 1;
const heading = (text) => console.log(`\n== ${text}`);

heading('checks: format, lint, arrows');
if (run(process.execPath, [join(root, 'node_modules/@biomejs/biome/bin/biome'), 'check', '.']) === 0) totals.passed++;
else {
  totals.failed++;
  failures.push('checks: see above');
}

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
  failures.push(...counted.failures.map((text) => `${suite}: ${text}`));
  if (status !== 0 && counted.failed === 0) failures.push(`${suite}: no test failed, yet it ended with ${status}`);
  console.log(
    `suite ${suite}: ${counted.passed} passed, ${counted.failed} failed, ${counted.skipped} skipped in ${Math.round((Date.now() - started) / 1000)} s (exit ${status})`,
  );
}
rmSync(folder, { recursive: true, force: true });

if (process.env.CI && totals.skipped > 0) {
  console.log(`\nSkipped tests count as failures here: the machine lacks something that they need (see above).`);
  totals.failed += totals.skipped;
}
for (const failure of failures) console.log(`\nFAILED ${failure}`);
console.log(`\n${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed > 0 ? 1 : 0);

function count(report) {
  try {
    const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
      readFileSync(report, 'utf8'),
    );
    const failures = [];
    let broken = 0;
    for (const file of testResults) {
      const name = relative(root, file.name);
      const failed = file.assertionResults.filter((test) => test.status === 'failed');
      for (const test of failed) failures.push(`${name} > ${test.fullName}\n${brief(test.failureMessages.join('\n'))}`);
      if (file.status !== 'failed' || failed.length > 0) continue;
      broken++;
      failures.push(`${name}\n${brief(file.message)}`);
    }
    return {
      passed: numPassedTests,
      failed: numFailedTests + broken,
      skipped: numPendingTests + numTodoTests,
      failures,
    };
  } catch (error) {
    return { passed: 0, failed: 1, skipped: 0, failures: [`no report: ${error}`] };
  }
}

/** The first lines of a message, indented. */
function brief(message) {
  return message
    .split('\n')
    .slice(0, 30)
    .map((line) => `  ${line}`)
    .join('\n');
}
