// The page: what is open, and what hears of what.

import { call, followJob } from './api.js'
import { readAddress, writeAddress } from './address.js'
import { AskPanel } from './ask.js'
import { Comparison } from './compare.js'
import { byId, debounce, fill, h } from './dom.js'
import { FindingsPanel } from './findings.js'
import { notify } from './notices.js'
import { ScanList, scanName } from './scans.js'
import { SimilarPanel } from './similar.js'
import { showTable } from './table.js'
import { Toolbar, listenKeys, settings, showKeys, windowOf, windowWords } from './toolbar.js'
import { toggleAlone } from './viewer/pointer.js'
import { FULL, Viewer } from './viewer/viewer.js'

const TABS = ['findings', 'similar', 'ask']
const page = { status: null, scan: null, beside: null, tab: 'findings', first: null, second: null }

const scanPath = id => `/scans/${encodeURIComponent(id)}`
const details = id => call(scanPath(id))
const findingsOf = scan => (scan.findings ? call(`${scanPath(scan.id)}/findings`) : null)

const remember = debounce(() => {
  const offset = page.beside && comparison.offset.some(Boolean) ? comparison.offset : null
  const at = page.first?.mm
  writeAddress({ scan: page.scan?.id, beside: page.beside?.id, offset, at, window: windowWords(settings.window), finding: findings.selected, tab: page.tab })
}, 150)

const redraw = () => {
  page.first?.draw()
  page.second?.draw()
  remember()
}
const toolbar = new Toolbar(redraw)
const comparison = new Comparison({ first: () => page.first, second: () => page.second, onChange: remember, onClose: () => openBeside(null) })
const findings = new FindingsPanel(byId('panel-findings'), { viewer: () => page.first, onSelect: remember, onFindings: () => refreshScans() })
const similar = new SimilarPanel(byId('panel-similar'), { openHit })
const ask = new AskPanel(byId('panel-ask'), { openFinding: name => report(openFinding(name)), openHit })
const scans = new ScanList({ open: id => report(openScan(id)), openBeside: id => report(openBeside(id)), remove: id => report(removeScan(id)), changed: refreshScans, opened })

/** Show a refusal of what was asked for. */
const report = promise => promise.catch(error => notify('', { refusal: error }))

function makeViewer(label) {
  const viewer = new Viewer(settings, {
    label,
    onMove: () => comparison.follow(viewer),
    onWindow: change => toolbar.shiftWindow(change),
    onChange: () => {
      remember()
      drawFull()
    },
  })
  byId('viewers').append(viewer.element)
  return viewer
}

async function refreshScans() {
  scans.set((await call('/scans')).scans)
}

/** Open what was just read, and let the model read it. */
async function opened(id) {
  await openScan(id)
  if (!findings.document) report(findings.detect())
}

async function openScan(id, { at, finding } = {}) {
  const scan = await details(id)
  if (page.beside?.id === id) await openBeside(null)
  page.scan = scan
  page.first ??= makeViewer('First scan')
  byId('viewers').querySelector('.welcome')?.remove()
  scans.current = id
  scans.draw()
  document.title = `${nameOf(scan)} · Thoracle`
  drawTitles()
  const showing = page.first.open(scan, at)
  findings.show(scan, await findingsOf(scan))
  similar.show(scan)
  ask.show(scan)
  remember()
  await showing
  comparison.follow(page.first)
  if (finding) await findings.select(finding, { jump: !at, toggles: false })
}

/** Open a second scan beside the first, or close it. */
async function openBeside(id) {
  scans.beside = id
  if (!id) {
    page.second?.close()
    Object.assign(page, { beside: null, second: null })
    findings.compare(null)
  } else {
    page.beside = await details(id)
    page.second ??= makeViewer('Second scan')
    const mm = page.first?.mm?.map((value, axis) => value + comparison.offset[axis])
    page.second.open(page.beside, mm)
    report(compareFindings(page.beside))
  }
  byId('viewers').classList.toggle('two', Boolean(id))
  comparison.draw()
  drawTitles()
  scans.draw()
  remember()
}

/** Show the findings of the second scan beside the first's; what was not read yet is read now. */
async function compareFindings(scan) {
  if (!scan.findings) {
    const { job } = await call(`${scanPath(scan.id)}/findings`, { method: 'POST' })
    await followJob(job)
    await refreshScans()
  }
  if (page.beside?.id === scan.id) findings.compare(await findingsOf(await details(scan.id)))
}

/** Open the case of a hit beside the scan. */
async function openHit({ hit }) {
  try {
    const { scan, job } = await call(`/hits/${encodeURIComponent(hit)}/open`, { method: 'POST' })
    await followJob(job)
    await refreshScans()
    await (page.scan ? openBeside(scan) : openScan(scan))
  } catch (error) {
    notify('', { refusal: error })
  }
}

async function removeScan(id) {
  if (page.beside?.id === id) await openBeside(null)
  await call(scanPath(id), { method: 'DELETE' })
  await refreshScans()
  if (page.scan?.id === id) {
    location.hash = ''
    location.reload()
  }
}

/** Show where a finding that an answer cites was read. */
async function openFinding(name) {
  setTab('findings')
  await findings.select(name, { toggles: false })
}

const nameOf = scan => scanName(scan, Math.max(0, scans.scans.findIndex(({ id }) => id === scan.id)))

function drawTitles() {
  const title = (viewer, scan, number) => viewer && fill(viewer.title, page.beside ? h('b', { class: `badge badge-${number}` }, String(number)) : null, h('span', {}, nameOf(scan)), h('span', { class: 'muted' }, `${scan.shape.join(' × ')} voxels of ${scan.spacing_mm.map(value => value.toFixed(2)).join(' × ')} mm`))
  title(page.first, page.scan, 1)
  title(page.second, page.beside, 2)
}

function drawFull() {
  const reduced = [page.first, page.second].filter(viewer => viewer?.isReduced)
  byId('full').disabled = !reduced.length
  const bytes = reduced.reduce((sum, viewer) => sum + 2 * viewer.scan.shape.reduce((product, size) => product * size, 1), 0)
  byId('full').textContent = bytes ? `Full resolution, ${Math.round(bytes / 1e6)} MB` : 'Full resolution'
}

const loadFull = () => [page.first, page.second].filter(viewer => viewer?.isReduced).forEach(viewer => viewer.load(FULL))

function setTab(tab, { focus = false } = {}) {
  page.tab = tab
  for (const name of TABS) {
    const chosen = name === tab
    const button = byId(`tab-${name}`)
    button.setAttribute('aria-selected', String(chosen))
    button.tabIndex = chosen ? 0 : -1
    byId(`panel-${name}`).hidden = !chosen
    if (chosen && focus) button.focus()
  }
  remember()
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme
  localStorage.setItem('thoracle-theme', theme)
}
const otherTheme = () => setTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark')

function setPictures(pictures) {
  settings.pictures = pictures
  byId('as-pictures').checked = pictures
  localStorage.setItem('thoracle-pictures', pictures ? '1' : '')
  for (const viewer of [page.first, page.second]) viewer?.reopen()
}

function listenToPage() {
  for (const tab of TABS) {
    byId(`tab-${tab}`).onclick = () => setTab(tab)
    byId(`tab-${tab}`).onkeydown = event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      if (step) setTab(TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length], { focus: true })
    }
  }
  byId('theme').onclick = otherTheme
  byId('help').onclick = showKeys
  byId('full').onclick = loadFull
  byId('clear-measures').onclick = clearMeasures
  byId('as-pictures').onchange = event => setPictures(event.target.checked)
  byId('open-table').onclick = () => showTable(scans.scans, page.status.model?.findings ?? [], id => report(openScan(id)))
  byId('copy-address').onclick = async () => {
    await navigator.clipboard.writeText(location.href)
    notify('The address is copied. Whoever has access to this server sees the same scan, slice, window and finding.')
  }
  window.addEventListener('hashchange', () => report(applyAddress()))
  listenKeys(keyActions())
}

const clearMeasures = () => [page.first, page.second].forEach(viewer => viewer?.clearMeasures())

function keyActions() {
  const window_ = name => () => toolbar.setWindow(windowOf(name) ?? { ...settings.window, name: 'own', label: 'Own' })
  const alone = plane => () => page.first?.scan && toggleAlone(page.first, plane)
  const judge = verdict => () => findings.selected && report(findings.judge(findings.selected, verdict))
  const windows = { 1: window_('lung'), 2: window_('mediastinum'), 3: window_('bone'), 4: window_('own') }
  const tools = { x: () => toolbar.setTool('crosshair'), d: () => toolbar.setTool('distance'), o: () => toolbar.setTool('circle'), r: clearMeasures }
  const planes = { a: alone('axial'), c: alone('coronal'), s: alone('sagittal'), f: loadFull }
  const reading = { n: () => findings.step(1), p: () => findings.step(-1), j: () => findings.jump(), l: () => findings.jumpToPlace(), m: () => findings.showMaps(!settings.mapShown), y: judge('agree'), u: judge('disagree') }
  const tabs = { g: () => setTab('findings'), h: () => setTab('similar'), k: () => setTab('ask') }
  return { ...windows, ...tools, ...planes, ...reading, ...tabs, t: otherTheme, '?': showKeys }
}

/** Show what the address names. */
async function applyAddress() {
  const { scan, beside, offset, at, window: words, finding, tab } = readAddress()
  const window_ = windowOf(words)
  if (window_) toolbar.setWindow(window_)
  if (TABS.includes(tab)) setTab(tab)
  if (offset) comparison.setOffset(offset)
  if (!scan) return
  if (page.scan?.id === scan) {
    if (at) page.first.moveTo(at, { byHand: true })
  } else {
    await openScan(scan, { at, finding })
  }
  if (beside && page.beside?.id !== beside) await openBeside(beside)
}

function showStatus(status) {
  page.status = status
  findings.methods = status.model?.methods ?? []
  const { model, problem, ready, version } = status
  byId('model-line').textContent = model ? [model.name, model.caution].filter(Boolean).join('. ') : ready ? 'No model is served' : 'The models are loaded …'
  byId('model-line').title = `Thoracle ${version}`
  if (problem) notify('', { refusal: problem })
  similar.setIndex(status.index, status.model?.findings ?? [])
  ask.setChat(status.chat, status.chat_hint)
}

/** Wait until the server has loaded its models; scans can be opened meanwhile. */
async function untilReady() {
  for (;;) {
    const status = await call('/status')
    showStatus(status)
    if (status.ready || status.problem) return
    await new Promise(resolve => setTimeout(resolve, 1000))
  }
}

async function start() {
  setTheme(localStorage.getItem('thoracle-theme') ?? 'dark')
  settings.pictures = Boolean(localStorage.getItem('thoracle-pictures'))
  byId('as-pictures').checked = settings.pictures
  byId('full').disabled = true
  fill(byId('viewers'), h('div', { class: 'welcome' }, h('h2', {}, 'Open a chest CT'), h('p', {}, 'Drop a DICOM folder, a zip or a NIfTI anywhere on this page. It goes to this server alone, and is removed when the server ends.')))
  listenToPage()
  findings.draw()
  const address = readAddress()
  const status = await call('/status')
  showStatus(status)
  await refreshScans()
  if (address.scan) await applyAddress()
  document.body.dataset.ready = '1'
  if (!status.ready) await untilReady()
}

window.thoracle = { page, settings } // for tests, and for the curious
report(start())
