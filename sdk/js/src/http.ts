import { env } from './env.js'

/** Makes a request to a relay; it fails after 3 s, or with the signal. */
export const get = (base: string, path: string, signal = AbortSignal.timeout(3000), token?: string, o: RequestInit = {}): Promise<Response> =>
  env.fetch(base + path, {
    credentials: 'omit',
    signal,
    ...o,
    headers: { ...o.headers, ...(token && { Authorization: `Bearer ${token}` }) } as HeadersInit,
  })

/** What a relay answers to a plain question; undefined: none of ours does. */
export const query = (base: string, path: string, signal?: AbortSignal): Promise<any> =>
  get(base, path, signal)
    .then((r) => (r.ok ? r.json() : undefined))
    .catch(() => {})
