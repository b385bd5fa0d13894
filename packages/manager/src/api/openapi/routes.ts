import type { FastifyInstance } from 'fastify';
import type { ApiContext } from '../context.ts';
import { openApiDocument, type Route } from './document.ts';

// GET /openapi.json: what this API serves, as a document.

/** To be called before any other route is registered. */
export function openApiRoutes(app: FastifyInstance, context: ApiContext, apiVersion: string): void {
  const routes: Route[] = [];
  app.addHook('onRoute', ({ method, path }) => {
    // What is answered alike whatever the path or the method is no route to tell of.
    if (typeof method === 'string' && path !== '*') routes.push({ method, path });
  });
  let document: object | undefined;
  app.get('/openapi.json', async () => {
    document ??= openApiDocument(routes, { api: apiVersion, swarmd: context.version });
    return document;
  });
}
