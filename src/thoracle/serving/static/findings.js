// What the model reads in a scan, how sure it is, where it read it, and whether the reader agrees.

import { call, followJob, request, scanUrl } from './api.js'
import { fill, h, icon } from './dom.js'
import { jobWords, refusalWords } from './notices.js'
import { settings } from './toolbar.js'
import { readNifti, gunzip } from './viewer/geometry.js'

const RANK = { present: 0, 'cannot tell': 1, absent: 2 }

const nameOf = finding => finding.name
const two = number => number.toFixed(2)

/** The limits between which the model cannot tell; null where nothing was calibrated. */
function limits({ threshold, absent_at: absentAt }) {
  if (threshold === null || absentAt === null) return null
  return { low: Math.min(threshold, absentAt), high: Math.max(threshold, absentAt) }
}

/** Say a verdict so that a person understands it: with the limit that decided it. */
export function verdictWords(finding) {
  const { probability, verdict } = finding
  const range = limits(finding)
  if (!verdict || !range) return { word: 'Not calibrated', reason: 'no limit was measured for this finding; compare scans, not numbers.' }
  if (verdict === 'present') return { word: 'Present', reason: `${two(probability)} is above ${two(range.high)}, from where this finding is called present.` }
  if (verdict === 'absent') return { word: 'Absent', reason: `${two(probability)} is below ${two(range.low)}, up to where this finding is called absent.` }
  return { word: 'Cannot tell', reason: `between ${two(range.low)} and ${two(range.high)} scans with and without it score alike.` }
}

export class FindingsPanel {
  /** `viewer`: where maps are shown; `onSelect` hears the finding that is chosen. */
  constructor(element, { viewer, onSelect, onFindings }) {
    Object.assign(this, { element, viewer, onSelect, onFindings, scan: null, document: null, other: null, selected: null, maps: new Map(), byVerdict: true })
  }

  /** Show a scan's findings, as `GET /scans/{id}/findings` gives them, or null where it was not read yet. */
  show(scan, document) {
    if (this.scan?.id !== scan.id) Object.assign(this, { selected: null, error: null, job: null })
    Object.assign(this, { scan, document, verdicts: { ...scan.verdicts } })
    this.draw()
  }

  /** Show a second scan's findings beside the first; null for none. */
  compare(document) {
    this.other = document
    this.draw()
  }

  /** Let the model read the scan. */
  async detect() {
    const { scan } = this
    this.error = null
    try {
      const { job } = await call(`/scans/${encodeURIComponent(scan.id)}/findings`, { method: 'POST' })
      await followJob(job, state => {
        this.job = state
        if (this.scan.id === scan.id) this.draw()
      })
      const document = await call(`/scans/${encodeURIComponent(scan.id)}/findings`)
      if (this.scan.id === scan.id) this.show(scan, document)
      this.onFindings(scan.id)
    } catch (error) {
      this.error = error
    }
    this.job = null
    this.draw()
  }

  get names() {
    return this.#sorted().map(nameOf)
  }

  /** Choose a finding: its map is made, laid over the scan, and its strongest slice opened. */
  async select(name, { jump = true, toggles = true } = {}) {
    this.selected = this.selected === name && toggles ? null : name
    this.onSelect(this.selected)
    this.draw()
    if (!this.selected) {
      this.viewer().showMap(null)
      return
    }
    await this.#showMap(name, jump)
  }

  /** Go to the finding after the chosen one, or before it. */
  step(by) {
    const { names } = this
    if (!names.length) return
    const index = names.indexOf(this.selected)
    this.select(names[(index + by + names.length) % names.length], { toggles: false })
  }

  jump() {
    const map = this.maps.get(this.#key(this.selected))
    if (map?.info?.slice) this.viewer().moveTo(map.info.slice.mm, { byHand: true })
  }

  /** Go to the strongest patch, which need not lie in the strongest slice. */
  jumpToPlace() {
    const map = this.maps.get(this.#key(this.selected))
    if (map?.volume) this.viewer().moveTo(map.volume.strongest(), { byHand: true })
  }

  #key(name) {
    return `${this.scan?.id} ${name} ${this.method ?? ''}`
  }

  async #showMap(name, jump) {
    const key = this.#key(name)
    const map = this.maps.get(key) ?? { key }
    this.maps.set(key, map)
    const path = `/scans/${encodeURIComponent(this.scan.id)}/maps`
    try {
      if (!map.info) {
        map.error = null
        const { job } = await call(path, { method: 'POST', json: this.method ? { finding: name, method: this.method } : { finding: name } })
        await followJob(job, state => {
          map.job = state
          this.draw()
        })
        const place = `${path}/${encodeURIComponent(name)}`
        map.buffer = await gunzip(await (await request(`${place}.nii.gz${this.#methodQuery}`)).arrayBuffer())
        map.volume = readNifti(map.buffer)
        map.info = await call(`${place}${this.#methodQuery}`)
        Object.assign(map, { range: map.info.range, signed: map.info.signed })
      }
      map.job = null
      if (this.selected === name && this.#key(name) === key) {
        this.viewer().showMap(map)
        if (jump) this.jump()
      }
    } catch (error) {
      Object.assign(map, { error, job: null })
    }
    this.draw()
  }

  get #methodQuery() {
    return this.method ? `?method=${encodeURIComponent(this.method)}` : ''
  }

  /** Say that the reader agrees, or not; the same again takes it back. */
  async judge(name, verdict) {
    const next = this.verdicts[name] === verdict ? null : verdict
    await call(`/scans/${encodeURIComponent(this.scan.id)}/verdicts/${encodeURIComponent(name)}`, { method: 'PUT', json: { verdict: next } })
    this.verdicts[name] = next
    this.draw()
  }

  #sorted() {
    const rank = finding => (this.byVerdict ? (RANK[finding.verdict] ?? 3) : 0)
    return [...(this.document?.findings ?? [])].sort((a, b) => rank(a) - rank(b) || b.probability - a.probability)
  }

  draw() {
    const { scan, document } = this
    if (!scan) {
      fill(this.element, h('p', { class: 'hint' }, 'Open a scan: what the model reads in it stands here.'))
      return
    }
    const top = this.element.scrollTop
    const parts = document ? this.#documentParts() : this.#emptyParts()
    fill(this.element, this.#warnings(), ...parts)
    this.element.scrollTop = top
  }

  #emptyParts() {
    if (this.error) return [refusalWords(this.error), h('button', { onclick: () => this.detect() }, 'Try again')]
    if (this.job) return [h('p', { class: 'working', role: 'status' }, `Reading findings: ${jobWords(this.job)}`)]
    return [h('p', { class: 'hint' }, 'The model has not read this scan.'), h('button', { class: 'primary', onclick: () => this.detect() }, 'Read findings')]
  }

  #documentParts() {
    const { document } = this
    const findings = this.#sorted()
    const others = new Map((this.other?.findings ?? []).map(finding => [nameOf(finding), finding]))
    const scale = h(
      'div',
      { class: 'findings-head' },
      this.other ? h('p', { class: 'columns' }, h('b', { class: 'badge' }, '1'), ' this scan ', h('b', { class: 'badge badge-2' }, '2'), ' the one beside') : h('p', {}, calibrationWords(document)),
      h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: this.byVerdict, onchange: event => this.#sortBy(event.target.checked) }), 'by verdict'),
    )
    const list = h('ol', { class: 'findings' }, ...findings.map(finding => this.#row(finding, others.get(nameOf(finding)))))
    return [scale, list, this.#downloads(), provenance(document, this.scan)]
  }

  #sortBy(byVerdict) {
    this.byVerdict = byVerdict
    this.draw()
  }

  #warnings() {
    const warnings = [...new Set([...(this.scan.warnings ?? []), ...(this.document?.warnings ?? [])])]
    if (!warnings.length) return null
    return h('div', { class: 'warnings', role: 'note' }, h('h3', {}, warnings.length === 1 ? 'One warning' : `${warnings.length} warnings`), h('ul', {}, ...warnings.map(text => h('li', {}, text))))
  }

  #row(finding, other) {
    const name = nameOf(finding)
    const open = this.selected === name
    const { word, reason } = verdictWords(finding)
    const head = h(
      'button',
      { class: 'finding-head', 'aria-expanded': String(open), onclick: () => this.select(name) },
      h('span', { class: 'finding-name' }, name),
      h('span', { class: 'finding-number' }, two(finding.probability)),
      bar(finding),
      h('span', { class: 'finding-verdict' }, word),
      other ? [bar(other, 'bar-other'), h('span', { class: 'finding-second' }, two(other.probability), ` ${verdictWords(other).word}`)] : null,
    )
    const judge = (verdict, label) =>
      h('button', { class: `judge judge-${verdict}`, 'aria-pressed': String(this.verdicts[name] === verdict), 'aria-label': `${label}: ${name}`, title: label, onclick: () => this.judge(name, verdict) }, icon(verdict))
    return h(
      'li',
      { class: `finding${open ? ' finding-open' : ''}`, 'data-verdict': finding.verdict ?? 'none', 'data-finding': name },
      head,
      h('div', { class: 'judges' }, judge('agree', 'Agree'), judge('disagree', 'Disagree')),
      open ? h('div', { class: 'finding-body' }, h('p', { class: 'reason' }, `${word}: ${reason}`), this.#mapPart(name)) : null,
    )
  }

  #mapPart(name) {
    const map = this.maps.get(this.#key(name)) ?? {}
    if (map.error) return refusalWords(map.error)
    if (!map.info) return h('p', { class: 'working', role: 'status' }, `Looking where it was read: ${map.job ? jobWords(map.job) : 'waits'}`)
    const { info } = map
    const opacity = h('input', { type: 'range', min: 0, max: 1, step: 0.05, value: settings.opacity, oninput: event => this.#setOpacity(Number(event.target.value)) })
    const shown = h('input', { type: 'checkbox', checked: settings.mapShown, onchange: event => this.showMaps(event.target.checked) })
    return h(
      'div',
      { class: 'map-part' },
      h('div', { class: 'place-row' }, h('button', { disabled: !info.slice, onclick: () => this.jump(), title: 'Jump to the strongest slice (J)' }, 'Slice'), h('p', { class: 'rate' }, sentence(info.sentence))),
      h('div', { class: 'place-row' }, h('button', { onclick: () => this.jumpToPlace(), title: 'Jump to the strongest patch (L)' }, 'Patch'), h('p', { class: 'place' }, sentence(info.where))),
      h('div', { class: 'map-tools' }, h('label', { class: 'check' }, shown, 'Map'), h('label', { class: 'opacity' }, 'Opacity', opacity)),
      h('div', { class: 'legend' }, info.signed ? h('span', { class: 'legend-cold' }) : null, info.signed ? 'against' : null, h('span', { class: 'legend-warm' }), info.signed ? 'for the finding' : 'weak to strong'),
      h('p', { class: 'method' }, `Method ${info.method}. `, this.#methodChoice(), h('a', { href: scanUrl(this.scan.id, `/maps/${encodeURIComponent(name)}.nii.gz${this.#methodQuery}`), download: '' }, 'Map as NIfTI')),
    )
  }

  #methodChoice() {
    const methods = this.methods ?? []
    if (methods.length < 2) return null
    const choose = event => {
      this.method = event.target.value
      this.#showMap(this.selected, true)
    }
    const options = methods.map(method => h('option', { value: method, selected: method === this.method }, method))
    return h('label', {}, 'Another: ', h('select', { onchange: choose }, ...options), ' ')
  }

  #setOpacity(opacity) {
    settings.opacity = opacity
    this.viewer().draw()
  }

  showMaps(shown) {
    settings.mapShown = shown
    this.viewer().draw()
    this.draw()
  }

  #downloads() {
    const link = (path, text, attributes = { download: '' }) => h('a', { class: 'button', href: scanUrl(this.scan.id, path), ...attributes }, text)
    return h('div', { class: 'downloads' }, link('/findings.json', 'Findings as JSON'), link('/report.html', 'Report to print', { target: '_blank', rel: 'noopener' }))
  }
}

/** A bar with the limits of the verdict on it. */
function bar(finding, kind = '') {
  const range = limits(finding)
  const filled = h('span', { class: 'bar-fill' })
  filled.style.width = `${100 * finding.probability}%`
  const zone = range && h('span', { class: 'bar-unsure', title: `Cannot tell between ${two(range.low)} and ${two(range.high)}` })
  if (zone) Object.assign(zone.style, { left: `${100 * range.low}%`, width: `${100 * (range.high - range.low)}%` })
  return h('span', { class: `bar ${kind}`, 'aria-hidden': 'true' }, filled, zone)
}

function calibrationWords({ calibration, findings }) {
  const coverage = calibration?.coverage
  if (findings.every(({ verdict }) => !verdict)) return 'Not calibrated: these numbers rank scans; they are not chances.'
  return `Calibrated${coverage ? `: a verdict is not the wrong one in ${Math.round(100 * coverage)} of 100 scans like those it was fitted on` : ''}.`
}

const sentence = (text = '') => text && `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`

function provenance(document, scan) {
  const { provenance: source, model = {} } = document
  const facts = [
    ['Model', [model.kind, model.precision, model.sha256?.slice(0, 12)].filter(Boolean).join(' · ')],
    ['Format', source?.format],
    ['Hounsfield units', source?.hounsfield && `${source.hounsfield.source}; ${source.hounsfield.evidence}`],
    ['Geometry', source?.geometry],
    ['Voxels', scan.shape && `${scan.shape.join(' × ')} of ${scan.spacing_mm?.map(number => number.toFixed(2)).join(' × ')} mm`],
    ['Notes', source?.notes?.join(' ')],
  ].filter(([, value]) => value)
  const rows = facts.map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, typeof value === 'string' ? value : JSON.stringify(value))))
  return h('details', { class: 'provenance' }, h('summary', {}, 'Where the numbers come from'), h('dl', {}, ...rows))
}
