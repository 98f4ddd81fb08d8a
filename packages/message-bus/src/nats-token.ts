import { createHmac } from 'node:crypto';
import { MessageBusError } from './errors.ts';

/** The authorization token of a group's broker. It is derived, so that the broker, its configuration file and whoever
 *  listens to the broker's port never see the group key itself. */
export function natsToken(groupKey: string): string {
  if (groupKey === '') throw new MessageBusError('ERR_GROUP_KEY', 'the group key is empty; null means none');
  return createHmac('sha256', groupKey).update('skein nats token 1').digest('hex');
}
