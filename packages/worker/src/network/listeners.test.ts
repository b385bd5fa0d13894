import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { conflict, type Listener, listeners, parseLocal } from './listeners.ts';

describe('parseLocal', () => {
  it.each([
    ['0100007F:1F90', { addr: '127.0.0.1', port: 8080 }],
    ['00000000:0016', { addr: '0.0.0.0', port: 22 }],
    ['00000000000000000000000000000000:0050', { addr: '::', port: 80 }],
    ['0000000000000000FFFF00000200000A:0050', { addr: '10.0.0.2', port: 80 }],
    ['00000000000000000000000001000000:0050', { addr: '::1', port: 80 }],
    ['000000FD000000000000000005000000:1F90', { addr: 'fd00::5', port: 8080 }],
  ])('%s', (text, expected) => {
    expect(parseLocal(text, 'tcp')).toEqual({ protocol: 'tcp', ...expected });
  });
});

describe('listeners', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'listeners-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('reads the waiting sockets, and none of the connected ones after them', async () => {
    const head = '  sl  local_address rem_address   st tx_queue rx_queue\n';
    writeFileSync(
      join(folder, 'tcp'),
      `${head}   0: 0100007F:1F90 00000000:0000 0A 0:0\n   1: 0100007F:1F91 0100007F:0001 01 0:0\n`,
    );
    writeFileSync(
      join(folder, 'udp'),
      `${head}  10: 00000000:0035 00000000:0000 07 0:0\n  11: 0100007F:0036 0100007F:0001 01 0:0\n`,
    );
    mkdirSync(join(folder, 'sctp'));
    writeFileSync(
      join(folder, 'sctp', 'eps'),
      ' ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n' +
        'ffff88 ffff99 2   10  29   2905      0 12345 10.0.0.5 fd00::5 \n' +
        'ffff88 ffff99 0   7   30   2906      0 12346 0.0.0.0 \n',
    );
    expect(await listeners(folder)).toEqual([
      { protocol: 'tcp', addr: '127.0.0.1', port: 8080 },
      { protocol: 'udp', addr: '0.0.0.0', port: 53 },
      { protocol: 'sctp', addr: '10.0.0.5', port: 2905 },
      { protocol: 'sctp', addr: 'fd00::5', port: 2905 },
    ]);
  });
});

describe('conflict', () => {
  const on = (addr: string): Listener[] => [{ protocol: 'tcp', addr, port: 80 }];
  it.each([
    ['127.0.0.2', ['127.0.0.1'], false],
    ['127.0.0.1', ['127.0.0.1'], true],
    ['0.0.0.0', ['127.0.0.1'], true],
    ['::', ['127.0.0.1'], true],
    ['127.0.0.2', [], true],
    ['fd00::5', [], true],
    ['fd00::5', ['fd00::6'], false],
    ['::1', [], false],
    ['fe80::1', [], false],
    ['0.0.0.0', ['fd00::6'], false],
  ])('of a listener on %s with a node that answers on %j: %s', (addr, addresses, expected) => {
    expect(conflict({ protocol: 'tcp', port: 80 }, addresses, on(addr)) !== undefined).toBe(expected);
    expect(conflict({ protocol: 'udp', port: 80 }, addresses, on(addr))).toBeUndefined();
    expect(conflict({ protocol: 'tcp', port: 81 }, addresses, on(addr))).toBeUndefined();
  });

  it.each([
    ['10.0.0.5', '10.0.0.5', true],
    ['10.0.0.6', '10.0.0.5', false],
    ['0.0.0.0', '10.0.0.5', true],
    ['0.0.0.0', 'fd00:0::5', false],
    ['fd00::5', 'fd00:0::5', true],
  ])('of a listener on %s with a port that is bound to %s: %s', (addr, address, expected) => {
    expect(conflict({ protocol: 'tcp', port: 80, address }, [], on(addr)) !== undefined).toBe(expected);
  });
});
