import type { Exchange } from './exchange.ts';

export interface Route {
  readonly method: 'GET' | 'POST';
  /** Matched exactly, byte for byte; with a trailing `*` the rest of the path is `exchange.rest`, decoded and not empty. */
  readonly path: string;
  /** Answered without an API key. Every other path, known or not, needs one when keys are set. */
  readonly open?: boolean;
  /** Asked again and again by machines: logged at debug. */
  readonly probe?: boolean;
  handle(exchange: Exchange): Promise<void> | void;
}

export type RouteMatch =
  | { readonly found: true; readonly route: Route; readonly rest: string }
  /** `allow` lists the methods the path knows; empty for an unknown path. */
  | { readonly found: false; readonly allow: readonly string[] };

export class RouteTable {
  readonly #routes: readonly Route[];

  constructor(routes: readonly Route[]) {
    this.#routes = routes;
  }

  match(method: string, path: string): RouteMatch {
    const allow = new Set<string>();
    for (const route of this.#routes) {
      const rest = restOf(route.path, path);
      if (rest === null) continue;
      if (route.method === method || (route.method === 'GET' && method === 'HEAD')) return { found: true, route, rest };
      allow.add(route.method);
      if (route.method === 'GET') allow.add('HEAD');
    }
    return { found: false, allow: [...allow] };
  }
}

/** The path of a request target, query aside. A target that is no plain path gives '' and matches nothing. */
export function pathOf(target: string | undefined): string {
  return /^\/[^?#]*/.exec(target ?? '')?.[0] ?? '';
}

function restOf(pattern: string, path: string): string | null {
  if (!pattern.endsWith('*')) return path === pattern ? '' : null;
  const prefix = pattern.slice(0, -1);
  if (!path.startsWith(prefix) || path.length === prefix.length) return null;
  try {
    return decodeURIComponent(path.slice(prefix.length));
  } catch {
    return null;
  }
}
