// A real relay for tests: `chappe dev`, built from this tree unless CHAPPE_BIN has one.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const root = new URL('../../..', import.meta.url).pathname
const built = new Map()
const programs = { chappe: './edge/cmd/chappe', middlebox: './sdk/conformance/cmd/middlebox', conformance: './sdk/conformance/cmd/conformance' }

/** A program of this tree: what CHAPPE_BIN has, or built now. */
export function program(name) {
  if (process.env.CHAPPE_BIN) return join(process.env.CHAPPE_BIN, name)
  if (!built.has(name)) {
    const dir = mkdtempSync(join(tmpdir(), 'chappe-'))
    process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
    execFileSync('go', ['build', '-o', join(dir, name), programs[name]], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
    built.set(name, join(dir, name))
  }
  return built.get(name)
}

/** A port that is free now. */
export const freePort = () =>
  new Promise((done) => {
    const s = createServer().listen(0, '127.0.0.1', () => {
      const { port } = s.address()
      s.close(() => done(port))
    })
  })

/** Starts a relay and resolves when it listens. secret: of tokens it takes. */
export async function startRelay({ tls = false, port, env = {} } = {}) {
  port ??= await freePort()
  const args = ['dev', '-listen', `127.0.0.1:${port}`, '-admin', '127.0.0.1:0', ...(tls ? ['-tls'] : [])]
  const child = spawn(program('chappe'), args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  let log = ''
  let metrics
  await new Promise((ready, failed) => {
    for (const out of [child.stdout, child.stderr]) {
      createInterface(out).on('line', (line) => {
        if (log.length < 20_000) log += line + '\n'
        metrics ??= /^curl (\S+\/metrics)/.exec(line)?.[1]
        if (metrics) ready()
      })
    }
    child.on('exit', (code) => failed(new Error(`the relay ended (${code}): ${log}`)))
  })
  const url = `http${tls ? 's' : ''}://127.0.0.1:${port}`
  return {
    url,
    port,
    pid: child.pid,
    log: () => log,
    /** Sessions that were ever opened. */
    async sessions() {
      const text = await (await fetch(metrics)).text()
      return [...text.matchAll(/^chappe_connections_opened_total\{.*\} (\d+)/gm)].reduce((sum, [, n]) => sum + Number(n), 0)
    },
    /** Publishes over plain HTTP. */
    publish: (channel, data) => post(`${url}/v1/channels/${channel}/messages`, JSON.stringify(data)),
    stop: (signal = 'SIGKILL') =>
      new Promise((gone) => {
        if (child.exitCode !== null || child.signalCode) return gone()
        child.on('exit', gone)
        child.kill(signal)
      }),
  }
}

/** A token for a relay that was given CHAPPE_DEV_SECRET. */
export function token(secret, ...args) {
  return execFileSync(program('chappe'), ['token', ...args], { env: { ...process.env, CHAPPE_DEV_SECRET: secret }, encoding: 'utf8' }).trim()
}

/** A network that is in the way: what comes to its port goes to the relay, unless it is blocked. */
export async function startMiddlebox(relay) {
  const child = spawn(program('middlebox'), ['127.0.0.1:0', `127.0.0.1:${relay.port}`], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const [, at] = (await lines.next()).value.split(' ')
  const say = async (line) => {
    child.stdin.write(line + '\n')
    if ((await lines.next()).value !== line) throw new Error(`the middlebox does not ${line}`)
  }
  return {
    url: `https://${at}`,
    port: Number(at.split(':')[1]),
    block: (what) => say(`block ${what}`),
    pass: (what) => say(`pass ${what}`),
    stop: () => new Promise((gone) => (child.on('exit', gone), child.stdin.end())),
  }
}

async function post(url, body) {
  const { request } = await import(url.startsWith('https') ? 'node:https' : 'node:http')
  return new Promise((done, failed) => {
    const req = request(url, { method: 'POST', rejectUnauthorized: false }, (r) => {
      let text = ''
      r.setEncoding('utf8')
      r.on('data', (s) => (text += s))
      r.on('end', () => (r.statusCode === 200 ? done(JSON.parse(text)) : failed(new Error(`${r.statusCode} ${text}`))))
    })
    req.on('error', failed)
    req.end(body)
  })
}
