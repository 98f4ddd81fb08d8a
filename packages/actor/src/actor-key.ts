/** Lease key under which the actor at `subject` is announced. */
export function actorKey(subject: string): string {
  return `actor.${subject}`;
}
