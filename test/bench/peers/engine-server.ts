import type { Engine } from './engine.ts';

export type EngineCall = {
  readonly [K in keyof Engine]: { readonly name: K; readonly args: Parameters<Engine[K]> };
}[keyof Engine];
export type EngineReply = { readonly value: unknown } | { readonly error: string };

/** Answers the calls of the parent process, one at a time; the process ends with its parent. */
export function serveEngine(engine: Engine): void {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (call: EngineCall) => {
    answer(engine, call).then(
      (value) => process.send?.({ value } satisfies EngineReply),
      (error: unknown) =>
        process.send?.({ error: error instanceof Error ? error.message : String(error) } satisfies EngineReply),
    );
  });
}

async function answer(engine: Engine, call: EngineCall): Promise<unknown> {
  switch (call.name) {
    case 'load':
      return engine.load(...call.args);
    case 'prefill':
      return engine.prefill();
    case 'decode':
      return engine.decode(...call.args);
    case 'decodeLong':
      return engine.decodeLong(...call.args);
    case 'likeliest':
      return engine.likeliest();
  }
}
