/** Ticks per idle time, and one more to be sure that the whole time has passed. */
const TICKS = 4;

export interface IdleTimerEvents {
  /** Time for a keep-alive. */
  readonly onTick: () => void;
  readonly onIdle: () => void;
}

/** Notices a silent peer after 1 to 1.25 times `idleMs`. It counts its own ticks: a process that was itself stopped has
 *  one tick when it goes on, and hears what waits in its sockets before the next. */
export class IdleTimer {
  readonly #timer: NodeJS.Timeout;
  #silentTicks = 0;

  constructor(idleMs: number, events: IdleTimerEvents) {
    this.#timer = setInterval(
      () => {
        this.#silentTicks += 1;
        if (this.#silentTicks > TICKS) events.onIdle();
        else events.onTick();
      },
      Math.max(1, Math.floor(idleMs / TICKS)),
    );
  }

  heard(): void {
    this.#silentTicks = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
