import { Engine, type EngineConfig, engineConfig, type EngineObserver, type Executor } from '@skein/engine';
import { buildStageProgram, type Model, readCheckpointTensors, readModel, stageLayers } from '@skein/models';
import { type KVCacheDtype, loadNative, type TensorSource } from '@skein/native';
import { openNative, type Pipeline } from './pipeline.ts';

export interface InProcessOptions {
  readonly engine: Partial<EngineConfig>;
  readonly numBlocks: number;
  readonly blockSize?: number;
  readonly maxModelLen: number;
  readonly stages?: number;
  readonly dtype?: KVCacheDtype;
  readonly threads?: number;
  readonly observer?: Partial<EngineObserver>;
}

/** The real engine on the real model, all stages in this process: no server, no bus. */
export class InProcessModel implements AsyncDisposable {
  readonly engine: Engine;
  readonly vocabSize: number;
  readonly #pipeline: Pipeline;
  readonly #underWay: ReadonlySet<Promise<unknown>>;

  static async load(dir: string, options: InProcessOptions): Promise<InProcessModel> {
    return InProcessModel.open({ model: await readModel(dir), tensors: await readCheckpointTensors(dir) }, options);
  }

  static async open(
    { model, tensors }: { readonly model: Model; readonly tensors: ReadonlyMap<string, TensorSource> },
    options: InProcessOptions,
  ): Promise<InProcessModel> {
    const { numBlocks, blockSize = 16, maxModelLen, stages = 1, dtype = 'bf16', threads = 1 } = options;
    const config = engineConfig(options.engine);
    const limits = {
      maxTokens: config.maxNumBatchedTokens,
      maxSeqs: config.maxNumSeqs,
      maxRows: config.maxNumRows,
      maxModelLen,
      maxLogprobs: 0,
      numSlots: config.maxNumSeqs,
    };
    const kvCache = { numBlocks, blockSize, dtype };
    const specs = stageLayers(model.config.numLayers, stages, null).map((layers, stage) =>
      buildStageProgram({ model, tensors, stages, stage, layers, limits, kvCache }),
    );
    const pipeline = await openNative(loadNative(), specs, threads);
    const underWay = new Set<Promise<unknown>>();
    const executor: Executor = {
      maxStepsInFlight: stages + 1,
      numStages: stages,
      numBlocks,
      blockSize,
      maxModelLen,
      maxLogprobs: 0,
      execute: async (input) => {
        const running = pipeline.run(input);
        underWay.add(running);
        const ids = await running.finally(() => underWay.delete(running));
        return ids.map((tokenId) => ({ tokenId, logprob: null, rank: null, top: [] }));
      },
    };
    const engine = new Engine(config, options.observer ? { observer: options.observer } : {});
    engine.attach(executor);
    return new InProcessModel(engine, { pipeline, underWay, vocabSize: model.config.vocabSize });
  }

  private constructor(
    engine: Engine,
    parts: {
      readonly pipeline: Pipeline;
      readonly underWay: ReadonlySet<Promise<unknown>>;
      readonly vocabSize: number;
    },
  ) {
    this.engine = engine;
    this.vocabSize = parts.vocabSize;
    this.#pipeline = parts.pipeline;
    this.#underWay = parts.underWay;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.drain();
    this.engine.close();
    // The last tokens may have come while a step planned ahead still runs; the program must outlive it.
    await Promise.allSettled(this.#underWay);
    await this.#pipeline[Symbol.asyncDispose]();
  }
}
