// Builds dist: modules and types by tsc, one minified module by esbuild and terser.
import { execFileSync } from 'node:child_process'
import { copyFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { minify } from 'terser'

const limit = 12 * 1024 // bytes of the full client, gzipped

// Members that are named nowhere but in our own sources: neither on the wire,
// nor by the platform, nor in the API. The tests run on what becomes of them.
const ours = `
  about accepted active adopt after again air ask asked asleep auth base bearer began begin blame bye cancelSeek catchUp changed
  check concerns consumers covers cut delay deliver deposed dial drained drop emit ended ends fail failures feeds finish follow
  follower fresh gone got grant granted guests handle handlers handover hear heard heardAt held inbox lead leave lift link live
  lock looped lost merge mirror moved mute nextRef nudge onlive over pacer part paused pending pipe place pos progressed queue
  queued refreshing refuse refused renew renewable renewal round rouse running seek seen seqs serve sessionError settle shut
  silent since skipped source stand standing started stay stop sync tabs take taken target tell terms ticks timers told unwatch
  urls waits wake wakeAll wanted wants watch welcomed wish within`

process.chdir(fileURLToPath(new URL('.', import.meta.url)))
rmSync('dist', { recursive: true, force: true })
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'], { stdio: 'inherit' })
const bundle = await build({
  entryPoints: ['src/index.ts'],
  write: false,
  bundle: true,
  minify: true,
  mangleProps: new RegExp(`^(${ours.trim().split(/\s+/).join('|')})$`),
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
})
const { code } = await minify(bundle.outputFiles[0].text, { module: true, ecma: 2022, compress: { passes: 3, hoist_funs: true } })
writeFileSync('dist/chappe.min.js', code)
copyFileSync('../../LICENSE', 'LICENSE')

const size = gzipSync(code, { level: 9 }).length
console.log(`dist/chappe.min.js: ${code.length} bytes, ${size} gzipped (at most ${limit})`)
if (size > limit) process.exitCode = 1
