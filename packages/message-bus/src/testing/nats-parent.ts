// Starts a broker and waits to be killed.
import { startNatsServer } from '../nats-server.ts';

process.once('disconnect', () => process.exit());
void startNatsServer({ host: '127.0.0.1', port: 0, token: null }).then((server) => process.send?.(server.pid));
