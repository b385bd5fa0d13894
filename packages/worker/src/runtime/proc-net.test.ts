import { describe, expect, it } from 'vitest';
import { countBusy } from './proc-net.ts';

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0200A8C0:1F90 0300A8C0:8001 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 0 10 -1
   2: 0200A8C0:1F90 0300A8C0:8002 06 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 0 10 -1
   3: 0200A8C0:8003 0300A8C0:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 0 10 -1
   4: 0200A8C0:1F90 0300A8C0:8004 08 00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 0 10 -1
`;
const table6 = `  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF00000200A8C0:1F90 0000000000000000FFFF00000300A8C0:8005 01 00000000:00000000
`;

describe('connections in /proc/net/tcp', () => {
  it('count on the local port, neither listening nor ended', () => {
    expect(countBusy(table, new Set([8080]))).toBe(2);
    expect(countBusy(table, new Set([0x8003]))).toBe(1);
    expect(countBusy(table, new Set([1]))).toBe(0);
  });
  it('count in the table of version 6', () => expect(countBusy(table6, new Set([8080]))).toBe(1));
});
