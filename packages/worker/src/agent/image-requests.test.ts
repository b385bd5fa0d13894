import { expect, test } from 'vitest';
import { ImageRequests } from './image-requests.ts';

const never = new AbortController().signal;

test('a manager is asked, and answers with success or why not', async () => {
  const images = new ImageRequests();
  const sent: unknown[] = [];
  images.begin((request) => sent.push(request));
  const [one, other] = [images.ask('t1', never), images.ask('t2', never)];
  images.given('t2', 'the disk is full');
  images.given('t1', undefined);
  images.given('t1', 'late');
  expect(await Promise.all([one, other])).toEqual([undefined, 'the disk is full']);
  expect(sent).toEqual(['t1', 't2'].map((taskId) => ({ type: 'image-wanted', taskId })));
});

test('what a manager that goes was asked is to be asked of the next', async () => {
  const images = new ImageRequests();
  await expect(images.ask('t1', never)).rejects.toThrow('none is in touch');
  images.begin(() => {});
  const asked = images.ask('t1', never);
  images.end();
  await expect(asked).rejects.toThrow('none is in touch');
});

test('one that gives no images is not asked', async () => {
  const images = new ImageRequests();
  images.begin();
  expect(await images.ask('t1', never)).toBe('');
});

test('who asked may give up', async () => {
  const images = new ImageRequests();
  images.begin(() => {});
  const abort = new AbortController();
  const asked = images.ask('t1', abort.signal);
  abort.abort(new Error('no more'));
  await expect(asked).rejects.toThrow('no more');
});
