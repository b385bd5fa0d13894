import type { NodePayload, NodePayloadKind, PayloadPart } from '@swarmctl/shared/wire';

// The secrets and configs that this node was given, and the credentials for registries, in memory alone.

/** For whoever on the node uses them. */
export interface PayloadSource {
  /** By id, by the name whose newest version here it is, or by a version's own name. */
  get(reference: string, kind?: NodePayloadKind): NodePayload | undefined;
  /** Called after others came or some went. Returns an unsubscriber. */
  onChange(listener: () => void): () => void;
}

export class PayloadStore implements PayloadSource {
  readonly #payloads = new Map<string, NodePayload>();
  /** Pieces of the one that is on its way. */
  #pieces: Uint8Array[] = [];
  readonly #listeners = new Set<() => void>();

  get(reference: string, kind: NodePayloadKind = 'secret'): NodePayload | undefined {
    const exact = this.#payloads.get(reference);
    if (exact?.kind === kind) return exact;
    const all = [...this.#payloads.values()].filter((one) => one.kind === kind);
    const [newest] = all
      .filter(({ version }) => version.base === reference)
      .sort((a, b) => b.version.number - a.version.number);
    return newest ?? all.find(({ name }) => name === reference);
  }

  /** By its own id alone. */
  byId(id: string): NodePayload | undefined {
    return this.#payloads.get(id);
  }

  /** Pieces of one come in their order, and nothing between them. Throws when one is missing. */
  put(parts: readonly PayloadPart[]): void {
    let whole = false;
    for (const { at, size, data, ...payload } of parts) {
      if (at === 0) this.#pieces = [];
      const had = this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
      if (at !== had) throw new Error(`${payload.kind} ${payload.id}: a piece from byte ${at} came after ${had}`);
      this.#pieces.push(data);
      if (had + data.length < size) continue;
      // A copy: the pieces are parts of the messages that they came in.
      this.#payloads.set(payload.id, { ...payload, data: Buffer.concat(this.#pieces) });
      this.#pieces = [];
      whole = true;
    }
    if (whole) this.#changed();
  }

  keepOnly(ids: readonly string[]): void {
    const kept = new Set(ids);
    const gone = [...this.#payloads.keys()].filter((id) => !kept.has(id));
    for (const id of gone) this.#payloads.delete(id);
    if (gone.length > 0) this.#changed();
  }

  onChange(listener: () => void): () => void {
    // A function of its own, so that one listener may listen twice.
    const own = () => listener();
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
