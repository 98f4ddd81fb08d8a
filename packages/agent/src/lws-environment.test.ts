import { expect, test } from 'vitest';
import { parseLwsEnvironment } from './lws-environment.ts';

const base = { LWS_LEADER_ADDRESS: 'my-lws-3.my-lws.default', LWS_GROUP_SIZE: '3', LWS_WORKER_INDEX: '2' };

test('derives group, index and peers from the three variables, for both subdomain policies', () => {
  expect(parseLwsEnvironment(base)).toEqual({
    group: 'my-lws-3',
    groupIndex: 3,
    groupSize: 3,
    workerIndex: 2,
    leaderAddress: 'my-lws-3.my-lws.default',
    peers: ['my-lws-3.my-lws.default', 'my-lws-3-1.my-lws.default', 'my-lws-3-2.my-lws.default'],
  });
  expect(parseLwsEnvironment({ ...base, LWS_LEADER_ADDRESS: 'm-0.m-0.ns' }).peers[1]).toBe('m-0-1.m-0.ns');
});

test('takes a plain address, with the group index from LWS_GROUP_INDEX where given', () => {
  expect(parseLwsEnvironment({ ...base, LWS_LEADER_ADDRESS: '10.0.0.7', LWS_GROUP_INDEX: '4' })).toMatchObject({
    group: '10.0.0.7-4',
    groupIndex: 4,
  });
  expect(parseLwsEnvironment({ ...base, LWS_LEADER_ADDRESS: 'fd00::1' }).leaderAddress).toBe('fd00::1');
});

test.each([
  [{ ...base, LWS_LEADER_ADDRESS: '' }, /LWS_LEADER_ADDRESS is empty/],
  [{ ...base, LWS_LEADER_ADDRESS: 'a b' }, /one host name/],
  [{ ...base, LWS_GROUP_SIZE: undefined }, /LWS_GROUP_SIZE is not set/],
  [{ ...base, LWS_WORKER_INDEX: '3' }, /LWS_WORKER_INDEX is "3"; it must be an integer from 0 to 2/],
  [{ ...base, LWS_WORKER_INDEX: '-1' }, /LWS_WORKER_INDEX/],
])('refuses %o', (env, message) => {
  expect(() => parseLwsEnvironment(env)).toThrow(message);
});
