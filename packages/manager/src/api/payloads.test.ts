import { beforeEach, describe, expect, test } from 'vitest';
import { type Method, type TestApi, testApi } from '../../../../test/kit/api.ts';
import { aCluster, aNode, aStore } from '../../../../test/kit/index.ts';
import type { Store } from '../store/store.ts';

let store: Store;
let api: TestApi;

beforeEach(async () => {
  store = aStore({ cluster: aCluster(), nodes: [aNode({ id: 'n1' })] });
  api = await testApi({ store });
});

const call = (method: Method, url: string, body?: unknown) => api.call(method, `/v1.41${url}`, body);

const base64 = (text: string) => Buffer.from(text).toString('base64');
const create = async (kind: 'secret' | 'config', Name: string, data = 'abc', more: object = {}): Promise<string> => {
  const spec = { Name, Labels: {}, Data: base64(data), ...more };
  const { status, json } = await call('POST', `/${kind}s/create`, spec);
  expect([status, json]).toEqual([201, { ID: expect.any(String) }]);
  return json.ID;
};
const grpc = (message: string) => `rpc error: code = InvalidArgument desc = ${message}`;

describe.each(['secret', 'config'] as const)('a %s', (kind) => {
  const kinds = `${kind}s`;

  test('is made, shown and removed as Docker does', async () => {
    const id = await create(kind, 'pass', 'hidden', { Labels: { k: 'v' }, Templating: { Name: 'golang' } });
    const shown = {
      ID: id,
      Version: { Index: 2 },
      CreatedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      UpdatedAt: expect.stringMatching(/^\d{4}-.*Z$/),
      Spec: {
        Name: 'pass',
        Labels: { k: 'v' },
        Templating: { Name: 'golang' },
        ...(kind === 'config' && { Data: base64('hidden') }),
      },
    };
    for (const reference of [id, 'pass', id.slice(0, 9)]) {
      expect(await call('GET', `/${kinds}/${reference}`)).toMatchObject({ status: 200, json: shown });
    }
    const listed = await call('GET', `/${kinds}`);
    expect(listed.json).toEqual([shown]);
    expect(listed.text.includes(base64('hidden'))).toBe(kind === 'config');
    expect(await call('DELETE', `/${kinds}/pass`)).toMatchObject({ status: 204, text: '' });
    expect(await call('GET', `/${kinds}`)).toMatchObject({ status: 200, json: [] });
  });

  test.each([
    [{ Name: '', Data: 'YWJj' }, grpc('name must be provided')],
    [{ Data: 'YWJj' }, grpc('name must be provided')],
    [{ Name: 'a b', Data: 'YWJj' }, /only 64 \[a-zA-Z0-9-_\.\] characters allowed/],
    [{ Name: '-a', Data: 'YWJj' }, /start and end character must be \[a-zA-Z0-9\]/],
    [{ Name: 'a'.repeat(65), Data: 'YWJj' }, /only 64/],
    [{ Name: 'a', Data: '!' }, 'invalid JSON: illegal base64 data at input byte 0'],
    [{ Name: 'a', Data: 'YW=j' }, 'invalid JSON: illegal base64 data at input byte 2'],
    [{ Name: 'a', Data: 'YWJ' }, 'invalid JSON: illegal base64 data at input byte 3'],
    [
      { Name: 'a', Data: 'YWJj', Templating: { Name: 'jinja' } },
      grpc("unknown template driver 'jinja'; known: golang"),
    ],
    [{ Name: 'a', Data: 'YWJj', Labels: { 'swarmctl.drain-timeout': '1s' } }, /belongs on a service, not on a/],
    [{ Name: 'a', Data: 'YWJj', Labels: { 'swarmctl.version.of': 'b' } }, /a version of b is called b\.v2 or higher/],
    [
      { Name: 'b.v1', Data: 'YWJj', Labels: { 'swarmctl.version.of': 'b' } },
      /a version of b is called b\.v2 or higher/,
    ],
    [undefined, grpc('name must be provided')],
  ])('%j is refused', async (body, message) => {
    const { status, json } = await call('POST', `/${kinds}/create`, body);
    expect([status, json.message]).toEqual([
      400,
      typeof message === 'string' ? message : expect.stringMatching(message),
    ]);
  });

  test('has limits, and drivers are not there', async () => {
    const limit = kind === 'secret' ? 512_000 : 1_024_000;
    const tooLarge = grpc(`${kind} data must be larger than 0 and less than ${limit} bytes`);
    const sized = (Name: string, bytes: number) =>
      call('POST', `/${kinds}/create`, { Name, Data: Buffer.alloc(bytes, 1).toString('base64') });
    expect(await call('POST', `/${kinds}/create`, { Name: 'a' })).toMatchObject({
      status: 400,
      json: { message: tooLarge },
    });
    expect((await sized('a', limit - 1)).status).toBe(201);
    expect(await sized('b', limit)).toMatchObject({ status: 400, json: { message: tooLarge } });
    const driven = { Name: 'c', Data: 'YWJj', Driver: { Name: 'x' } };
    // Configs know no drivers, and what is not known is passed over.
    expect((await call('POST', `/${kinds}/create`, driven)).status).toBe(kind === 'secret' ? 501 : 201);
  });

  test('a name is given once', async () => {
    await create(kind, 'pass');
    expect(await call('POST', `/${kinds}/create`, { Name: 'pass', Data: 'YWJj' })).toMatchObject({
      status: 409,
      json: { message: `rpc error: code = AlreadyExists desc = ${kind} pass already exists` },
    });
    // The other kind has names of its own.
    await create(kind === 'secret' ? 'config' : 'secret', 'pass');
  });

  test.each([
    [{ name: ['we'] }, ['web', 'web2']],
    [{ name: { web: true } }, ['web', 'web2']],
    [{ names: ['web'] }, ['web']],
    [{ label: ['k'] }, ['web2']],
    [{ label: { 'k=v': true } }, ['web2']],
    [{ label: ['k=w'] }, []],
    [{ name: ['we', 'a'] }, ['api', 'web', 'web2']],
  ])('is found by %j', async (filters, found) => {
    const [id] = [await create(kind, 'web'), await create(kind, 'api')];
    await create(kind, 'web2', 'x', { Labels: { k: 'v' } });
    const list = async (by: object) =>
      (await call('GET', `/${kinds}?filters=${encodeURIComponent(JSON.stringify(by))}`)).json
        .map((one: { Spec: { Name: string } }) => one.Spec.Name)
        .sort();
    expect(await list(filters)).toEqual(found);
    expect(await list({ id: [id.slice(0, 9)] })).toEqual(['web']);
  });

  test('unknown filters and references are refused', async () => {
    expect(await call('GET', `/${kinds}?filters={"bogus":["x"]}`)).toMatchObject({
      status: 400,
      json: { message: "invalid filter 'bogus'" },
    });
    for (const method of ['GET', 'DELETE'] as const) {
      expect(await call(method, `/${kinds}/nosuch`)).toMatchObject({
        status: 404,
        json: { message: `${kind} nosuch not found` },
      });
    }
    expect(await call('POST', `/${kinds}/nosuch/update?version=1`, {})).toMatchObject({ status: 404 });
  });

  test('labels alone are updated, and what is posted again unchanged is fine', async () => {
    const id = await create(kind, 'pass', 'abc');
    const update = (
      body: object,
      version: number | string = store.view().get(kinds as 'secrets', id)?.Version.Index ?? 0,
    ) => call('POST', `/${kinds}/${id}/update?version=${version}`, body);
    expect(await update({ Name: 'pass', Labels: { a: 'b' } })).toMatchObject({ status: 200, text: '' });
    expect(await update({ Name: 'pass', Labels: { c: 'd' }, Data: base64('abc') })).toMatchObject({ status: 200 });
    expect((await call('GET', `/${kinds}/pass`)).json.Spec.Labels).toEqual({ c: 'd' });
    expect(store.view().get(kinds as 'secrets', id)?.Spec.Data).toBe(base64('abc'));
    for (const body of [
      { Name: 'pass', Labels: {}, Data: base64('other') },
      { Name: 'word', Labels: {} },
      { Labels: {} },
      { Name: 'pass', Templating: { Name: 'golang' } },
      { Name: 'pass.v2', Labels: { 'swarmctl.version.of': 'pass' } },
    ]) {
      expect((await update(body)).status).toBe(400);
    }
    expect((await update({ Name: 'pass', Data: base64('other') })).json.message).toBe(
      grpc('only updates to Labels are allowed'),
    );
    expect(await update({ Name: 'pass' }, 1)).toMatchObject({
      status: 500,
      json: { message: expect.stringContaining('update out of sequence') },
    });
    expect(await update({ Name: 'pass' }, '')).toMatchObject({
      status: 400,
      json: { message: `invalid ${kind} version` },
    });
  });
});
