import type { MessageBusErrorCode } from './errors.ts';
import { MessageBusError } from './errors.ts';

/** Receives what went wrong without a caller to throw at: dropped frames, refused peers, throwing handlers. */
export type OnWarning = (warning: MessageBusError) => void;

const QUIET_MS = 10_000;

/** Lets one warning of each code through every 10 s, so that a hostile or broken peer cannot fill the log. The number
 *  held back is in the next one's details. */
export class WarningGate {
  readonly #onWarning: OnWarning;
  readonly #lastAt = new Map<MessageBusErrorCode, { at: number; heldBack: number }>();

  constructor(onWarning: OnWarning | undefined) {
    this.#onWarning = onWarning ?? (() => {});
  }

  warn(code: MessageBusErrorCode, message: string, details: Readonly<Record<string, unknown>> = {}): void {
    const now = performance.now();
    const last = this.#lastAt.get(code);
    if (last && now - last.at < QUIET_MS) {
      last.heldBack += 1;
      return;
    }
    this.#lastAt.set(code, { at: now, heldBack: 0 });
    const heldBack = last?.heldBack ?? 0;
    this.#onWarning(new MessageBusError(code, message, { details: heldBack > 0 ? { ...details, heldBack } : details }));
  }
}
