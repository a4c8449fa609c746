// Cases that are like this one: by the scan, by words, by keywords, by a report, or several of these fused.

import { call } from './api.js'
import { fill, h, icon } from './dom.js'
import { refusalWords } from './notices.js'

const TOP = 12

const SEXES = { F: 'woman', M: 'man' }
const personWords = ({ sex, age }) => [SEXES[sex], age === null ? null : `${age}`].filter(Boolean).join(', ')

export class SimilarPanel {
  /** `openHit(hit)` opens the case of a hit beside the scan. */
  constructor(element, { openHit }) {
    Object.assign(this, { element, openHit, scan: null, index: null, labels: [], hits: null, error: null, busy: false, opening: null })
    this.form = this.#form()
    this.results = h('div', { class: 'hits', 'aria-live': 'polite' })
  }

  /** `index`: as `GET /status` describes it, or null where none is served. */
  setIndex(index, labels) {
    this.index = index
    fill(this.form.elements.label, h('option', { value: '' }, 'any'), ...labels.map(label => h('option', {}, label)))
    this.draw()
  }

  show(scan) {
    if (this.scan?.id !== scan?.id) Object.assign(this, { hits: null, error: null })
    this.scan = scan
    this.draw()
  }

  #form() {
    const field = (label, control) => h('label', { class: 'field' }, h('span', {}, label), control)
    return h(
      'form',
      { class: 'similar-form', onsubmit: event => this.#search(event) },
      h('label', { class: 'check' }, h('input', { type: 'checkbox', name: 'byScan', checked: true }), 'Like this scan'),
      field('In words', h('input', { name: 'text', type: 'search', placeholder: 'moderate effusion on the left' })),
      field('Keywords', h('input', { name: 'keyword', type: 'search', placeholder: 'nodule AND NOT effusion' })),
      h('details', {}, h('summary', {}, 'Like a report'), h('textarea', { name: 'report', rows: 4, 'aria-label': 'Report', placeholder: 'Paste a report' })),
      h(
        'details',
        {},
        h('summary', {}, 'Filters'),
        h(
          'div',
          { class: 'filters' },
          field('Sex', h('select', { name: 'sex' }, h('option', { value: '' }, 'any'), h('option', { value: 'F' }, 'female'), h('option', { value: 'M' }, 'male'))),
          field('Age from', h('input', { name: 'ageMin', type: 'number', min: 0, max: 120 })),
          field('to', h('input', { name: 'ageMax', type: 'number', min: 0, max: 120 })),
          field('Label', h('select', { name: 'label' })),
        ),
      ),
      h('button', { class: 'primary', type: 'submit' }, 'Search'),
    )
  }

  /** The question as `POST /search` takes it; several parts are fused. */
  #query() {
    const { elements } = this.form
    const words = name => elements[name].value.trim() || undefined
    const number = name => (elements[name].value === '' ? undefined : Number(elements[name].value))
    const filters = { sex: words('sex'), age_min: number('ageMin'), age_max: number('ageMax'), labels: words('label') ? [words('label')] : undefined }
    const scan = elements.byScan.checked ? this.scan?.id : undefined
    return { scan, text: words('text'), keyword: words('keyword'), report: words('report'), filters, top: TOP }
  }

  async #search(event) {
    event.preventDefault()
    Object.assign(this, { busy: true, error: null })
    this.draw()
    try {
      this.hits = (await call('/search', { method: 'POST', json: this.#query() })).hits
    } catch (error) {
      Object.assign(this, { error, hits: null })
    }
    this.busy = false
    this.draw()
  }

  draw() {
    if (!this.index) {
      const how = h('code', {}, 'thoracle index build COHORT --out INDEX --model MODEL')
      fill(this.element, h('div', { class: 'hint' }, h('p', {}, 'No index of cases is served.'), h('p', {}, 'Build one with ', how, ', and start ', h('code', {}, 'thoracle serve --index INDEX'), '.')))
      return
    }
    const records = this.index.records
    const head = h('p', { class: 'hint-line' }, `${records.toLocaleString('en')} ${records === 1 ? 'case' : 'cases'} in the index.`)
    fill(this.results, ...this.#resultParts())
    if (this.form.parentElement !== this.element) fill(this.element, head, this.form, this.results)
  }

  #resultParts() {
    if (this.busy) return [h('p', { class: 'working', role: 'status' }, 'Searching …')]
    if (this.error) return [refusalWords(this.error)]
    if (!this.hits) return []
    if (!this.hits.length) return [h('p', { class: 'hint' }, 'Nothing in the index matches. Fewer words or filters find more.')]
    return [h('ol', { class: 'hit-list' }, ...this.hits.map((hit, index) => this.#hit(hit, index)))]
  }

  #hit(hit, index) {
    const open = async () => {
      this.opening = hit.hit
      this.draw()
      await this.openHit(hit)
      this.opening = null
      this.draw()
    }
    const picture = hit.thumbnail ? h('img', { src: hit.thumbnail, alt: `Slices of case ${index + 1}`, loading: 'lazy' }) : null
    const button = hit.scan_available
      ? h('button', { onclick: open, disabled: this.opening === hit.hit }, icon('beside'), this.opening === hit.hit ? 'Opens …' : 'Beside')
      : h('span', { class: 'hint-line', title: 'The index holds its report and latent; its scan is not on this machine.' }, 'report only')
    return h(
      'li',
      { class: 'hit', 'data-hit': hit.hit },
      picture,
      h(
        'div',
        { class: 'hit-body' },
        h('p', { class: 'hit-head' }, h('b', {}, `Case ${index + 1}`), h('span', { class: 'muted' }, personWords(hit)), h('span', { class: 'hit-score', title: 'Score of the search: it ranks, it is no chance' }, Number(hit.score).toFixed(3)), button),
        hit.sentence ? h('blockquote', {}, hit.sentence) : null,
        h('ul', { class: 'labels' }, ...(hit.labels ?? []).map(label => h('li', {}, label))),
      ),
    )
  }
}
