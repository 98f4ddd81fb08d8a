/** Every environment variable skein reads, with its meaning. Only the cli reads the environment; it takes names from here. */
export interface Variable {
  readonly name: string;
  readonly doc: string;
}

export type VariableKey =
  | 'lwsLeaderAddress'
  | 'lwsGroupSize'
  | 'lwsWorkerIndex'
  | 'lwsGroupIndex'
  | 'natsUrl'
  | 'groupKey'
  | 'interface'
  | 'apiKey'
  | 'logLevel'
  | 'logFormat'
  | 'config'
  | 'layerPartition'
  | 'hfHome'
  | 'hfHubCache'
  | 'otlpTracesEndpoint'
  | 'otlpEndpoint';

export const variables: Readonly<Record<VariableKey, Variable>> = {
  lwsLeaderAddress: {
    name: 'LWS_LEADER_ADDRESS',
    doc: 'Host of the group leader: <lws>-<group>.<subdomain>.<namespace>. LeaderWorkerSet sets it.',
  },
  lwsGroupSize: { name: 'LWS_GROUP_SIZE', doc: 'Pods in the group, leader included. LeaderWorkerSet sets it.' },
  lwsWorkerIndex: { name: 'LWS_WORKER_INDEX', doc: '0 for the leader, then 1 to size - 1. LeaderWorkerSet sets it.' },
  lwsGroupIndex: {
    name: 'LWS_GROUP_INDEX',
    doc: 'Which replica of the set this group is. Accepted; LeaderWorkerSet does not set it, so the leader address is read instead.',
  },
  natsUrl: { name: 'SKEIN_NATS_URL', doc: 'nats://host:port of the broker. Without it a leader starts its own.' },
  groupKey: {
    name: 'SKEIN_GROUP_KEY',
    doc: 'Secret shared by the processes of a deployment; handshakes and signed identities prove it.',
  },
  interface: {
    name: 'SKEIN_INTERFACE',
    doc: 'Interfaces or networks that ranks use, as --interface.',
  },
  apiKey: { name: 'SKEIN_API_KEY', doc: 'API key clients must bring; several are separated by commas.' },
  logLevel: { name: 'SKEIN_LOG_LEVEL', doc: 'trace, debug, info (default), warn, error, fatal or silent.' },
  logFormat: {
    name: 'SKEIN_LOG_FORMAT',
    doc: 'json, or text for short lines; text when stderr is a terminal, else json.',
  },
  config: { name: 'SKEIN_CONFIG', doc: 'YAML file of flags, where --config names none.' },
  layerPartition: {
    name: 'VLLM_PP_LAYER_PARTITION',
    doc: "Layers of each stage, as --pp-layer-partition; vLLM's name.",
  },
  hfHome: { name: 'HF_HOME', doc: "Hugging Face's folder; its hub/ is searched for a model given as org/name." },
  hfHubCache: { name: 'HF_HUB_CACHE', doc: "Hugging Face's cache of models, where it is not below HF_HOME." },
  otlpTracesEndpoint: {
    name: 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT',
    doc: 'Where traces go, over HTTP. The other OTEL_EXPORTER_OTLP_ variables of the exporter, such as _HEADERS, count too.',
  },
  otlpEndpoint: { name: 'OTEL_EXPORTER_OTLP_ENDPOINT', doc: 'The same without /v1/traces, for all signals.' },
};
