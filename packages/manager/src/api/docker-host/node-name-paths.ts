// The first Swarm's names of containers, NODE/NAME, as its clients send them in paths: two parts where the routes have one.

const verbs = [
  ...['archive', 'attach', 'attach/ws', 'changes', 'exec', 'export', 'json', 'kill', 'logs', 'pause', 'rename'],
  ...['resize', 'restart', 'start', 'stats', 'stop', 'top', 'unpause', 'update', 'wait'],
];
const withVerb = new RegExp(`^/+containers/+([^/?]+)/+([^/?]+)/(${verbs.join('|')})/?(?=\\?|$)`);
const plain = /^\/+containers\/+([^/?]+)\/+([^/?]+)\/?(?=\?|$)/;
const slashes = /^\/+containers\/+/;

/** `/containers/NODE/NAME/top` as `/containers/NODE%2FNAME/top`, without slashes before it that say nothing. `url` has no version; any other is left as it is. */
export function joinNodeName(method: string | undefined, url: string): string {
  const joined = url.replace(withVerb, '/containers/$1%2F$2/$3');
  if (joined !== url) return joined;
  // To nothing else than a container is DELETE sent.
  return method === 'DELETE' ? url.replace(plain, '/containers/$1%2F$2') : url.replace(slashes, '/containers/');
}
