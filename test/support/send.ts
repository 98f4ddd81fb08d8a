export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** A POST of JSON, or a GET where there is no body. */
export async function sendTo(url: string, path: string, body: string | null, init: RequestInit = {}): Promise<Answer> {
  const headers = { ...(body === null ? {} : { 'content-type': 'application/json' }), ...(init.headers as object) };
  const method = body === null ? 'GET' : 'POST';
  const response = await fetch(`${url}${path}`, { method, ...(body === null ? {} : { body }), ...init, headers });
  return { status: response.status, headers: response.headers, text: await response.text() };
}
