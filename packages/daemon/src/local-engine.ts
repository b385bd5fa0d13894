import { type RequestOptions, request } from 'node:http';
import type { EngineFacts } from '@swarmctl/manager';
import type { Clock } from '@swarmctl/shared/kit';

// What this node's own engine says of itself, for whoever asks the API of this node: whether it is in a cluster or not.

const answerMs = 1_000;
const freshMs = 2_000;
const mostBytes = 1024 * 1024;

export class LocalEngine {
  readonly #address: RequestOptions;
  readonly #clock: Clock;
  #said: { readonly facts: Promise<EngineFacts | undefined>; readonly at: number } | undefined;

  constructor(address: RequestOptions, { clock }: { readonly clock: Clock }) {
    this.#address = address;
    this.#clock = clock;
  }

  /** Its `GET /info`, seconds old at most; undefined when it does not answer at once. Never rejects. */
  facts(): Promise<EngineFacts | undefined> {
    const now = this.#clock.monotonic();
    if (!this.#said || now - this.#said.at >= freshMs) {
      this.#said = { facts: this.#ask().catch(() => undefined), at: now };
    }
    return this.#said.facts;
  }

  #ask(): Promise<EngineFacts> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ ...this.#address, method: 'GET', path: '/info' });
      const timer = this.#clock.after(answerMs, () => outgoing.destroy(new Error('no answer in time')));
      outgoing.on('error', reject).on('close', () => timer.cancel());
      outgoing.on('response', (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('error', reject);
        answer.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > mostBytes) outgoing.destroy(new Error('its answer is too long'));
        });
        answer.on('end', () => {
          try {
            if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
            resolve(JSON.parse(text) as EngineFacts);
          } catch (error) {
            reject(error as Error);
          }
        });
      });
      outgoing.end();
    });
  }
}
