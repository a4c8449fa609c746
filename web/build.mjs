// Build the page's viewer into the package: niivue without the zarr codecs that no chest CT needs, and the licences of all that is in it.
import { build } from 'esbuild'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const out = `${here}../src/thoracle/serving/static/vendor/`

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: ['niivue.entry.js'],
  outfile: `${out}niivue.js`,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  metafile: true,
  alias: { zarrita: './no-zarr.js' },
})

/** The package of a file that was bundled: "zarrita", "@lukeed/uuid". */
const packageOf = path => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]

/** A package's licence: its own file, or ours in licences/ where the package came without. */
async function licenceOf(name) {
  const folder = `${here}node_modules/${name}/`
  const file = (await readdir(folder)).find(entry => /^licen[cs]e(\.\w+)?$/i.test(entry))
  return readFile(file ? folder + file : `${here}licences/${name.replace('/', '-')}.txt`, 'utf8')
}

const names = [...new Set(Object.keys(metafile.inputs).map(packageOf).filter(Boolean))].sort()
const licences = await Promise.all(names.map(async name => {
  const { version, license } = JSON.parse(await readFile(`${here}node_modules/${name}/package.json`, 'utf8'))
  return `${name} ${version} (${license})\n\n${(await licenceOf(name)).trim()}\n`
}))
await mkdir(out, { recursive: true })
await writeFile(`${out}niivue.LICENSES.txt`, licences.join(`\n${'-'.repeat(80)}\n\n`))
