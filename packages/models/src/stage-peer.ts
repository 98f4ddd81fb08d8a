/** Name that send and receive operations give to the rank of a stage. */
export function stagePeer(stage: number): string {
  return `stage-${stage}`;
}
