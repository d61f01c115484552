import { env } from './env.js'

/**
 * Tells what happens to the page until gone: the network is back (`online`), the
 * page is seen again or hidden (`pageshow`, `visibilitychange`), or put away,
 * perhaps to come back (`pagehide`).
 */
export function watchPage(gone: AbortSignal, tell: (type: string) => void): void {
  for (const type of ['online', 'pageshow', 'visibilitychange', 'pagehide']) env.page?.addEventListener(type, () => tell(type), { signal: gone })
}
