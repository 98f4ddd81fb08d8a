/** Moves frames between buses. All that a carrier knows is bytes, subjects and whether it is connected; requests, streams
 *  and leases are made of that in one place (`carrier-bus.ts`), so that every carrier behaves the same.
 *
 *  Frames of one carrier on one subject arrive in the order they were sent, at most once, and at the sender too. Nothing
 *  here is durable: JetStream's acknowledged writes can be lost in a broker crash, and no correctness may rest on it. */
export interface Carrier {
  /** Largest frame in bytes. May change when another broker is reached. */
  readonly frameBytesMax: number;
  readonly connected: boolean;
  /** Called on every change of `connected`. One listener. */
  onConnectionChange: ((connected: boolean) => void) | null;

  /** Sends `frame`, which the carrier owns from here on. With `replyTo`, a null frame arrives there when nobody subscribes
   *  to `subject`. @returns false when it was dropped: disconnected, or too many bytes wait to be written. */
  publish(subject: string, frame: Uint8Array, replyTo?: string): boolean;
  /** Calls `onFrame` for each frame, never from inside `publish`. At most one subscription per pattern; it outlives
   *  reconnection. `onFrame` must not throw. @returns the function that ends it. */
  subscribe(pattern: string, onFrame: OnFrame): () => void;
  /** Resolves when everything sent before has been handled by the broker and everything the broker held for us has been
   *  delivered. @throws ERR_DISCONNECTED. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export type OnFrame = (subject: string, frame: Uint8Array | null) => void;

/** Bytes that may wait to be written to a peer that does not read. */
export const QUEUED_BYTES_MAX = 67_108_864;
/** Frame limit of the hub and of the brokers that skein starts. */
export const FRAME_BYTES_MAX = 8_388_608;
/** A broker that takes less cannot carry every error message. */
export const FRAME_BYTES_MIN = 65_536;
/** Pauses between attempts to reconnect grow from the one to the other. */
export const RECONNECT_MS_MIN = 50;
export const RECONNECT_MS_MAX = 2000;
