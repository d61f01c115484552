// What the tests need of Debian and this machine has not, fetched without
// installing it: packages are unpacked into a folder of their own.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const cache = new URL('../node_modules/.cache/debian', import.meta.url).pathname
const run = (cmd, args, o) => execFileSync(cmd, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', ...o })

export const onPath = (name) => process.env.PATH.split(delimiter).map((dir) => join(dir, name)).find(existsSync)

const arch = { x64: 'x86_64', arm64: 'aarch64' }[process.arch] ?? process.arch

// The programs, and where they are in their packages.
const programs = { chromium: ['chromium', 'usr/lib/chromium/chromium'], nft: ['nftables', 'usr/sbin/nft'] }

/** A program of this machine, or Debian's as `node test/debian.mjs` unpacked it: its path and environment. Throws with the reason, for people. */
export function find(name) {
  const here = process.env[name.toUpperCase()] || onPath(name) || ['/usr/sbin', '/usr/bin'].map((dir) => join(dir, name)).find(existsSync)
  if (here) return { path: here, env: process.env }
  const [pkg, path] = programs[name]
  const dir = join(cache, pkg)
  if (!existsSync(dir)) throw new Error(`there is no ${name} here (node test/debian.mjs fetches it where Debian's packages are)`)
  // pulseaudio: half of libpulse is in a folder that it knows by its absolute path.
  const folders = ['usr/lib', 'lib'].map((p) => join(dir, p, `${arch}-linux-gnu`)).flatMap((d) => [d, join(d, 'pulseaudio')])
  return { path: join(dir, path), env: { ...process.env, LD_LIBRARY_PATH: [...folders, process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter) } }
}

/** Unpacks a Debian package and what it needs. Throws with the reason, for people. */
function unpack(name) {
  if (!onPath('apt-get')) throw new Error('no apt-get to fetch it')
  const unfinished = join(cache, `${name}.${process.pid}`)
  const fetch = () => {
    const inst = run('apt-get', ['install', '-s', '--no-install-recommends', name])
    const names = inst.split('\n').flatMap((line) => /^Inst (\S+)/.exec(line)?.[1] ?? [])
    rmSync(unfinished, { recursive: true, force: true })
    mkdirSync(join(unfinished, 'debs'), { recursive: true })
    run('apt-get', ['-o', 'APT::Sandbox::User=root', 'download', ...names], { cwd: join(unfinished, 'debs') })
  }
  try {
    fetch()
  } catch {
    // No lists, or old ones, which name packages that are not served any more.
    try {
      run('apt-get', ['update'])
      fetch()
    } catch (e) {
      throw new Error(`apt-get: ${e.stderr?.trim().split('\n').at(-1) || e.message}`)
    }
  }
  for (const deb of readdirSync(join(unfinished, 'debs'))) run('dpkg-deb', ['-x', join(unfinished, 'debs', deb), unfinished])
  rmSync(join(unfinished, 'debs'), { recursive: true })
  renameSync(unfinished, join(cache, name))
}

// Run alone, before the tests: fetches what is missing, and says what it could not.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const name of Object.keys(programs)) {
    try {
      try {
        find(name)
      } catch {
        unpack(programs[name][0])
      }
      const { path, env } = find(name)
      console.log(run(path, ['--version'], { env }).trim())
    } catch (e) {
      console.log(`no ${name}, what needs it is not tested: ${e.stderr?.trim().split('\n').at(-1) || e.message}`)
    }
  }
}
