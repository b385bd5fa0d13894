import { describe, expect, test } from 'vitest';
import { aNode } from '../../../../test/kit/builders.ts';
import { checkAgentMessage } from './agent-message.ts';

const description = aNode().Description;
const status = { Timestamp: '2026-01-01T00:00:00Z', State: 'running' };
const endpoint = {
  protocol: 'tcp',
  targetPort: 80,
  localAddr: '172.17.0.2',
  localPort: 80,
  nodeAddr: '::1',
  nodePort: 1,
};
const hello = { type: 'hello', protocol: 1, instance: 'i', addr: '10.0.0.1', description, statuses: [], revision: 0 };
const update = (more: object) => ({
  type: 'status',
  sequence: 1,
  updates: [{ taskId: 't', status: { ...status, ...more } }],
});
const key = 'uzoAGDZ4/tbVq9CvS4cE6rRZ4z4q3TqFV0KPVVo6Nn8=';
const tunnelled = (more: object) => ({
  ...hello,
  description: { ...description, Tunnel: { key, generation: 3, dataPathAddr: '10.0.0.1', ...more } },
});
const ingress = (more: object) => ({ ...hello, description: { ...description, Ingress: { Kind: 'proxy', ...more } } });
const meshed = (mesh: object) => ({
  ...hello,
  description: { ...description, Mesh: { up: true, dataPathAddr: '10.0.0.1', ...mesh } },
});
const guest = {
  NetworkID: 'n',
  ContainerID: 'c',
  Name: 'palm',
  Names: ['palm', 'tree'],
  Addresses: ['10.0.1.130', 'fd00::8000:1'],
  MAC: '02:42:0a:00:01:82',
};
const guests = (...Guests: object[]) => ({ ...hello, description: { ...description, Guests } });
const resources = (...GenericResources: unknown[]) => ({
  ...hello,
  description: { ...description, Resources: { NanoCPUs: 1, MemoryBytes: 1, GenericResources } },
});
const gpu = { Kind: 'gpu', Value: 'a' };
const engine = (Engine: object) => ({ ...hello, description: { ...description, Engine } });
const line = { taskId: 't', stream: 'stdout', time: 't', line: new Uint8Array(1) };

describe('right', () => {
  test.each<[string, unknown]>([
    ['hello', hello],
    ['heartbeat', { type: 'heartbeat', revision: 3 }],
    ['applied', { type: 'applied', revision: 3 }],
    ['status', update({ Message: 'started', ContainerStatus: { ContainerID: 'c', PID: 1, ExitCode: -1 } })],
    ['endpoints', update({ Endpoints: [endpoint], PortStatus: { Ports: [{ Protocol: 'tcp', PublishedPort: 80 }] } })],
    ['a task that is given up', update({ Withdrawn: true })],
    ['an endpoint of both families', update({ Endpoints: [{ ...endpoint, localAddr6: 'fd17::2' }] })],
    ['an ingress', ingress({ Problems: ['tcp/80: taken'] })],
    ['a mesh', meshed({})],
    ['an end of the tunnels', tunnelled({})],
    ['a mesh that is down', meshed({ up: false, dataPathAddr: 'fd00::1', why: 'no such device' })],
    ['containers made by hand', guests(guest, { ...guest, ContainerID: 'd' })],
    ['problems of networks', { ...hello, description: { ...description, NetworkProblems: ['network n: taken'] } }],
    ['generic resources', resources({ NamedResourceSpec: gpu }, { DiscreteResourceSpec: { Kind: 'ssd', Value: 3 } })],
    ['an engine', engine({ EngineVersion: '1', Labels: { a: 'b' }, Plugins: [{ Type: 'Log', Name: 'json-file' }] })],
    ['describe', { type: 'describe', description, addr: 'host.example' }],
    ['logs', { type: 'logs', subscription: 's', lines: [line] }],
    ['logs-end', { type: 'logs-end', subscription: 's', error: 'gone' }],
    ['renew', { type: 'renew', csr: 'PEM' }],
    ['image-wanted', { type: 'image-wanted', taskId: 't1' }],
    ['goodbye', { type: 'goodbye', graceMs: 30_000 }],
  ])('%s', (_, message) => expect(checkAgentMessage(message)).toEqual(message));
});

test('what is not known is left out', () => {
  expect(checkAgentMessage({ ...(update({ Evil: 1 }) as object), nodeId: 'another' })).toEqual(update({}));
  expect(checkAgentMessage(meshed({ evil: 1 }))).toEqual(meshed({}));
});

describe('wrong', () => {
  test.each<[string, unknown]>([
    ['a guest without an address', guests({ ...guest, Addresses: ['10.0.1'] })],
    ['a guest’s hardware', guests({ ...guest, MAC: '02:42; flush' })],
    ['a guest’s names', guests({ ...guest, Names: [7] })],
    ['nothing', undefined],
    ['a number', 7],
    ['a list', []],
    ['no type', {}],
    ['an unknown type', { type: 'become-leader' }],
    ['another protocol', { ...hello, protocol: 2 }],
    ['no description', { ...hello, description: undefined }],
    ['an unknown runtime', { ...hello, description: { ...description, Runtimes: ['vm'] } }],
    [
      'a huge description',
      { ...hello, description: { ...description, Engine: { EngineVersion: 'x'.repeat(200_000) } } },
    ],
    ['an address that is more', { ...hello, addr: '10.0.0.1 ; drop' }],
    ['a negative revision', { type: 'heartbeat', revision: -1 }],
    ['a fraction', { type: 'heartbeat', revision: 0.5 }],
    ['updates that are none', { type: 'status', sequence: 1, updates: {} }],
    ['a state that is none', update({ State: 'happy' })],
    ['a state of the scheduler', update({ State: 'assigned' })],
    ['a state of the reaper', update({ State: 'orphaned' })],
    ['a time that is none', update({ Timestamp: 'now' })],
    ['a long error', update({ Err: 'x'.repeat(10_000) })],
    ['a port that is none', update({ Endpoints: [{ ...endpoint, nodePort: 70_000 }] })],
    ['an endpoint that would be a rule', update({ Endpoints: [{ ...endpoint, nodeAddr: '1 } accept' }] })],
    ['a sixth address that is more', update({ Endpoints: [{ ...endpoint, localAddr6: 'fd17::2 accept' }] })],
    ['a sixth address that is none', update({ Endpoints: [{ ...endpoint, localAddr6: '172.17.0.2' }] })],
    ['an ingress of no kind', ingress({ Kind: 'iptables' })],
    ['problems that are none', ingress({ Problems: 'many' })],
    ['a mesh that is none', { ...hello, description: { ...description, Mesh: true } }],
    ['a mesh that is neither up nor down', meshed({ up: 'yes' })],
    ['a mesh at a name', meshed({ dataPathAddr: 'host.example' })],
    ['a mesh at a zone', meshed({ dataPathAddr: 'fe80::1%eth0' })],
    ['a key that is none', tunnelled({ key: `${key}\n` })],
    ['a generation that is none', tunnelled({ generation: -1 })],
    ['tunnels to a name', tunnelled({ dataPathAddr: 'host.example' })],
    ['a reason without end', meshed({ why: 'x'.repeat(10_000) })],
    ['a generic resource that is none', resources(null)],
    ['a named resource without a name', resources({ NamedResourceSpec: { Kind: 'gpu' } })],
    ['a number of resources that is none', resources({ DiscreteResourceSpec: { Kind: 'ssd', Value: '3' } })],
    ['labels that are none', engine({ Labels: { a: 7 } })],
    ['plugins that are none', engine({ Plugins: { Log: ['json-file'] } })],
    ['an issuer that is none', { ...hello, description: { ...description, TLSInfo: { CertIssuerSubject: 7 } } }],
    ['a line that is text', { type: 'logs', subscription: 's', lines: [{ ...line, line: 'text' }] }],
    ['a goodbye for ever', { type: 'goodbye', graceMs: Number.POSITIVE_INFINITY }],
  ])('%s', (_, message) => {
    expect(() => checkAgentMessage(message)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });
});
