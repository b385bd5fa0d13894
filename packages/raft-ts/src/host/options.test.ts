import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRaftNode } from './open.ts';
import { timingOf } from './options.ts';
import { ListMachine, testSealer } from './test-cluster.ts';
import type { RaftNodeModules, RaftNodeOptions, Start } from './types.ts';

let parent: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'raft-ts-options-'));
});
afterEach(() => rm(parent, { recursive: true, force: true }));

interface Opening {
  options: Record<string, unknown>;
  modules: Record<string, unknown>;
  start: Record<string, unknown>;
}

/** As it would be right. */
const opening = (): Opening => ({
  options: { id: 1, dir: join(parent, 'member'), random: () => 0.5, onFatal: () => {} },
  modules: { stateMachine: new ListMachine(), dial: async () => expect.unreachable(), sealer: { ...testSealer } },
  start: { kind: 'bootstrap', address: 'host-1' },
});

const open = ({ options, modules, start }: Partial<Opening>) =>
  openRaftNode(options as unknown as RaftNodeOptions, modules as unknown as RaftNodeModules, start as unknown as Start);

const withOption = (name: string, value: unknown) => (good: Opening) => ({
  ...good,
  options: { ...good.options, [name]: value },
});
const withTiming = (timing: unknown) => withOption('timing', timing);
const withModule = (name: string, value: unknown) => (good: Opening) => ({
  ...good,
  modules: { ...good.modules, [name]: value },
});
const withStart = (start: unknown) => (good: Opening) => ({ ...good, start: start as Opening['start'] });

describe('a member is not opened, and nothing is made, with', () => {
  it.each([
    ['no options', (good: Opening) => ({ modules: good.modules, start: good.start }), 'options is missing'],
    ['id 0', withOption('id', 0), 'options.id is 0: it must be a whole number from 1 to 9007199254740989'],
    ['id -1', withOption('id', -1), 'options.id is -1'],
    ['id 1.5', withOption('id', 1.5), 'options.id is 1.5'],
    ['id 2^53', withOption('id', 2 ** 53), 'options.id is 9007199254740992'],
    ['an id of the local threads', withOption('id', 2 ** 53 - 2), 'options.id is 9007199254740990'],
    ['id "1"', withOption('id', '1'), 'options.id is "1"'],
    ['id 1n', withOption('id', 1n), 'options.id is 1n'],
    ['no dir', withOption('dir', undefined), 'options.dir is missing: it must be the path of a folder'],
    ['dir ""', withOption('dir', ''), 'options.dir is ""'],
    ['timing 5', withTiming(5), 'options.timing is 5: it must be an object'],
    ['tickMs 0', withTiming({ tickMs: 0 }), 'options.timing.tickMs is 0: it must be a number from 1'],
    ['tickMs NaN', withTiming({ tickMs: Number.NaN }), 'options.timing.tickMs is NaN'],
    ['tickMs beyond timers', withTiming({ tickMs: 2 ** 31 }), 'options.timing.tickMs is 2147483648'],
    ['heartbeatTicks 0', withTiming({ heartbeatTicks: 0 }), 'options.timing.heartbeatTicks is 0'],
    [
      'electionTicks 1',
      withTiming({ electionTicks: 1 }),
      'options.timing.electionTicks is 1: it must be a whole number above heartbeatTicks, which is 2',
    ],
    ['electionTicks 8.5', withTiming({ electionTicks: 8.5 }), 'options.timing.electionTicks is 8.5'],
    ['snapshotEntries 0', withOption('snapshotEntries', 0), 'options.snapshotEntries is 0'],
    ['keepEntries -1', withOption('keepEntries', -1), 'options.keepEntries is -1'],
    ['reads "leased"', withOption('reads', 'leased'), 'options.reads is "leased": it must be "quorum" or "lease"'],
    ['no random', withOption('random', undefined), 'options.random is missing: it must be a function'],
    ['a random that returns 6', withOption('random', () => 6), 'what options.random returns is 6'],
    ['a random that returns NaN', withOption('random', () => Number.NaN), 'what options.random returns is NaN'],
    ['no onFatal', withOption('onFatal', undefined), 'options.onFatal is missing'],
    ['log "debug"', withOption('log', 'debug'), 'options.log is "debug": it must be a function'],
    ['no modules', (good: Opening) => ({ options: good.options, start: good.start }), 'modules is missing'],
    ['no state machine', withModule('stateMachine', undefined), 'modules.stateMachine is missing'],
    [
      'half a state machine',
      withModule('stateMachine', { apply: () => 1 }),
      'modules.stateMachine.snapshot is missing',
    ],
    ['no dial', withModule('dial', undefined), 'modules.dial is missing'],
    ['no sealer', withModule('sealer', undefined), 'modules.sealer is missing'],
    ['a sealer without key id', withModule('sealer', { ...testSealer, keyId: 7 }), 'modules.sealer.keyId is 7'],
    ['a sealer that is a function', withModule('sealer', () => 'secret'), 'modules.sealer is a function'],
    ['a sealer that opens nothing', withModule('sealer', { keyId: 'a', seal: () => {} }), 'modules.sealer.open is'],
    ['no start', withStart(undefined), 'start is missing'],
    ['start "bootstrap"', withStart('bootstrap'), 'start is "bootstrap": it must be an object'],
    [
      'a misspelt start',
      withStart({ kind: 'Restart' }),
      'start.kind is "Restart": it must be "bootstrap", "join" or "restart"',
    ],
    ['bootstrap without address', withStart({ kind: 'bootstrap' }), 'start.address is missing'],
    ['bootstrap at ""', withStart({ kind: 'bootstrap', address: '' }), 'start.address is ""'],
  ])('%s', async (_, spoil, message) => {
    const outcome = open(spoil(opening()));
    await expect(outcome).rejects.toMatchObject({ name: 'RaftError', code: 'invalid-options' });
    await expect(outcome).rejects.toThrow(message);
    expect(existsSync(join(parent, 'member'))).toBe(false);
  });
});

describe('a member is opened', () => {
  it('with the least that is right', async () => {
    const node = await open(opening());
    await node.stop();
  });

  it('with the default for what is undefined', () => {
    const timing = { tickMs: 10, heartbeatTicks: undefined } as unknown as { tickMs: number };
    expect(timingOf({ timing } as RaftNodeOptions)).toEqual({ tickMs: 10, heartbeatTicks: 2, electionTicks: 8 });
  });
});
