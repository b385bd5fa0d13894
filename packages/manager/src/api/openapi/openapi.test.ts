import { describe, expect, test } from 'vitest';
import { testApi } from '../../../../../test/kit/api.ts';
import { Store } from '../../store/store.ts';
import { operations } from './operations.ts';

const api = await testApi({ store: new Store() });
const { json: document } = await api.call('GET', '/v1.50/openapi.json');
interface Described {
  readonly summary: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

const served = Object.entries(document.paths as Record<string, object>).flatMap(([path, methods]) =>
  Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
);

describe('the OpenAPI document', () => {
  test('has every route that is served, and no other', () => {
    expect([...served].sort()).toEqual(Object.keys(operations).sort());
  });

  test('says of each what it may answer, and what stands for the parts of its path', () => {
    for (const [path, methods] of Object.entries(document.paths as Record<string, Record<string, Described>>)) {
      const parts = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      for (const { summary, parameters = [], responses } of Object.values(methods)) {
        expect(summary).toMatch(/\w/);
        expect(parameters.filter((one) => one.in === 'path').map(({ name }) => name)).toEqual(parts);
        expect(new Set(parameters.map((one) => one.name)).size).toBe(parameters.length);
        for (const { description } of Object.values(responses)) expect(description).toMatch(/\w/);
      }
    }
  });

  test('describes parameters, bodies and answers', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.paths['/services/{id}/update'].post).toMatchObject({
      parameters: expect.arrayContaining([
        { name: 'id', in: 'path', required: true, schema: { type: 'string' } },
        { name: 'version', in: 'query', schema: { type: 'integer' } },
      ]),
      requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/ServiceSpec' } } } },
      responses: { 200: { description: 'Done' }, 404: { description: expect.any(String) } },
    });
    expect(document.components.schemas.ServiceSpec.properties.Mode.properties.Replicated.properties.Replicas).toEqual({
      type: 'integer',
      minimum: 0,
    });
  });

  test('refers to nothing that it does not have', () => {
    const references = JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g);
    for (const [, name] of references) expect(document.components.schemas).toHaveProperty(name ?? '');
  });
});
