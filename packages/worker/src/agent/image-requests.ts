import type { AgentMessage } from '@swarmctl/shared/wire';

// Images that no registry gives are asked of the managers: some were made in the cluster, and are nowhere else.

type Request = Extract<AgentMessage, { type: 'image-wanted' }>;

export class ImageRequests {
  /** Undefined: no manager is in touch, or it gives none. */
  #send: ((request: Request) => void) | undefined;
  #isInTouch = false;
  readonly #waiting = new Map<string, { answer(problem?: string): void; fail(error: Error): void }>();

  /** A manager is in touch; `send` is absent if it gives no images. */
  begin(send?: (request: Request) => void): void {
    this.#send = send;
    this.#isInTouch = true;
  }

  /** It is gone, and with it its answers. */
  end(): void {
    this.#send = undefined;
    this.#isInTouch = false;
    for (const { fail } of [...this.#waiting.values()]) fail(outOfTouch());
  }

  given(taskId: string, problem: string | undefined): void {
    this.#waiting.get(taskId)?.answer(problem);
  }

  /** Resolves when the engine has the task's image, or with why the managers cannot give it. Rejects when none is in touch, or the signal aborts. */
  async ask(taskId: string, signal: AbortSignal): Promise<string | undefined> {
    signal.throwIfAborted();
    if (!this.#isInTouch) throw outOfTouch();
    const send = this.#send;
    if (!send) return '';
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => {
        this.#waiting.delete(taskId);
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const fail = (error: Error) => done(() => reject(error));
      const onAbort = () => fail(signal.reason);
      signal.addEventListener('abort', onAbort);
      this.#waiting.set(taskId, { answer: (problem) => done(() => resolve(problem)), fail });
      send({ type: 'image-wanted', taskId });
    });
  }
}

/** The next manager is asked. */
const outOfTouch = () => new Error('its image is to be asked of the managers, and none is in touch');
