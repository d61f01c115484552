import { env } from './env.js'

/**
 * What a page's life means for its connection; until the result is called.
 * wake: the network is back (surely), or the page is seen again: what was
 * thought to stand may not. leave: the page is put away, perhaps to come back.
 */
export function watchPage(wake: (surely?: boolean) => void, leave: (surely?: boolean) => void): () => void {
  const { page } = env
  const gone = new AbortController()
  const on = (name: string, f: () => void) => page?.addEventListener(name, f, { signal: gone.signal })
  const seen = () => (env.hidden() ? leave() : wake())
  on('online', () => wake(true))
  on('pageshow', seen)
  on('visibilitychange', seen)
  on('pagehide', () => leave(true))
  return () => gone.abort()
}
