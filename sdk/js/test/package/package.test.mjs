// What npm would publish, as an application gets it: installed, imported in Node,
// and compiled against, with the types of a browser and without.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

const sdk = new URL('../..', import.meta.url).pathname
const run = (cmd, args, cwd) => execFileSync(cmd, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

let app // an application that has the package
let files
before(() => {
  app = mkdtempSync(join(tmpdir(), 'chappe-app-'))
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', app], sdk))
  files = packed.files.map((f) => f.path)
  writeFileSync(join(app, 'package.json'), '{ "type": "module", "private": true }')
  run('npm', ['install', '--offline', '--no-audit', '--no-fund', join(app, packed.filename)], app)
})
after(() => rmSync(app, { recursive: true, force: true }))

test('the modules, their source maps, the types, and no more', () => {
  assert.deepEqual(files.sort(), [
    'LICENSE', 'README.md', 'dist/api.d.ts', 'dist/errors.d.ts', 'dist/index.d.ts', 'dist/index.js', 'dist/index.js.map',
    'dist/node.js', 'dist/node.js.map', 'package.json',
  ])
})

for (const name of ['@chappe/client', '@chappe/client/min']) {
  test(`${name} in Node: a program that loads it, uses it and ends`, () => {
    const program = `
      import { Chappe, ChappeError } from '${name}'
      const client = new Chappe('http://127.0.0.1:1')
      const refused = client.publish('a', 1).catch((e) => [e instanceof ChappeError, e.code])
      client.close()
      console.log(JSON.stringify([client.state.phase, await refused]))`
    writeFileSync(join(app, 'program.js'), program)
    assert.equal(run(process.execPath, ['program.js'], app), '["closed",[true,"closed"]]\n')
  })
}

test('in Node 20 it has a WebSocket, and an application’s bundler leaves that out of a page', async () => {
  const { build } = await import('esbuild')
  const bundle = async (platform) => {
    const { outputFiles } = await build({
      stdin: { contents: `export { Chappe } from '@chappe/client'`, resolveDir: app }, bundle: true, write: false, format: 'esm', platform, minify: true,
    })
    return outputFiles[0].text
  }
  assert.ok((await bundle('node')).includes('node:crypto'))
  assert.ok(!(await bundle('browser')).includes('node:crypto'))
})

const program = `
import { Chappe, ChappeError, type Channel, type Gap, type Message, type Options, type State } from '@chappe/client'

interface Ride { lat: number; lng: number }
const kept = new Map<string, string>()
const options: Options = {
  token: async () => 'x',
  transports: ['ws', 'sse'],
  share: 'ann',
  store: { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => void kept.set(k, v) },
  hashes: ['aGFzaA=='],
  log: (text: string) => console.log(text),
  signal: new AbortController().signal,
}
const client = new Chappe(['https://a', 'https://b'], options)
client.on('state', (s: State) => s.phase === 'live' && s.transport).once('gap', (g: Gap) => g.count)
const rides: Channel<Ride> = client.channel<Ride>('rides.42', { policy: 'conflate' }).rewind(5)
rides.on('message', (m: Message<Ride>) => m.data.lat.toFixed()).on('error', (e: ChappeError) => e.retryMs)
for await (const m of rides) console.log(m.data.lng, m.time.getTime())
for await (const e of rides.events()) if (e.type === 'presence') console.log(e.members[0]?.user)
const { stamp, dup } = await rides.publish({ lat: 1, lng: 2 }, { ack: 'stored', signal: AbortSignal.timeout(1000) })
const page = await rides.history({ last: 5 })
const first: Ride | undefined = page.messages[0]?.data
console.log(stamp, dup, first, (await rides.presence())[0]?.session, rides.cursor)
// @ts-expect-error: no such phase
if (client.state.phase === 'asleep') client.close()
// @ts-expect-error: not a ride
void rides.publish({ lat: 'north' })
class Mine extends Chappe {}
new Mine('https://a') instanceof Chappe
`
const strict = { target: 'ES2022', module: 'nodenext', moduleResolution: 'nodenext', strict: true, exactOptionalPropertyTypes: true, noEmit: true, skipLibCheck: false }
const settings = {
  'with the types of a browser': { lib: ['ES2022', 'DOM', 'DOM.Iterable', 'DOM.AsyncIterable'], types: [] },
  'with those of Node alone': { lib: ['ES2022'], types: ['node'] },
}
for (const [name, more] of Object.entries(settings)) {
  test(`a program is compiled against it, all types checked, ${name}`, (t) => {
    const dir = join(app, 'types')
    t.after(() => rmSync(dir, { recursive: true, force: true }))
    run('mkdir', ['-p', join(dir, 'node_modules')], app)
    symlinkSync(join(sdk, 'node_modules/@types'), join(dir, 'node_modules/@types'))
    // undici-types: of @types/node
    symlinkSync(join(sdk, 'node_modules/undici-types'), join(dir, 'node_modules/undici-types'))
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(dir, 'program.ts'), program)
    writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...strict, ...more, typeRoots: ['node_modules/@types'], preserveSymlinks: true }, files: ['program.ts'] }))
    try {
      run(process.execPath, [join(sdk, 'node_modules/typescript/bin/tsc'), '-p', dir], app)
    } catch (e) {
      assert.fail(e.stdout)
    }
  })
}
