import { env } from './env.js'

/** Makes a request to a relay; it fails after 3 s, or with the signal. */
export function get(base: string, path: string, signal = AbortSignal.timeout(3000), o: RequestInit & { token?: string } = {}): Promise<Response> {
  const { token, headers, ...init } = o
  return env.fetch(base + path, {
    credentials: 'omit',
    cache: 'no-store',
    signal,
    headers: { ...headers, ...(token && { Authorization: `Bearer ${token}` }) } as HeadersInit,
    ...init,
  })
}
