/** Entry of a process that keeps one core busy until it is killed, its time is over or its parent has ended.
 *  Usage: busy-loop.ts SECONDS */
const endMs = performance.now() + Number(process.argv[2]) * 1000;
const parent = process.ppid;
let sum = 0;
process.send?.('ready', () => {
  while (performance.now() < endMs && process.ppid === parent) for (let i = 0; i < 1e6; i++) sum = (sum * 31 + i) | 0;
  process.exit(sum === 1 ? 1 : 0);
});
