import type { Transport } from './api.js'
import { env } from './env.js'
import { query } from './http.js'
import type { Link } from './link.js'
import type { Machine } from './machine.js'
import { remember } from './memory.js'
import { acceptable, union } from './pace.js'
import { probe, usable } from './race.js'

const candidates = 4
const patience = 3000 // ms that they have to answer
const hysteresis = 0.8 // a nearer region must be this much better

/** Looks for a better transport or a nearer region. The new link is live before the old one is left. */
export async function improve(m: Machine, link: Link): Promise<boolean> {
  const { base, kind } = link
  const all = usable(m)
  const well = all[0] !== kind ? await probe(base) : undefined
  if (well?.admit && well.load <= 0.8) {
    for (const k of all.slice(0, all.indexOf(kind))) if ((k !== 'wt' || well.webtransport || well.webtransport_url) && (await swap(m, link, k, base))) return true
  }
  if (!m.o.nearest) return false
  const told = await query(base, '/.well-known/chappe')
  const urls = union(m.o.urls, acceptable(base, told?.regions?.slice(0, candidates).map((r: any) => r.url)))
  const near = urls[1] ? await nearest(urls, base) : []
  const [best] = near
  if (!best) return false
  m.pacer.home = union(near, m.o.urls)
  remember(m.o.urls[0]!, { home: best, settled: env.now() + 6 * 3_600_000 })
  return best !== base && swap(m, link, kind, best)
}

/** Opens another link beside the present one, which gives way at the welcome. */
const swap = (m: Machine, link: Link, kind: Transport, base: string): Promise<boolean> =>
  new Promise((done) => {
    if (m.link !== link) return done(true)
    const next = m.open(kind, base)
    next.wanted = () => m.link === link
    next.onlive = () => done(true)
    next.onover = () => done(false)
    m.stop = (loss) => next.end(loss)
    next.start()
  })

/**
 * The URLs that answer, the best first: of two requests to each the second, warm
 * one counts, weighed by load, for not everybody may flock to the nearest one.
 * Who needs twice the so weighed time of the first one is not waited for. The
 * present one stays the best unless another is better by a fifth.
 */
export async function nearest(urls: string[], here: string): Promise<string[]> {
  const gone = new AbortController()
  const began = env.now()
  const scores: [number, string][] = []
  const within = (ms: number) => env.after(ms, () => gone.abort())
  let cancel = within(patience)
  await Promise.all(
    urls.map(async (url) => {
      await probe(url, gone.signal)
      const warm = env.now()
      const p = await probe(url, gone.signal)
      if (!p?.admit) return
      const weight = p.load < 0.5 ? 1 : p.load < 0.8 ? 1.5 : 4
      if (!scores[0]) {
        cancel()
        cancel = within((env.now() - began) * (2 * weight - 1))
      }
      scores.push([(env.now() - warm + 1) * weight * (url === here ? hysteresis : 1), url])
    }),
  )
  cancel()
  return scores.sort(([a], [b]) => a - b).map(([, url]) => url)
}
