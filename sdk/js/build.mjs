// Builds dist, which is published: the client as one minified module, the same
// for Node, their source maps, and the types of the API. build has the modules
// one by one, for the unit tests.
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { minify } from 'terser'

const limit = 12_000 // bytes of the full client, as a server's plain gzip sends them
const bundled = 12_400 // the same, after another bundler has named the variables

// Members that are named nowhere but in our own sources: neither on the wire,
// nor by the platform, nor in the API. What is published has short names for
// them, for an application's bundler would keep them as they are.
const ours = `
  about accepted active adopt after again air alone ask asked asleep at auth base batch bearer began begin blame busy by bye
  cancel cancelSeek catchUp changed check concerns consumers covers cut delay deliver deposed dial dog drain drained drop early
  emit ended ends enter entered fail failures feeds finish follow follower follows frame fresh gone got grant granted guests
  handle handover hear heard heardAt hears held idle inbox keep kind known lead leave lift link live lock loop looped
  loops lose lossy lost merge mirror moved mute nextRef nudge onlive onover open ours over pacer page part patience pattern
  paused pending ping pipe place poll pos posted progress progressed queue queued read recount refresh refreshing refuse refused
  release remotes renew renewable renewal rest retry round rouse run running save say seek seen seize seqs serve sessionError
  settle show shut silent since skipped source stand standing stands start started stay step stop storage stored subbed sync
  tabs take taken target tell terms ticket ticks timers told tries unbind unsub urls waits wake wakeAll wanted wants
  watch way welcomed who window wish within`

/** One module of an entry and all that it imports, with its source map. */
async function bundle(name) {
  const { outputFiles } = await build({
    entryPoints: [`src/${name}.ts`],
    outdir: 'dist',
    write: false,
    bundle: true,
    minify: true,
    mangleProps: new RegExp(`^(${ours.trim().split(/\s+/).join('|')})$`),
    sourcemap: 'external',
    format: 'esm',
    platform: name === 'node' ? 'node' : 'browser',
    target: 'es2022',
    legalComments: 'none',
  })
  const [map, code] = outputFiles.map((f) => f.text)
  const small = await minify(code, {
    module: true,
    ecma: 2022,
    compress: { passes: 3, keep_fargs: false, hoist_funs: true, unsafe: true, unsafe_arrows: true, unsafe_methods: true, pure_getters: true, if_return: false },
    sourceMap: { content: map, includeSources: true, filename: `${name}.js`, url: `${name}.js.map` },
  })
  writeFileSync(`dist/${name}.js`, small.code)
  writeFileSync(`dist/${name}.js.map`, small.map)
  return small.code
}

/** Reports a size, and fails the build where it is over the limit. */
function weigh(what, code, limit) {
  const size = gzipSync(code.replace(/\n\/\/# sourceMappingURL.*/, ''), { level: 6 }).length
  console.log(`${what}: ${code.length} bytes, ${size} gzipped (at most ${limit})`)
  if (size > limit) process.exitCode = 1
}

process.chdir(fileURLToPath(new URL('.', import.meta.url)))
for (const dir of ['build', 'dist']) rmSync(dir, { recursive: true, force: true })
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'], { stdio: 'inherit' })
mkdirSync('dist')
for (const name of ['index', 'api', 'errors']) copyFileSync(`build/${name}.d.ts`, `dist/${name}.d.ts`)
copyFileSync('../../LICENSE', 'LICENSE')
weigh('dist/index.js', await bundle('index'), limit)
await bundle('node')

// What becomes of it in an application that is bundled by esbuild.
const { outputFiles } = await build({ stdin: { contents: `export { Chappe } from './dist/index.js'`, resolveDir: '.' }, write: false, bundle: true, minify: true, format: 'esm' })
weigh('the same, bundled by an application', outputFiles[0].text, bundled)
