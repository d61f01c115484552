import type { Transport } from './api.js'
import { env } from './env.js'
import { get } from './http.js'
import type { Link } from './link.js'
import type { Machine } from './machine.js'
import { remember } from './memory.js'
import { acceptable } from './pace.js'
import { probe, replaced, usable } from './race.js'

const candidates = 4
const hysteresis = 0.8 // a nearer region must be this much better

/** Looks for a better transport or a nearer region. The new link is live before the old one is left. */
export async function improve(m: Machine, link: Link): Promise<boolean> {
  const { base, kind } = link
  const all = usable(m, base)
  const better = all.slice(0, Math.max(0, all.indexOf(kind)))
  const well = better.length ? await probe(base) : undefined
  if (well?.admit && !(well.load > 0.8)) {
    for (const k of better) if ((k !== 'wt' || well.webtransport) && (await swap(m, link, k, base))) return true
  }
  if (!m.o.nearest) return false
  const urls = [...new Set([...m.o.urls, ...acceptable(base, await regions(base))])]
  const near = urls.length > 1 ? await nearest(urls, base) : []
  const [best] = near
  if (!best) return false
  m.pacer.home = [...new Set([...near, ...m.o.urls])]
  remember(m.o.urls[0]!, { home: best, settled: env.now() + 6 * 3_600_000 })
  return best !== base && swap(m, link, kind, best)
}

/** Opens another link beside the present one, which gives way at the welcome. */
async function swap(m: Machine, link: Link, kind: Transport, base: string): Promise<boolean> {
  if (m.link !== link) return true
  const next = m.open(kind, base)
  next.wanted = () => m.link === link
  void link.over.then(() => next.live || next.end(replaced))
  const live = new Promise<boolean>((yes) => (next.onlive = () => yes(true)))
  next.start()
  return Promise.race([live, next.over.then(() => false)])
}

/** The URLs that a relay tells, best first. */
async function regions(base: string): Promise<string[]> {
  try {
    const { regions } = await (await get(base, '/.well-known/chappe')).json()
    return regions.slice(0, candidates).map((r: { url: string }) => r.url)
  } catch {
    return []
  }
}

/**
 * The URLs that answer, the best first: of two requests to each the second, warm
 * one counts, weighed by load, for not everybody may flock to the nearest one.
 * Who needs twice the so weighed time of the first is not waited for. The present one stays
 * the best unless another is better by a fifth.
 */
export async function nearest(urls: string[], here: string): Promise<string[]> {
  const abort = new AbortController()
  const began = env.now()
  const scores = new Map<string, number>()
  let cancel: (() => void) | undefined
  await Promise.all(
    urls.map(async (url) => {
      if (!(await probe(url, abort.signal))) return
      const warm = env.now()
      const p = await probe(url, abort.signal)
      if (!p?.admit) return
      const { load = 0 } = p
      const weight = load < 0.5 ? 1 : load < 0.8 ? 1.5 : 4
      scores.set(url, Math.max(1, env.now() - warm) * weight)
      cancel ??= env.after((env.now() - began) * (2 * weight - 1), () => abort.abort())
    }),
  )
  cancel?.()
  if (scores.has(here)) scores.set(here, scores.get(here)! * hysteresis)
  return [...scores].sort((a, b) => a[1] - b[1]).map(([url]) => url)
}
