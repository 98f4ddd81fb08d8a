// A hub in a process of its own, so that a test can stop, freeze and kill it.
import { type LocalHubOptions, startLocalHub } from '../local-hub.ts';

process.once('disconnect', () => process.exit());
process.once('message', (options: LocalHubOptions) => {
  void startLocalHub({ ...options, onWarning: (warning) => process.send?.({ warning: warning.code }) }).then((hub) =>
    process.send?.({ address: hub.address }),
  );
});
