import type { MessageBus } from '@skein/message-bus';
import { SkeinError } from '@skein/protocol';
import { untilAborted } from '../until-aborted.ts';

interface Address {
  readonly host: string;
  readonly port: number;
}

/** A rank's own connection to its leader beside the broker. A new leader process listens elsewhere: then it moves there. */
export class DirectLink {
  readonly #connect: (address: Address) => Promise<MessageBus>;
  #current: { readonly place: string; readonly bus: MessageBus } | null = null;

  /** `connect` has a deadline of its own. */
  constructor(connect: (address: Address) => Promise<MessageBus>) {
    this.#connect = connect;
  }

  /** One call at a time. @throws ERR_DIRECT_LINK naming the address, or the signal's reason. */
  async to(address: Address, signal: AbortSignal): Promise<MessageBus> {
    const place = `${address.host} port ${address.port}`;
    if (this.#current?.place === place) return this.#current.bus;
    const dialing = this.#connect(address);
    let bus;
    try {
      bus = await untilAborted(dialing, signal);
    } catch (error) {
      // A connection that comes after all belongs to nobody.
      dialing.then((late) => late.close()).catch(() => {});
      signal.throwIfAborted();
      const reason = error instanceof Error ? error.message : String(error);
      throw new SkeinError('ERR_DIRECT_LINK', `the leader's direct link at ${place} cannot be opened: ${reason}`, {
        cause: error,
      });
    }
    const before = this.#current?.bus;
    this.#current = { place, bus };
    await before?.close();
    return bus;
  }
}
