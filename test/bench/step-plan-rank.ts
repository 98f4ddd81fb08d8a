import { connectLocal, connectNats, type MessageBus } from '@skein/message-bus';
import { newIdentity, stepPlanSchema, type StepResult, subjects } from '@skein/protocol';
import { GROUP, monotonicUs, type RankAddress } from './step-plan-link.ts';

/** Entry of the process on the far side of the step-plan bench: takes plans as a rank does and answers each at once, with
 *  the greedy ids of no model. Ends with the channel to its parent. */
process.on('disconnect', () => process.exit(0));
process.once('message', (address: RankAddress) => void serve(address));

async function serve(address: RankAddress): Promise<void> {
  const bus = await connect(address);
  bus.subscribe(subjects.plans(GROUP, 0), ({ data }) => {
    const { epoch, step, input } = stepPlanSchema.parse(data);
    const words = new Int32Array(input.buffer, input.byteOffset, input.byteLength / 4);
    const arrivedUs = monotonicUs();
    const numRows = words[7] ?? 0;
    const output = new Int32Array(2 + 3 * numRows);
    output[0] = numRows;
    // The result's time of waiting carries the time of arrival.
    const result: StepResult = {
      epoch,
      step,
      stage: 0,
      computeUs: 0,
      waitUs: arrivedUs,
      output: bytes(output),
      error: null,
    };
    bus.publish(subjects.results(GROUP, 0), result);
  });
  await bus.flush();
  process.send?.('ready');
}

function connect(address: RankAddress): Promise<MessageBus> {
  const options = { identity: newIdentity('rank'), groupKey: null, deadlineMs: 10_000 };
  return 'natsUrl' in address
    ? connectNats({ ...options, servers: [address.natsUrl] })
    : connectLocal({ ...options, address: address.hub });
}

function bytes(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
