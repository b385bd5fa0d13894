import { describe, expect, it } from 'vitest';
import { handleStreams } from './handles.ts';

type Bindings = (name: string) => Record<string, unknown>;
const { binding } = process as unknown as { binding: Bindings };

describe('handleStreams', () => {
  it('is there for the handles of this Node', () => expect(handleStreams()).toBeDefined());

  it.each<[string, object]>([
    ['is none', {}],
    [
      'throws',
      {
        binding: () => {
          throw new Error('ERR_ACCESS_DENIED');
        },
      },
    ],
    ['is empty', { binding: () => ({}) }],
    ['lacks a class', { binding: (name: string) => ({ ...binding(name), TCPConnectWrap: undefined }) }],
    ['lacks a number', { binding: (name: string) => ({ ...binding(name), kLastWriteWasAsync: undefined }) }],
    ['has handles without a method', { binding: (name: string) => ({ ...binding(name), TCP: class {} }) }],
  ])('is not where the binding %s', (_, from) => expect(handleStreams(true, from)).toBeUndefined());
});
