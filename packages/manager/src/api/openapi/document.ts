import type { Operation, QueryType } from './operation.ts';
import { operations, schemas } from './operations.ts';

// The OpenAPI document of what is served: made from the routes as they were registered, the schemas that bodies are checked with, and the table of operations.

export interface Route {
  readonly method: string;
  /** As Fastify writes it: `/services/:id`. */
  readonly path: string;
}

/** What any route may answer: a bad request, one that is understood but not served, one that nothing can be done for now. */
const commonRefusals = [400, 500, 501, 503] as const;

const reasons: Readonly<Record<number, string>> = {
  101: 'The connection is the request’s from here on',
  400: 'The request is wrong; the message says what, where and what would be right',
  401: 'The registry does not take the credentials',
  403: 'It is not allowed, or not here',
  404: 'There is no such object',
  410: 'Events since then are not kept any more',
  409: 'Another object is in the way, or the state is another',
  500: 'As Docker answers: an outdated version, an odd filter, or a cluster without a leader',
  501: 'Known, but not served',
  503: 'This node is in no cluster, no manager, or locked',
};

export function openApiDocument(routes: readonly Route[], versions: { readonly api: string; readonly swarmd: string }) {
  const paths: Record<string, Record<string, object>> = {};
  for (const { method, path } of [...routes].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    const name = path.replace(/:(\w+)/g, '{$1}').replace(/\/\*$/, '/{path}');
    paths[name] ??= {};
    paths[name][method.toLowerCase()] = describe(`${method} ${name}`, name);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'swarmd',
      version: versions.swarmd,
      description: `The Docker Engine API of a cluster, version ${versions.api}. Each path may begin with the version, as in /v${versions.api}/services.`,
    },
    paths,
    components: {
      schemas: {
        ...schemas,
        Error: { type: 'object', required: ['message'], properties: { message: { type: 'string' } } },
      },
    },
  };
}

function describe(key: string, path: string): object {
  const operation: Operation = operations[key] ?? { summary: key };
  const { query = {}, filters, success = 200, refusals = [] } = operation;
  const content = contentOf(operation);
  const parameters = [
    ...[...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      ...{ name, in: 'path', required: true, schema: { type: 'string' } },
    })),
    ...Object.entries(query).map(([name, type]) => parameter(name, type)),
    ...(filters ? [filtersParameter(filters)] : []),
  ];
  return {
    summary: operation.summary,
    ...(parameters.length > 0 && { parameters }),
    ...(content && { requestBody: { content } }),
    responses: {
      [success]: { description: reasons[success] ?? 'Done' },
      ...Object.fromEntries([...commonRefusals, ...refusals].map((status) => [status, refusal(status)])),
    },
  };
}

function contentOf({ body, engineBody }: Operation): object | undefined {
  if (body) return { 'application/json': { schema: { $ref: `#/components/schemas/${body}` } } };
  if (engineBody === 'tar') return { 'application/x-tar': {} };
  return engineBody && { 'application/json': { schema: { type: 'object' } } };
}

const refusal = (status: number) => ({
  description: reasons[status],
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
});

const parameter = (name: string, type: QueryType) => ({ name, in: 'query', schema: { type } });

const filtersParameter = (names: readonly string[]) => ({
  name: 'filters',
  in: 'query',
  description: `JSON, a map or a list of values for each of: ${names.join(', ')}`,
  schema: { type: 'string', contentMediaType: 'application/json' },
});
