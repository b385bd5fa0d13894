import { createRootCa, type Logger } from '@swarmctl/shared/kit';
import type { Schema } from '@swarmctl/shared/model';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNetwork, aNode, aPayload, aService, aStore, aTask, builtAt } from '../../../../test/kit/index.ts';
import type { Store } from '../store/store.ts';
import { operations, schemas } from './openapi/operations.ts';

// Requests that nobody would write, made from the schemas: odd values where others are expected, odd names, odd queries. Whatever comes, the answer is one that
// the document knows, an error says what is wrong in JSON, and what was refused has changed nothing.

/** Texts that mean something somewhere. */
const words = fc.constantFrom(
  ...[
    '',
    'web',
    'service1',
    'n1',
    'db',
    'key',
    'back',
    'w',
    'tcp',
    'ingress',
    'host',
    'volume',
    'true',
    '__proto__',
    'constructor',
  ],
  ...[
    '../etc',
    'a/b',
    'a b',
    'ä',
    '\0',
    'x'.repeat(70),
    '10.0.0.0/24',
    '10.0.0.1',
    'web:1',
    'BAD::x',
    '{{.Task.ID}}',
    '-1',
    '1e3',
  ],
);
const text = fc.oneof({ weight: 3, arbitrary: words }, { weight: 1, arbitrary: fc.string() });
const number = fc.oneof(
  fc.constantFrom(0, 1, -1, 2, 80, 8080, 65_536, 1e9, 4 * 2 ** 20, 2 ** 53 - 1, 2 ** 53, 1e308, 0.5),
  fc.integer(),
);

/** A value that fits the schema, mostly. */
function anyOf(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 40, arbitrary: fitting(schema) }, { weight: 1, arbitrary: fc.jsonValue() });
}

function fitting(schema: Schema): fc.Arbitrary<unknown> {
  switch ('patternProperties' in schema ? 'record' : schema['type']) {
    case 'object': {
      const members = Object.entries(schema['properties'] as Record<string, Schema>);
      return fc.record(Object.fromEntries(members.map(([name, member]) => [name, anyOf(member)])), {
        requiredKeys: [],
      });
    }
    case 'record':
      return fc.dictionary(text, text, { maxKeys: 3 });
    case 'array':
      return fc.array(anyOf(schema['items'] as Schema), { maxLength: 3 });
    case 'string':
      return schema['enum'] ? fc.constantFrom(...(schema['enum'] as string[])) : text;
    case 'boolean':
      return fc.boolean();
    default:
      return number;
  }
}

const bodies = Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, anyOf(schema)]));

/** One that is good as far as it goes, so that some get through. */
const goodSpec = { Name: 'extra', TaskTemplate: { ContainerSpec: { Image: 'web:1' } } };

interface Request {
  readonly key: string;
  readonly method: Method;
  readonly url: string;
  readonly body: unknown;
}

/** Answers that do not end by themselves, or are no HTTP. */
const isStream = (key: string): boolean =>
  operations[key]?.success === 101 || /^HEAD|logs|events|stats|wait|exec.*start/.test(key);

/** For an engine, which reads it. */
const engineBody = fc.oneof(
  fc.record(
    {
      ...{ Image: text, Name: text, Container: text, Driver: text, Cmd: fc.array(text, { maxLength: 2 }) },
      ...{ Env: fc.array(text, { maxLength: 2 }), Labels: fc.dictionary(text, text, { maxKeys: 2 }) },
      ...{ HostConfig: fc.jsonValue(), EndpointConfig: fc.jsonValue() },
    },
    { requiredKeys: [] },
  ),
  fc.jsonValue(),
);

const request: fc.Arbitrary<Request> = fc
  .constantFrom(...Object.keys(operations).filter((key) => !isStream(key)))
  .chain((key) => {
    const operation = operations[key];
    const [method, path] = key.split(' ') as [Method, string];
    const ids = fc.array(words, { minLength: 1, maxLength: 1 });
    const queries = Object.entries(operation?.query ?? {}).map(([name, type]) =>
      fc
        .option(type === 'string' ? text : fc.oneof(words, number.map(String)), { nil: undefined })
        .map((value) => [name, value] as const),
    );
    const filters = operation?.filters
      ? fc.option(
          fc.oneof(
            text,
            fc
              .dictionary(
                fc.constantFrom(...operation.filters, 'bogus'),
                fc.oneof(fc.array(text), fc.dictionary(text, fc.boolean())),
                { maxKeys: 2 },
              )
              .map((value) => JSON.stringify(value)),
          ),
          { nil: undefined },
        )
      : fc.constant(undefined);
    const body = operation?.body
      ? (bodies[operation.body] as fc.Arbitrary<unknown>)
      : operation?.engineBody
        ? engineBody
        : fc.constant(undefined);
    return fc
      .tuple(ids, fc.tuple(...queries), filters, body, fc.boolean())
      .map(([[id = ''], query, filter, given, good]) => {
        const search = new URLSearchParams();
        for (const [name, value] of query) if (value !== undefined) search.set(name, String(value));
        if (filter !== undefined) search.set('filters', filter);
        const mended =
          good && operation?.body === 'ServiceSpec' && typeof given === 'object'
            ? { ...goodSpec, ...(given as object), TaskTemplate: goodSpec.TaskTemplate }
            : given;
        return {
          key,
          method,
          url: `${path.replace(/\{\w+\}/, encodeURIComponent(id || 'web'))}${search.size > 0 ? `?${search}` : ''}`,
          body: mended,
        };
      });
  });

const root = await createRootCa(builtAt);
/** FUZZ_RUNS tries more. */
const runs = Number(process.env['FUZZ_RUNS'] ?? 120);
const failures: unknown[] = [];
const log = { error: (fields: unknown) => void failures.push(fields), warn: () => {}, info: () => {}, debug: () => {} };

function someStore(): Store {
  const cluster = aCluster();
  const network = aNetwork({ id: 'back', name: 'back' });
  const secret = aPayload({ id: 'key', name: 'key' });
  const service = aService({ id: 'service1', name: 'web' });
  return aStore({
    cluster: { ...cluster, RootCA: { ...cluster.RootCA, Certificate: root.certificate, Key: root.key } },
    nodes: [aNode({ id: 'n1', role: 'manager', raftId: 1 }), aNode({ id: 'n2' })],
    networks: [network],
    secrets: [secret],
    services: [service, aService({ id: 'service2', name: 'db', job: { completions: 2, concurrent: 1 } })],
    tasks: [aTask({ service, node: 'n1' })],
  });
}

async function check(api: TestApi, store: Store, { key, method, url, body }: Request): Promise<void> {
  failures.length = 0;
  const before = store.index;
  const answer = await api.call(method, url, body);
  expect(failures, 'nothing threw what it should not').toEqual([]);
  const { success = 200, refusals = [] } = operations[key] ?? {};
  expect([success, 400, 500, 501, 503, ...refusals]).toContain(answer.status);
  if (answer.status < 400) return;
  expect(answer.json).toEqual({ message: expect.stringMatching(/\S/) });
  expect(store.index, 'a refused request changes nothing').toBe(before);
  if (answer.status === 500)
    expect(answer.json.message).toMatch(
      /^rpc error: code = Unknown|^Invalid |not found$|^unrecognized |^strconv\.|^unsupported registryAuthFrom|^service does not have a previous spec|InvalidArgument/,
    );
}

test('no request gets an answer that the document does not know, or half of what it asked for', {
  timeout: 120_000,
}, async () => {
  let answered = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 25 }), async (requests) => {
      const store = someStore();
      const api = await testApi({ store, log: { ...log, child: () => log } as unknown as Logger });
      for (const one of requests) {
        await check(api, store, one);
        answered++;
      }
      for (const kind of ['services', 'tasks', 'nodes', 'networks', 'secrets', 'configs']) {
        expect((await api.call('GET', `/${kind}`)).status).toBe(200);
      }
      await api.app.close();
    }),
    { numRuns: runs },
  );
  expect(answered).toBeGreaterThan(100);
});
