import type * as OpenTelemetry from '@opentelemetry/api';
import type { Attributes, Context, Span, SpanKind, TextMapPropagator, Tracer } from '@opentelemetry/api';

export interface TracingOptions {
  /** Where an OTLP collector takes traces over HTTP, path included. */
  readonly endpoint: string;
  /** Shown as the service: skein-router or skein-leader. */
  readonly serviceName: string;
  /** Which process of that service. */
  readonly instanceId: string;
}

/** Headers that carry a trace: traceparent and tracestate, as W3C has them. */
export type TraceHeaders = Readonly<Record<string, string>>;

export interface SpanStart {
  readonly kind?: 'internal' | 'server' | 'client';
  readonly attributes?: Attributes;
  /** Of performance.now(); now when absent. */
  readonly startMs?: number;
}

/** What the spans of one process share. */
interface TraceKit {
  readonly api: typeof OpenTelemetry;
  readonly tracer: Tracer;
  readonly propagator: TextMapPropagator;
}

/** How long the end of a process may be held up by spans that are still to be sent. */
const FLUSH_MS = 2000;

/** The spans of one process, sent to a collector in batches; when it takes none, spans are dropped and serving goes on. The
 *  libraries are loaded by `start`, so a process without an endpoint pays nothing. A root span is recorded; one with a parent
 *  is when its parent was. */
export class Tracing implements AsyncDisposable {
  readonly #kit: TraceKit;
  readonly #provider: { shutdown(): Promise<void> };

  private constructor(kit: TraceKit, provider: { shutdown(): Promise<void> }) {
    this.#kit = kit;
    this.#provider = provider;
  }

  static async start({ endpoint, serviceName, instanceId }: TracingOptions): Promise<Tracing> {
    const [api, { W3CTraceContextPropagator }, { resourceFromAttributes }, sdk, { OTLPTraceExporter }] =
      await Promise.all([
        import('@opentelemetry/api'),
        import('@opentelemetry/core'),
        import('@opentelemetry/resources'),
        import('@opentelemetry/sdk-trace'),
        import('@opentelemetry/exporter-trace-otlp-http'),
      ]);
    const exporter = new OTLPTraceExporter({ url: endpoint, timeoutMillis: FLUSH_MS });
    const provider = new sdk.TracerProvider({
      resource: resourceFromAttributes({ 'service.name': serviceName, 'service.instance.id': instanceId }),
      spanProcessors: [new sdk.BatchSpanProcessor({ exporter, scheduledDelayMillis: 1000 })],
    });
    const kit = { api, tracer: provider.getTracer('skein'), propagator: new W3CTraceContextPropagator() };
    return new Tracing(kit, provider);
  }

  /** A span below the one that `headers` tell of, or a root. */
  span(
    name: string,
    headers: Readonly<Record<string, string | readonly string[] | undefined>>,
    start: SpanStart = {},
  ): TraceSpan {
    const { api, propagator } = this.#kit;
    const getter = {
      keys: (carrier: typeof headers) => Object.keys(carrier),
      get: (carrier: typeof headers, key: string): string | string[] | undefined => {
        const value = carrier[key];
        return typeof value === 'string' ? value : value === undefined ? undefined : [...value];
      },
    };
    return startSpan(this.#kit, name, propagator.extract(api.ROOT_CONTEXT, headers, getter), start);
  }

  /** Sends what is left, within 2 s. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, FLUSH_MS);
    // A collector that is away must not hold up the end.
    await Promise.race([this.#provider.shutdown().catch(() => {}), promise]);
    clearTimeout(timer);
  }
}

/** One span. `end` it once; what is set later is lost. */
export class TraceSpan {
  readonly #kit: TraceKit;
  readonly #span: Span;
  readonly #context: Context;

  constructor(kit: TraceKit, span: Span, context: Context) {
    this.#kit = kit;
    this.#span = span;
    this.#context = context;
  }

  /** False when the client's trace is not recorded: then there is no use in gathering more. */
  get isRecording(): boolean {
    return this.#span.isRecording();
  }

  child(name: string, start: SpanStart = {}): TraceSpan {
    return startSpan(this.#kit, name, this.#context, start);
  }

  /** For the process that goes on with this trace. */
  headers(): TraceHeaders {
    const headers: Record<string, string> = {};
    this.#kit.propagator.inject(this.#context, headers, {
      set: (carrier: Record<string, string>, key, value) => {
        carrier[key] = value;
      },
    });
    return headers;
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes(attributes);
  }

  event(name: string, attributes: Attributes): void {
    this.#span.addEvent(name, attributes);
  }

  /** `error`: a code, when what the span stands for failed. `endMs`: of performance.now(); now when absent. */
  end(options: { readonly error?: string | null; readonly endMs?: number } = {}): void {
    const { error = null, endMs } = options;
    if (error !== null) this.#span.setStatus({ code: this.#kit.api.SpanStatusCode.ERROR, message: error });
    this.#span.end(endMs === undefined ? undefined : performance.timeOrigin + endMs);
  }
}

function startSpan(kit: TraceKit, name: string, parent: Context, start: SpanStart): TraceSpan {
  const { kind = 'internal', attributes = {}, startMs } = start;
  const { SpanKind: kinds } = kit.api;
  const spanKind: Readonly<Record<NonNullable<SpanStart['kind']>, SpanKind>> = {
    internal: kinds.INTERNAL,
    server: kinds.SERVER,
    client: kinds.CLIENT,
  };
  const startTime = startMs === undefined ? {} : { startTime: performance.timeOrigin + startMs };
  const span = kit.tracer.startSpan(name, { kind: spanKind[kind], attributes, ...startTime }, parent);
  return new TraceSpan(kit, span, kit.api.trace.setSpan(parent, span));
}
