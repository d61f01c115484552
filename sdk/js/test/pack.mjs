// What npm would publish: the modules, their types, the minified one, and no more.
import { execFileSync } from 'node:child_process'

process.chdir(new URL('..', import.meta.url).pathname)
const [{ files, size }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error'], { encoding: 'utf8' }))
const names = files.map((f) => f.path)
const missing = ['package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.js.map', 'dist/index.d.ts', 'dist/node.js'].filter((n) => !names.includes(n))
const strange = names.filter((n) => !/^(package\.json|README\.md|LICENSE|dist\/[\w.]+\.(js|js\.map|d\.ts))$/.test(n))
console.log(`${names.length} files, ${size} bytes packed`)
if (missing.length || strange.length) {
  console.error({ missing, strange })
  process.exitCode = 1
}
