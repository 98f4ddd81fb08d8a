import type { Carrier, OnFrame } from '../carrier.ts';

/** Passes everything on but the frames that `drops` picks, which are lost on the way out. */
export class FaultyCarrier implements Carrier {
  drops: (subject: string) => boolean = () => false;
  readonly #carrier: Carrier;

  constructor(carrier: Carrier) {
    this.#carrier = carrier;
  }

  get frameBytesMax(): number {
    return this.#carrier.frameBytesMax;
  }

  get connected(): boolean {
    return this.#carrier.connected;
  }

  get onConnectionChange(): ((connected: boolean) => void) | null {
    return this.#carrier.onConnectionChange;
  }

  set onConnectionChange(listener: ((connected: boolean) => void) | null) {
    this.#carrier.onConnectionChange = listener;
  }

  publish(subject: string, frame: Uint8Array, replyTo?: string): boolean {
    return this.drops(subject) || this.#carrier.publish(subject, frame, replyTo);
  }

  subscribe(pattern: string, onFrame: OnFrame): () => void {
    return this.#carrier.subscribe(pattern, onFrame);
  }

  async flush(): Promise<void> {
    await this.#carrier.flush();
  }

  async close(): Promise<void> {
    await this.#carrier.close();
  }
}
