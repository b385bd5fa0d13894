import { describe, expect, test } from 'vitest';
import { type HttpLabelName, httpLabels, httpOptionsOf, routeName } from './http-options.ts';

const check = (label: HttpLabelName, value: string) => httpLabels[label].check(value);
const routesOf = (value: string) =>
  httpOptionsOf((name) => (name === 'swarmctl.http.route' ? value : undefined))?.routes.map(routeName);

describe('routes', () => {
  test.each([
    ['a.example.com', ['a.example.com']],
    [' A.Example.com/ , a.example.com', ['a.example.com']],
    ['*', ['*']],
    ['*/metrics/,*.example.com/a/b', ['*/metrics', '*.example.com/a/b']],
    ['10.0.0.1/x%20y', ['10.0.0.1/x%20y']],
  ])('%s', (value, routes) => {
    expect(check('swarmctl.http.route', value)).toBeUndefined();
    expect(routesOf(value)).toEqual(routes);
  });

  test.each([
    '',
    ',',
    '/api',
    'a.example.com:80',
    'http://a.example.com',
    '*.',
    'a.*.com',
    '*a.com',
    'a..b',
    '-a',
    'a/x y',
    'a//b',
    'a/../b',
    'a/?q',
    'a/x\nb',
    `a/${'x'.repeat(1_100)}`,
    `${'a'.repeat(254)}`,
  ])('not %j', (value) => {
    expect(check('swarmctl.http.route', value)).toMatch(/^a list of hosts with or without a path, such as/);
  });
});

test.each<[HttpLabelName, string, string | undefined]>([
  ['swarmctl.http.tls', 'site.crt, site.key', undefined],
  ['swarmctl.http.tls', 'a b', 'a name of a secret, or names separated by commas'],
  ['swarmctl.http.tls', '', 'a name of a secret, or names separated by commas'],
  ['swarmctl.http.sticky', 'ip', 'one of none, cookie'],
  ['swarmctl.http.trust', '10.0.0.1/8', expect.stringContaining('lies in 10.0.0.0/8')],
  ['swarmctl.http.protocol', 'h3', 'one of http1, h2'],
  ['swarmctl.http.timeout', '1h', undefined],
  ['swarmctl.http.timeout', '10ms', 'a duration from 1s to 168h'],
])('%s=%s', (label, value, right) => {
  expect(check(label, value)).toEqual(right);
});

test('without a route there are no options', () => {
  expect(httpOptionsOf((name) => (name === 'swarmctl.http.sticky' ? 'cookie' : undefined))).toBeUndefined();
});
