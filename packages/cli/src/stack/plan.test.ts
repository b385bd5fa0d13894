import { isClusterError } from '@swarmctl/shared/kit';
import { completeServiceSpec, type Service } from '@swarmctl/shared/model';
import { expect, test } from 'vitest';
import { tryCompose } from '../compose/test-compose.ts';
import type { Current, ShownNetwork, StoredPayload } from './current.ts';
import { showDifference } from './diff.ts';
import { planOf } from './plan.ts';

const pinnedImage = `web:1@sha256:${'a'.repeat(64)}`;
const ns = { 'com.docker.stack.namespace': 's' };
const text = `services:
  web:
    image: web:1
    ports: ["80:80"]
    networks: [front]
    secrets: [pass]
networks:
  front: {internal: true}
secrets:
  pass: {content: x}
`;
const stackOf = (given = text) => tryCompose(given).stack;

const network = (more: Partial<ShownNetwork> = {}): ShownNetwork => ({
  ...{
    Id: 'n1',
    Name: 's_front',
    Driver: 'overlay',
    Scope: 'swarm',
    EnableIPv6: false,
    Internal: true,
    Attachable: false,
  },
  IPAM: { Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }] },
  Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4097' },
  Labels: ns,
  ...more,
});
const secret = (Name: string, Labels: object = ns, ID = Name): StoredPayload => ({
  ...{ ID, Version: { Index: 1 }, CreatedAt: '', UpdatedAt: '' },
  Spec: { Name, Labels: Labels as Record<string, string> },
});
const mark = { 'swarmctl.version.of': 's_pass' };

/** The service as it is stored once it was deployed; `change` is what a client made of it since. */
function stored(change: (spec: Service['Spec']) => Service['Spec'] = (spec) => spec, given = text): Service {
  const [service] = stackOf(given).services;
  const spec = completeServiceSpec(
    JSON.parse(JSON.stringify(service?.spec).replace('"Target":"s_front"', '"Target":"n1"')),
  );
  const Ports = spec.EndpointSpec?.Ports ?? [];
  return { ID: 'w1', Version: { Index: 9 }, Spec: change(spec), Endpoint: { Spec: {}, Ports } } as unknown as Service;
}

const currentOf = (more: Partial<Current> & { secrets?: readonly StoredPayload[] } = {}): Current => ({
  ...{ labels: {}, services: [stored()], networks: [network()], outdated: new Map() },
  payloads: { secret: more.secrets ?? [secret('s_pass')], config: [] },
  ...more,
});

function problems(current: Current, given = text): string[] {
  try {
    planOf(stackOf(given), current, { prune: false });
    return [];
  } catch (error) {
    if (isClusterError(error, 'failed-precondition')) return error.message.split('\n');
    throw error;
  }
}

const changes = (current: Current, given = text) =>
  planOf(stackOf(given), current, { prune: false }).services.map(({ stored: before, differences }) =>
    before ? differences.map(showDifference) : 'new',
  );

test('of nothing, all is made', () => {
  const none = { labels: {}, services: [], networks: [], payloads: { secret: [], config: [] }, outdated: new Map() };
  const plan = planOf(stackOf(), none, { prune: true });
  expect(plan.networks.map(({ name }) => name)).toEqual(['s_front']);
  expect(plan.payloads.map(({ act, versionName }) => [act, versionName])).toEqual([['create', 's_pass']]);
  expect([plan.services[0]?.stored, plan.removals]).toEqual([undefined, []]);
});

test('what is there already stays as it is', () => {
  const plan = planOf(stackOf(), currentOf(), { prune: true });
  expect([plan.networks, plan.removals, plan.services[0]?.differences]).toEqual([[], [], []]);
  expect(plan.payloads.map(({ act }) => act)).toEqual(['keep']);
});

test('defaults that a client says make no difference', () => {
  const said = (spec: Service['Spec']): Service['Spec'] => ({
    ...spec,
    UpdateConfig: { Parallelism: 1, FailureAction: 'pause', MaxFailureRatio: 0, Order: 'stop-first', Monitor: 5e9 },
    TaskTemplate: {
      ...spec.TaskTemplate,
      RestartPolicy: { Condition: 'any', Delay: 5e9, MaxAttempts: 0 },
      Resources: {},
    },
  });
  expect(changes(currentOf({ services: [stored(said)] }))).toEqual([[]]);
});

test('a digest stays while the file names the same image, and goes with it; what was forced is not undone', () => {
  const pinned = (spec: Service['Spec']): Service['Spec'] => ({
    ...spec,
    TaskTemplate: {
      ...spec.TaskTemplate,
      ContainerSpec: { ...spec.TaskTemplate.ContainerSpec, Image: pinnedImage },
      Placement: { Platforms: [{ OS: 'linux', Architecture: 'amd64' }] },
      ForceUpdate: 3,
    },
  });
  const current = currentOf({ services: [stored(pinned)] });
  expect(changes(current)).toEqual([[]]);
  expect(changes(current, text.replace('web:1', 'web:2'))).toEqual([
    [
      '~ Labels["com.docker.stack.image"]: "web:1" -> "web:2"',
      `~ TaskTemplate.ContainerSpec.Image: "${pinnedImage}" -> "web:2"`,
      '- TaskTemplate.Placement: {"Platforms":[{"OS":"linux","Architecture":"amd64"}]}',
    ],
  ]);
});

test('other content makes a version, which services are moved to', () => {
  const plan = planOf(stackOf(), currentOf({ outdated: new Map([['secret s_pass', 's_pass.v2']]) }), { prune: false });
  expect(plan.payloads.map(({ act, versionName }) => [act, versionName])).toEqual([['rotate', 's_pass.v2']]);
  expect(plan.services[0]?.differences.map(showDifference)).toEqual([
    '~ TaskTemplate.ContainerSpec.Secrets[0].SecretID: "s_pass" -> "(new)"',
    '~ TaskTemplate.ContainerSpec.Secrets[0].SecretName: "s_pass" -> "s_pass.v2"',
  ]);
});

test('the newest version is used; of labels that differ, it alone is told', () => {
  const secrets = [secret('s_pass'), secret('s_pass.v2', { ...ns, ...mark })];
  expect(changes(currentOf({ secrets }))[0]).toContain(
    '~ TaskTemplate.ContainerSpec.Secrets[0].SecretName: "s_pass" -> "s_pass.v2"',
  );
  const labelled = text.replace('content: x', 'content: x, labels: {a: b}');
  const plan = planOf(stackOf(labelled), currentOf({ secrets }), { prune: false });
  expect(plan.payloads.map(({ act, stored: one }) => [act, one?.Spec.Name])).toEqual([['label', 's_pass.v2']]);
});

test('what the files no longer have is removed when asked, services first', () => {
  const current = currentOf({
    services: [
      stored(),
      { ...stored(), ID: 'o1', Spec: { ...stored().Spec, Name: 's_old', EndpointSpec: {} }, Endpoint: { Spec: {} } },
    ],
    networks: [network(), network({ Id: 'n2', Name: 's_old' }), network({ Id: 'n3', Name: 'other', Labels: null })],
    secrets: [
      secret('s_pass'),
      secret('s_old'),
      secret('s_old.v2', { ...ns, 'swarmctl.version.of': 's_old' }),
      secret('x', {}),
    ],
  });
  const removals = planOf(stackOf(), current, { prune: true }).removals;
  expect(removals.map(({ what, name }) => `${what} ${name}`)).toEqual([
    'service s_old',
    'secret s_old',
    'secret s_old.v2',
    'network s_old',
  ]);
  expect(planOf(stackOf(), current, { prune: false }).removals).toEqual([]);
});

const external = text
  .replace('front: {internal: true}', 'front: {external: true, name: lan}')
  .replace('pass: {content: x}', 'pass: {external: true, name: big}');

test.each<[string, Current, string, string[]]>([
  [
    'a network with other settings',
    currentOf({ networks: [network({ Internal: false })] }),
    text,
    ['c.yaml:8:3: networks.front: the network s_front is there with other settings (Internal is not set, not true)'],
  ],
  [
    'a network of somebody else',
    currentOf({ networks: [network({ Labels: null })] }),
    text,
    ['c.yaml:8:3: networks.front: there is a network s_front already'],
  ],
  [
    'a secret of somebody else',
    currentOf({ secrets: [secret('s_pass', {})] }),
    text,
    ['c.yaml:10:3: secrets.pass: there is a secret s_pass already'],
  ],
  [
    'a service of somebody else',
    currentOf({ services: [stored((spec) => ({ ...spec, Labels: {} }))] }),
    text,
    ['c.yaml:2:3: services.web: there is a service s_web already'],
  ],
  [
    'externals that are not there',
    currentOf({ networks: [], secrets: [], services: [] }),
    external,
    [
      'c.yaml:8:3: networks.front: there is no network lan, which is external; make it by "swarmctl network create lan"',
      'c.yaml:10:3: secrets.pass: there is no secret big, which is external; make it by "swarmctl secret create big FILE"',
    ],
  ],
  [
    'a network of one engine',
    currentOf({ networks: [network({ Name: 'lan', Scope: 'local' })], secrets: [secret('big', {})], services: [] }),
    external,
    ['c.yaml:8:3: networks.front: the network lan belongs to one engine'],
  ],
  [
    'another mode',
    currentOf(),
    text.replace('image: web:1', 'image: web:1\n    deploy: {mode: global}'),
    ['c.yaml:4:20: services.web.deploy.mode: the service is replicated, which cannot become global'],
  ],
  [
    'a port of another service',
    currentOf({ services: [{ ...stored(), Spec: { ...stored().Spec, Name: 'proxy', Labels: {} } }] }),
    text,
    ['c.yaml:4:5: services.web.ports: port 80/tcp is published by service proxy already'],
  ],
])('%s', (_, current, given, messages) => {
  expect(problems(current, given)).toEqual(messages.map((message) => expect.stringContaining(message)));
});

test('what the cluster does not allow is refused before anything is made', () => {
  const beyond = text.replace('image: web:1', 'image: web:1\n    privileged: true');
  expect(problems(currentOf({ labels: {} }), beyond)).toEqual([
    "c.yaml:2:3: services.web: label 'swarmctl.container.privileged': the cluster does not allow privileged; allow it with 'swarmctl swarm update --allow privileged'",
  ]);
  expect(problems(currentOf({ labels: { 'swarmctl.allow': 'privileged' } }), beyond)).toEqual([]);
});

test('a port goes from one service to another, the first of which then gives it up first', () => {
  const moved = `services:\n  lb: {image: "lb:1", ports: ["80:80"], networks: [front]}\n${text.slice('services:\n'.length).replace('    ports: ["80:80"]\n', '')}`;
  const plan = planOf(stackOf(moved), currentOf(), { prune: false });
  expect(plan.services.map(({ service }) => service.key)).toEqual(['web', 'lb']);
  expect(
    problems(currentOf(), moved.replace('networks: [front]\n', 'networks: [front]\n    ports: ["80:80"]\n')),
  ).toEqual(['c.yaml:6:5: services.web.ports: port 80/tcp is published by service s_lb already']);
  const old = { ...stored(), ID: 'o1', Spec: { ...stored().Spec, Name: 's_old' } };
  expect(problems(currentOf({ services: [old] }))).toHaveLength(1);
  expect(planOf(stackOf(), currentOf({ services: [old] }), { prune: true }).removals).toMatchObject([
    { name: 's_old' },
  ]);
});

test('a secret of several versions is external by its name', () => {
  const secrets = [secret('big', {}), secret('big.v2', { 'swarmctl.version.of': 'big' })];
  const plan = planOf(
    stackOf(external),
    currentOf({ secrets, services: [], networks: [network({ Name: 'lan', Labels: null })] }),
    { prune: false },
  );
  expect(plan.payloads.map(({ act, versionName }) => [act, versionName])).toEqual([['keep', 'big.v2']]);
});
