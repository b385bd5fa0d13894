import type { TunnelView } from '@swarmctl/shared/wire';
import { describe, expect, it } from 'vitest';
import { guardText } from './guard.ts';
import { changeWords, parseDump } from './kernel.ts';
import { fromHex, newPrivateKey, publicKeyOf, toHex } from './keys.ts';
import { deviceName } from './names.ts';
import { endpointOf, planDevice, wantedDevice } from './plan.ts';
import type { DeviceState } from './types.ts';
import { changeText, parseState } from './uapi.ts';

const key = (letter: string) => Buffer.alloc(32, letter).toString('base64');
const [own, ka, kb, psk] = [key('o'), key('a'), key('b'), key('s')];
const view: TunnelView = {
  ...{ addr: '198.19.0.1', pool: '198.19.0.0/16', port: 5789, psk, generation: 1 },
  peers: [
    { nodeId: 'a', addr: '198.19.0.2', nodeAddr: '10.0.0.2', key: ka },
    { nodeId: 'b', addr: '198.19.0.3', nodeAddr: 'fd00::3', key: kb },
  ],
};
const both = new Set(['198.19.0.2', '198.19.0.3']);
const empty: DeviceState = { privateKey: '', port: 0, peers: new Map() };
const a = { key: ka, psk, addr: '198.19.0.2', endpoint: '10.0.0.2:5789' };
const has = (...peers: (typeof a)[]): DeviceState => ({
  ...{ privateKey: own, port: 5789 },
  peers: new Map(peers.map(({ endpoint: _, ...peer }) => [peer.key, peer])),
});

describe('what is changed of a device', () => {
  it('is all of it when it is new', () => {
    const b = { key: kb, psk, addr: '198.19.0.3', endpoint: '[fd00::3]:5789' };
    expect(planDevice(wantedDevice(view, own, both), empty)).toEqual({
      ...{ privateKey: own, port: 5789 },
      ...{ removed: [], peers: [a, b] },
    });
  });

  it('is nothing when it is as wanted', () => {
    expect(planDevice(wantedDevice(view, own, new Set(['198.19.0.2'])), has(a))).toBeUndefined();
  });

  it('is who came, who went, and the shared key alone when that is another', () => {
    const only = new Set(['198.19.0.2']);
    expect(planDevice(wantedDevice(view, own, new Set()), has(a))).toEqual({ removed: [ka], peers: [] });
    const next = wantedDevice({ ...view, psk: key('t') }, own, only);
    expect(planDevice(next, has(a))).toEqual({ removed: [], peers: [{ key: ka, psk: key('t') }] });
    expect(planDevice(wantedDevice(view, own, only), has({ ...a, addr: '198.19.9.9' }))).toEqual({
      removed: [],
      peers: [{ key: ka, addr: '198.19.0.2' }],
    });
  });

  it('is not where a peer was heard from, until it is said to have moved', () => {
    const wanted = wantedDevice(view, own, new Set(['198.19.0.2']));
    const before = { ...wanted, peers: [{ ...a, endpoint: '10.9.9.9:5789' }] };
    expect(planDevice(wanted, has(a), wanted)).toBeUndefined();
    expect(planDevice(wanted, has(a), before)).toEqual({
      removed: [],
      peers: [{ key: ka, endpoint: '10.0.0.2:5789' }],
    });
  });

  it('is said in the words of wireguard-go', () => {
    const change = { port: 5789, removed: [kb], peers: [a, { key: kb, psk: key('t') }] };
    expect(changeText({ ...change, privateKey: own })).toBe(
      [
        ...['set=1', `private_key=${toHex(own)}`, 'listen_port=5789'],
        ...[`public_key=${toHex(kb)}`, 'remove=true'],
        ...[`public_key=${toHex(ka)}`, `preshared_key=${toHex(psk)}`, 'persistent_keepalive_interval=25'],
        ...['endpoint=10.0.0.2:5789', 'replace_allowed_ips=true', 'allowed_ip=198.19.0.2/32'],
        ...[`public_key=${toHex(kb)}`, `preshared_key=${toHex(key('t'))}`, 'persistent_keepalive_interval=25'],
        ...['', ''],
      ].join('\n'),
    );
  });

  it('is said in the words of wg, with the keys in files', async () => {
    const files: string[] = [];
    const inFile = async (text: string) => `/f/${files.push(text)}`;
    const words = await changeWords({ privateKey: own, port: 5789, removed: [kb], peers: [a] }, inFile);
    expect(words.join(' ')).toBe(
      `listen-port 5789 private-key /f/1 peer ${kb} remove peer ${ka} preshared-key /f/2 endpoint 10.0.0.2:5789 allowed-ips 198.19.0.2/32 persistent-keepalive 25`,
    );
    expect(files).toEqual([own, psk]);
  });
});

describe('what a device has', () => {
  it('is read from wireguard-go', () => {
    const lines = [
      ...[`private_key=${toHex(own)}`, 'listen_port=5789', `public_key=${toHex(ka)}`, `preshared_key=${toHex(psk)}`],
      ...['protocol_version=1', 'endpoint=10.0.0.2:5789', 'allowed_ip=198.19.0.2/32'],
    ];
    expect(parseState(lines)).toEqual(has(a));
    expect(parseState([])).toEqual(empty);
  });

  it('is read from wg', () => {
    const dump = `${own}\tpub\t5789\toff\n${ka}\t${psk}\t10.0.0.2:5789\t198.19.0.2/32\t0\t0\t0\t25\n`;
    expect(parseDump(dump)).toEqual(has(a));
    expect(parseDump('(none)\t(none)\t0\toff\n')).toEqual(empty);
    expect(parseDump(`${own}\tpub\t1\toff\n${ka}\t(none)\t(none)\t(none)\t0\t0\t0\toff`).peers.get(ka)).toEqual({
      ...{ key: ka, psk: '', addr: '' },
    });
  });
});

it('keys are those of X25519', () => {
  // As `wg pubkey` has it.
  expect(publicKeyOf(ka)).toBe('QElQLbksojQsP5LaxdbefIXbXfVAeltJls458u+36Cc=');
  const made = newPrivateKey();
  expect(Buffer.from(made, 'base64')).toHaveLength(32);
  expect(publicKeyOf(made)).not.toBe(publicKeyOf(newPrivateKey()));
  expect(fromHex(toHex(made))).toBe(made);
});

it('names fit, and tell nodes apart', () => {
  expect(deviceName('0123456789abcdefghijklmno')).toBe('swg0123456789ab');
  expect(endpointOf('fd00::1', 1)).toBe('[fd00::1]:1');
});

it('the guard has every network, and goes with the last', () => {
  const text = guardText('t', { device: 'swgx', port: 4789, vnis: [4097, 4098] });
  expect(text).toContain('iifname != "swgx" udp dport 4789 @th,96,24 { 4097, 4098 } drop');
  expect(text).toContain('oifname != "swgx" udp dport 4789 @th,96,24 { 4097, 4098 } drop');
  expect(guardText('t', { device: 'swgx', port: 4789, vnis: [] })).toBe('table inet t\ndelete table inet t\n');
});
