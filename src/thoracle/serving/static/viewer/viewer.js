// One scan on the screen: what is drawn where, and through which point. Pictures of the server first, niivue when the volume has come.

import { ApiError, request, scanUrl } from '../api.js'
import { fill, h, svg } from '../dom.js'
import { Grid, gunzip, pointWords, readNifti } from './geometry.js'
import { drawMarks } from './marks.js'
import { measureWords } from './measure.js'
import { NiivueRenderer, hasWebGL } from './niivue_renderer.js'
import { Pane, layOut } from './panes.js'
import { PictureRenderer } from './pictures.js'
import { listen } from './pointer.js'

/** Voxels an axis of a preview, and of any scan. */
export const PREVIEW = 256
export const FULL = 4096
const product = sizes => sizes.reduce((result, size) => result * size, 1)

export class Viewer {
  /** `settings`: window, tool, opacity and whether pictures are wanted, shared by all viewers; `onMove` hears where the crosshair went by hand. */
  constructor(settings, { onMove = () => {}, onWindow = () => {}, onChange = () => {}, label = 'Scan' } = {}) {
    Object.assign(this, { settings, onMove, onWindow, onChange, measures: [], draft: null, map: null, alone: null, active: 'axial' })
    this.marks = svg('svg', { class: 'marks', 'aria-hidden': 'true' })
    this.stage = h('div', { class: 'stage', tabIndex: 0, role: 'application', 'aria-label': `${label}: slices`, 'aria-describedby': 'stage-keys' }, this.marks)
    this.point = h('output', { class: 'point', 'aria-label': 'Crosshair' })
    this.pointer = h('span', { class: 'pointer' })
    this.note = h('span', { class: 'note', role: 'status' })
    this.title = h('div', { class: 'viewer-title' })
    this.element = h('section', { class: 'viewer', 'aria-label': label }, this.title, this.stage, h('div', { class: 'readout' }, this.point, this.pointer, this.note))
    listen(this)
    this.observer = new ResizeObserver(() => this.draw())
    this.observer.observe(this.stage)
  }

  /** Show a scan, as `GET /scans/{id}` describes it, at a point in millimetres or in its middle. */
  async open(scan, mm) {
    this.loading?.abort()
    this.loading = new AbortController()
    Object.assign(this, { scan, volume: null, map: null, measures: [], draft: null, grid: new Grid(scan.shape, scan.affine_full_ras) })
    this.mm = mm ?? this.grid.toMm(this.grid.snapped([0.5, 0.5, 0.5]))
    this.pictures ??= new PictureRenderer(this.stage)
    this.stage.append(this.marks)
    this.pictures.show(scan)
    this.renderer = this.pictures
    this.niivue?.holder.classList.add('waiting')
    this.draw()
    await this.load(PREVIEW)
  }

  /** Show the same again, map and measures too, by what the settings ask for. */
  async reopen() {
    const { scan, mm, map, measures } = this
    const showing = this.open(scan, mm)
    Object.assign(this, { map, measures })
    await showing
  }

  /** Fetch the volume: at most `max` voxels an axis. */
  async load(max) {
    const { signal } = this.loading
    try {
      this.say(max === FULL ? 'Loading full resolution …' : 'Loading the preview …')
      const response = await request(scanUrl(this.scan.id, `/volume.nii.gz?max=${max}`), { signal })
      const buffer = await gunzip(await response.arrayBuffer())
      if (signal.aborted) return
      this.volume = readNifti(buffer)
      if (!this.settings.pictures) await this.#startNiivue(buffer)
      if (signal.aborted) return
      this.say([this.isReduced ? `Preview of ${this.volume.dims.join(' × ')} voxels` : '', this.why].filter(Boolean).join('. '))
    } catch (error) {
      if (error.name === 'AbortError') return
      this.say(error instanceof ApiError ? `${error.message} ${error.hint}` : `The volume could not be shown: ${error.message}`)
    }
    this.draw()
    this.onChange(this)
  }

  async #startNiivue(buffer) {
    if (!hasWebGL()) {
      this.why = 'No WebGL: slices come as pictures'
      return
    }
    try {
      if (!this.niivue) {
        const niivue = new NiivueRenderer(this.stage)
        this.stage.append(this.marks)
        await niivue.start()
        this.niivue = niivue
      }
      await this.niivue.show(buffer, this.settings.window)
      this.renderer = this.niivue
    } catch (error) {
      this.why = 'The viewer is not built (make viewer): slices come as pictures'
      console.warn(error)
      this.stage.querySelector('.slices.waiting')?.remove()
    }
  }

  /** Whether the volume at hand has fewer voxels than the scan. */
  get isReduced() {
    return Boolean(this.volume) && product(this.volume.dims) < product(this.scan.shape)
  }

  say(text) {
    this.note.textContent = text
  }

  /** Go to a point in millimetres. `byHand` is told to others, who may follow. */
  moveTo(mm, { byHand = false } = {}) {
    if (!this.scan) return
    this.mm = this.shownGrid.toMm(this.shownGrid.snapped(this.shownGrid.toFractions(mm)))
    this.draw()
    this.onChange(this)
    if (byHand) this.onMove(this.mm)
  }

  get shownGrid() {
    return this.volume ?? this.grid
  }

  /** Scroll a plane by slices: positive is towards the head, the front, the right. */
  scroll(axis, slices) {
    const grid = this.shownGrid
    const fractions = grid.toFractions(this.mm)
    fractions[axis] += slices / grid.sizes[axis]
    this.moveTo(grid.toMm(fractions), { byHand: true })
  }

  /** Lay a map over the scan, or none: {key, buffer, volume, range, signed}. */
  showMap(map) {
    this.map = map
    this.draw()
  }

  addMeasure(measure) {
    this.measures.push(measure)
    this.say(measureWords(measure, this.volume) + (measure.kind === 'circle' && this.isReduced ? ', measured in the preview' : ''))
  }

  clearMeasures() {
    Object.assign(this, { measures: [], draft: null })
    this.draw()
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.stage
    if (!this.scan || !width || !height) return
    const { window, opacity } = this.settings
    const grid = this.shownGrid
    this.panes = layOut(width, height, this.alone).map(box => new Pane(box, grid))
    const map = this.settings.mapShown ? this.map : null
    this.scene = { panes: this.panes, mm: this.mm, grid, volume: this.volume, level: window.level, width: window.width, map, opacity }
    this.marks.setAttribute('viewBox', `0 0 ${width} ${height}`)
    this.renderer.draw(this.scene)
    drawMarks(this.marks, this.scene, this.measures, this.draft)
    this.stage.dataset.renderer = this.renderer.name
    this.#readOut()
  }

  #readOut() {
    const value = this.volume?.at(this.mm)
    const unit = this.isReduced ? 'HU in the preview' : 'HU'
    const hu = value === undefined ? '' : value === null ? 'outside' : `${Math.round(value)} ${unit}`
    fill(this.point, h('b', { class: 'hu' }, hu), h('span', { class: 'mm' }, `${pointWords(this.mm)} mm`))
  }

  /** Say what lies under the mouse. */
  readPointer(mm) {
    const value = mm && this.volume?.at(mm)
    this.pointer.textContent = mm && value !== null && value !== undefined ? `pointer ${Math.round(value)} HU  ${pointWords(mm, 0)} mm` : ''
  }

  /** Wait until what is asked for is drawn. */
  async settled() {
    await this.renderer.settled()
  }

  close() {
    this.loading?.abort()
    this.observer.disconnect()
    this.pictures?.close()
    this.niivue?.close()
    this.element.remove()
  }
}
