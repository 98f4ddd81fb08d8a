import type { MessageBus } from '@skein/message-bus';

interface Address {
  readonly host: string;
  readonly port: number;
}

/** A rank's own connection to its leader beside the broker. A new leader process listens elsewhere: then it moves there. */
export class DirectLink {
  readonly #connect: (address: Address) => Promise<MessageBus>;
  #current: { readonly place: string; readonly bus: MessageBus } | null = null;

  constructor(connect: (address: Address) => Promise<MessageBus>) {
    this.#connect = connect;
  }

  async to(address: Address): Promise<MessageBus> {
    const place = JSON.stringify(address);
    if (this.#current?.place === place) return this.#current.bus;
    const bus = await this.#connect(address);
    await this.#current?.bus.close();
    this.#current = { place, bus };
    return bus;
  }
}
