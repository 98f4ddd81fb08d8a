import { frameTypes, subjectFrameHead } from './hub-frame.ts';
import { SubjectTable } from './subject.ts';

/** Whoever hangs on the hub: a socket, or a bus in the hub's own process. */
export interface HubPeer {
  /** `wire` is one whole `message` frame in parts; it is shared with the other peers and must not be changed. The last
   *  part is the payload. */
  deliver(wire: readonly Uint8Array[], subject: string, payload: Uint8Array): void;
}

/** Payloads up to this size are copied behind their head, which is cheaper than another part to write. */
const COPIED_BYTES_MAX = 4096;

/** The middle of the star: passes each frame to whoever subscribed. */
export class HubStar {
  readonly #peers = new SubjectTable<HubPeer>();

  subscribe(pattern: string, peer: HubPeer): void {
    this.#peers.add(pattern, peer);
  }

  unsubscribe(pattern: string, peer: HubPeer): void {
    this.#peers.delete(pattern, peer);
  }

  remove(peer: HubPeer, patterns: Iterable<string>): void {
    for (const pattern of patterns) this.#peers.delete(pattern, peer);
  }

  /** @returns false when nobody subscribed. */
  publish(subject: string, payload: Uint8Array): boolean {
    const peers = this.#peers.match(subject);
    if (peers.size === 0) return false;
    const head = subjectFrameHead(frameTypes.message, [subject], payload.byteLength);
    const wire = payload.byteLength <= COPIED_BYTES_MAX ? [Buffer.concat([head, payload])] : [head, payload];
    for (const peer of peers) peer.deliver(wire, subject, payload);
    return true;
  }
}
