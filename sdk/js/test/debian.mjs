// What the tests need of Debian and this machine has not, fetched without
// installing it: packages are unpacked into a folder of their own.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const cache = new URL('../node_modules/.cache/debian', import.meta.url).pathname
const run = (cmd, args, o) => execFileSync(cmd, args, { stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8', ...o })

export const onPath = (name) => process.env.PATH.split(delimiter).map((dir) => join(dir, name)).find(existsSync)

/** Unpacks a Debian package and what it needs. Returns the folder; throws with the reason, for people. */
export function unpack(name) {
  const dir = join(cache, name)
  if (existsSync(dir)) return dir
  if (!onPath('apt-get')) throw new Error(`there is no ${name} here, and no apt-get to fetch it`)
  const wanted = () =>
    run('apt-get', ['install', '-s', '--no-install-recommends', name]).split('\n').flatMap((line) => /^Inst (\S+)/.exec(line)?.[1] ?? [])
  let names
  try {
    names = wanted()
  } catch {
    try {
      run('apt-get', ['update'])
      names = wanted()
    } catch {
      throw new Error(`there is no ${name} here, and apt-get knows none (as root: apt-get update)`)
    }
  }
  const unfinished = `${dir}.${process.pid}`
  mkdirSync(join(unfinished, 'debs'), { recursive: true })
  try {
    run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', ...names], { cwd: join(unfinished, 'debs') })
  } catch {
    throw new Error(`there is no ${name} here, and it could not be fetched with apt-get download`)
  }
  for (const deb of readdirSync(join(unfinished, 'debs'))) run('dpkg-deb', ['-x', join(unfinished, 'debs', deb), unfinished])
  renameSync(unfinished, dir)
  return dir
}

/** The environment in which unpacked programs find their libraries. */
export function libraries(dir) {
  const arch = { x64: 'x86_64', arm64: 'aarch64' }[process.arch] ?? process.arch
  const paths = ['usr/lib', 'lib'].map((p) => join(dir, p, `${arch}-linux-gnu`))
  return { ...process.env, LD_LIBRARY_PATH: [...paths, process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter) }
}

/** Chromium: of this machine, or Debian's. */
export function findChromium() {
  const here = process.env.CHROMIUM || onPath('chromium')
  if (here) return { executablePath: here, env: process.env }
  const dir = unpack('chromium')
  return { executablePath: join(dir, 'usr/lib/chromium/chromium'), env: libraries(dir) }
}

/** nft: of this machine, or Debian's. */
export function findNft() {
  const here = onPath('nft') ?? ['/usr/sbin/nft'].find(existsSync)
  if (here) return { nft: here, env: process.env }
  const dir = unpack('nftables')
  return { nft: join(dir, 'usr/sbin/nft'), env: libraries(dir) }
}
