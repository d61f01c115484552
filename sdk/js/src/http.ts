import { env } from './env.js'

/** Makes a request to a relay. */
export function get(base: string, path: string, signal: AbortSignal, o: RequestInit & { token?: string } = {}): Promise<Response> {
  const { token, headers, ...init } = o
  return env.fetch(base + path, {
    credentials: 'omit',
    cache: 'no-store',
    signal,
    headers: { ...headers, ...(token && { Authorization: `Bearer ${token}` }) } as HeadersInit,
    ...init,
  })
}

/** A signal that aborts after ms, or with another one; and what stops the clock. */
export function within(ms: number, other?: AbortSignal): [AbortSignal, () => void] {
  const abort = new AbortController()
  other?.addEventListener('abort', () => abort.abort())
  return [abort.signal, env.after(ms, () => abort.abort())]
}
