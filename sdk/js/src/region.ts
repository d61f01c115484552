import type { Machine } from './machine.js'

/** How a node stands (`/v1/probe`). */
export interface Probe {
  region?: string
  admit: boolean
  retry_ms?: number
  load: number
  webtransport?: boolean
  hashes?: string[]
}

const candidates = 4
const hysteresis = 0.8 // a nearer region must be this much better

/** The URLs that a relay tells, best first. */
export async function regionsOf(m: Machine, base: string): Promise<string[]> {
  try {
    const r = await m.fetch(base, '/.well-known/chappe', { cache: 'no-store' })
    const { regions = [] }: { regions?: { url: string }[] } = JSON.parse(await r.text())
    return regions.map((x) => x.url).slice(0, candidates)
  } catch {
    return []
  }
}

/** What a busy node costs in round trips: not everybody may flock to the nearest one. */
const weight = (load: number) => (load < 0.5 ? 1 : load < 0.8 ? 1.5 : 4)

/**
 * The URL to use: of two requests to each the second, warm one counts, weighed
 * by load. Who needs twice the time of the best is not waited for. The present
 * one stays unless another is better by a fifth.
 */
export async function nearest(m: Machine, urls: string[], here: string): Promise<string | undefined> {
  const abort = new AbortController()
  const began = m.env.now()
  const scores = new Map<string, number>()
  let cancel: (() => void) | undefined
  await Promise.all(
    urls.map(async (url) => {
      if (!(await m.probe(url, abort.signal))) return
      const warm = m.env.now()
      const p = await m.probe(url, abort.signal)
      if (!p?.admit) return
      const rtt = Math.max(1, m.env.now() - warm)
      scores.set(url, rtt * weight(p.load))
      cancel ??= m.env.after(m.env.now() - began, () => abort.abort())
    }),
  )
  cancel?.()
  const [best] = [...scores].sort((a, b) => a[1] - b[1])
  const present = scores.get(here)
  if (!best) return undefined
  return present !== undefined && best[1] > present * hysteresis ? here : best[0]
}
