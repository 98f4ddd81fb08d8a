export {
  createLogger,
  type LogFormat,
  logFormats,
  type Logger,
  type LoggerOptions,
  type LogLevel,
  logLevels,
  silentLogger,
} from './logger.ts';
export { type MetricDefinition, skeinMetrics, vllmMetrics } from './metric-names.ts';
export { Metrics, type MetricsOptions } from './metrics.ts';
export { type LineSink } from './repeat-filter.ts';
export { type TraceHeaders, Tracing, type TracingOptions, type TraceSpan } from './tracing.ts';
export { type Variable, type VariableKey, variables } from './variable-names.ts';
export { type RequestEnd, VllmMetrics } from './vllm-metrics.ts';
