import { ManualClock, settle } from '@swarmctl/shared/kit';
import type { NetworkView } from '@swarmctl/shared/wire';
import { beforeEach, expect, test } from 'vitest';
import { type Slot, Slots } from './slots.ts';

const view = (id: string, more: Partial<NetworkView> = {}): NetworkView =>
  ({ id, name: `${id}-name`, internal: false, subnets: [], ...more }) as unknown as NetworkView;
const views = (...all: NetworkView[]) => new Map(all.map((one) => [one.id, one]));

let clock: ManualClock;
let slots: Slots;
beforeEach(() => {
  clock = new ManualClock();
  slots = new Slots(clock);
});
const slotOf = (id: string) => slots.all().find((slot) => slot.id === id) as Slot;
/** What became of waiting for a network so far. */
const waiting = (id: string) => {
  const end: { is?: string } = {};
  slots.opened(id).then(
    (slot) => {
      end.is = slot.id;
    },
    (error: Error) => {
      end.is = error.message;
    },
  );
  return end;
};

test('a network that no view has any more stays as long as a task is attached to it', () => {
  slots.list(views(view('a'), view('b')));
  slots.attach('t1', ['a']);
  slots.list(views());
  expect(slots.wanted().map(({ id }) => id)).toEqual(['a']);
  expect([slots.detach('t1'), slots.detach('t1')]).toEqual([true, false]);
  expect(slots.wanted()).toEqual([]);
});

test('one that comes back, or that the engine must know otherwise, is opened again', () => {
  slots.list(views(view('a'), view('b'), view('c')));
  for (const slot of slots.all()) slot.isOpen = true;
  slots.list(views(view('a', { name: 'renamed' }), view('b', { internal: true })));
  expect(slots.all().map(({ isOpen }) => isOpen)).toEqual([true, false, true]);
  slots.list(views(view('c')));
  expect(slotOf('c').isOpen).toBe(false);
});

test('who waits gets it when it is open', async () => {
  slots.list(views(view('a')));
  const end = waiting('a');
  slots.changed();
  await settle();
  expect(end.is).toBeUndefined();
  slotOf('a').isOpen = true;
  slots.changed();
  await settle();
  expect(end.is).toBe('a');
});

test('who waits is told why it cannot be had', async () => {
  slots.list(views(view('a')));
  const [failing, unknown] = [waiting('a'), waiting('b')];
  slotOf('a').error = new Error('no space left');
  slots.changed();
  await settle();
  expect(failing.is).toBe('network a-name: no space left');
  await clock.advance(9_999);
  expect(unknown.is).toBeUndefined();
  await clock.advance(1);
  expect(unknown.is).toBe('the managers have not told this node of network b yet');
  const closed = waiting('c');
  slots.close();
  await settle();
  expect(closed.is).toBe('the overlay networks of this node are closed');
});
