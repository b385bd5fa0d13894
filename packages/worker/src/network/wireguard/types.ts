// A WireGuard device: what it has, and what is to be changed of it. Keys are base64.

export interface DevicePeer {
  /** Its public key. */
  readonly key: string;
  /** The pre-shared one. */
  readonly psk: string;
  /** `10.0.0.1:5789`, `[fd00::1]:5789`: where its packets go to outside, until it is heard from elsewhere. */
  readonly endpoint: string;
  /** Its address inside. */
  readonly addr: string;
}

export interface DeviceState {
  readonly privateKey: string;
  /** UDP; 0: none yet. */
  readonly port: number;
  /** By public key. */
  readonly peers: ReadonlyMap<string, Omit<DevicePeer, 'endpoint'>>;
}

/**
 * Peers are spoken to at once and then all the time, so that whichever of two comes last makes their session, also after its program was
 * started again, and nobody waits for one that the other has forgotten.
 */
export const keepaliveS = 25;

/** What is absent stays as it is. */
export interface DeviceChange {
  readonly privateKey?: string;
  readonly port?: number;
  /** Before the others: an inside address is one peer's alone. */
  readonly removed: readonly string[];
  readonly peers: readonly (Pick<DevicePeer, 'key'> & Partial<DevicePeer>)[];
}

/** How a machine has WireGuard. */
export interface Driver {
  readonly kind: 'kernel' | 'userspace';
  /** The device is there and can be configured; idempotent. Rejects with ClusterError. */
  ensure(): Promise<void>;
  read(): Promise<DeviceState>;
  change(change: DeviceChange): Promise<void>;
  /** Removes the device, with what works for it. Idempotent. */
  remove(): Promise<void>;
  /** Leaves it to the next daemon. */
  release(): void;
}
