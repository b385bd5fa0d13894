// What a manager may ask of a node's engine: containers, on its networks as well, images and builds, volumes and what happens, nothing that changes the engine itself or a network.
// Paths are without a version. A container is named by its whole id: whoever asks has looked it up.

const container = '/containers/[0-9a-f]{64}';
/** A link has no other name. */
const linkOf = '/containers/[\\w.-]+/[\\w.-]+';
const exec = '/exec/[0-9a-f]{64}';

const paths: Readonly<Record<string, readonly string[]>> = {
  HEAD: ['/_ping', `${container}/archive`],
  GET: [
    ...['/_ping', '/info', '/version', '/events', '/system/df'],
    ...['/containers/json', `${container}/(?:json|top|logs|changes|export|stats|archive|attach/ws)`],
    `${exec}/json`,
    ...['/images/json', '/images/get', '/images/search', '/images/.+/(?:json|history|get)'],
    ...['/volumes', '/volumes/[^/]+'],
    '/networks/[^/]+',
  ],
  POST: [
    ...[
      '/containers/create',
      `${container}/(?:start|stop|restart|kill|pause|unpause|wait|rename|update|resize|attach|exec)`,
    ],
    `${exec}/(?:start|resize)`,
    ...['/images/create', '/images/load', '/images/prune', '/images/.+/(?:tag|push)', '/build', '/commit'],
    ...['/session', '/grpc', '/build/cancel', '/build/prune'],
    ...['/volumes/create', '/volumes/prune'],
    '/networks/[^/]+/(?:connect|disconnect)',
  ],
  PUT: [`${container}/archive`],
  DELETE: [container, linkOf, '/images/.+', '/volumes/[^/]+'],
};

const allowed = new Map(Object.entries(paths).map(([method, some]) => [method, new RegExp(`^(?:${some.join('|')})$`)]));

/** `path` without query. One that an engine might read as another path is never allowed. */
export const isAllowed = (method: string, path: string): boolean =>
  allowed.get(method)?.test(path) === true && !/\/\.{0,2}(?:\/|$)|%2e|%2f|\\/i.test(path);
