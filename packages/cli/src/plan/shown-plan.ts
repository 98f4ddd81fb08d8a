import type { Resolved } from '../flags/resolve.ts';
import { groupDocument } from './group-document.ts';
import { planDocument } from './plan-document.ts';
import { planText } from './plan-text.ts';
import { recommend } from './recommend.ts';

/** The recommendation for what was asked, in one of its forms. @throws as `recommend` does. */
export async function shownPlan(resolved: Resolved, form: 'text' | 'json' | 'yaml'): Promise<string> {
  const plan = await recommend(resolved);
  const { name, isAssumed } = plan.planning.checkpoint;
  // A shape's name is no folder.
  const model = isAssumed && name === resolved.settings.model ? 'DIR' : (resolved.settings.model ?? '');
  switch (form) {
    case 'text':
      return planText(plan, model);
    case 'json':
      return `${JSON.stringify(planDocument(plan, model), null, 2)}\n`;
    case 'yaml':
      return groupDocument(plan);
  }
}
