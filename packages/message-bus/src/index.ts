export type {
  BusCounters,
  BusMessage,
  Lease,
  LeaseEvent,
  LeaseMember,
  LeaseWatch,
  MessageBus,
  RequestOptions,
  StreamOptions,
  SubscribeOptions,
  Subscription,
} from './message-bus.ts';
export { MessageBusError, type MessageBusErrorCode, RemoteError, type RemoteErrorOptions } from './errors.ts';
export type { OnWarning } from './warning.ts';
export { type BusTarget, busTargetSchema, connectBus } from './bus-target.ts';
export { connectLocal, type ConnectLocalOptions } from './connect-local.ts';
export { type HubAddress, LocalHub, type LocalHubOptions, startLocalHub } from './local-hub.ts';
export { connectNats, type ConnectNatsOptions } from './connect-nats.ts';
export { spawnBound } from './child-process.ts';
export { RestartPause, SupervisedProcess } from './supervised-process.ts';
export { acceptProof, offerProof, type ProofOptions } from './proven-socket.ts';
export { natsToken } from './nats-token.ts';
export { type NatsServer, type NatsServerOptions, startNatsServer } from './nats-server.ts';
export type { ConnectOptions } from './reconnecting-carrier.ts';
