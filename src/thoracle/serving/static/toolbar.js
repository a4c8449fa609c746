// Windows, tools and keys: what all viewers share.

import { byId, fill, h, icon } from './dom.js'

export const WINDOWS = {
  lung: { label: 'Lung', level: -600, width: 1500 },
  mediastinum: { label: 'Mediastinum', level: 40, width: 400 },
  bone: { label: 'Bone', level: 400, width: 1800 },
}
const TOOLS = {
  crosshair: { label: 'Crosshair', key: 'X' },
  distance: { label: 'Distance', key: 'D' },
  circle: { label: 'Mean HU', key: 'O' },
}

/** What all viewers draw with. */
export const settings = { window: { ...WINDOWS.lung, name: 'lung' }, tool: 'crosshair', opacity: 0.55, mapShown: true, pictures: false }

/** Write a window as the address holds it: "lung", or "own:40/400". */
export const windowWords = ({ name, level, width }) => (name === 'own' ? `own:${Math.round(level)}/${Math.round(width)}` : name)

/** Read a window from the address; undefined where it is none. */
export function windowOf(words = '') {
  if (WINDOWS[words]) return { ...WINDOWS[words], name: words }
  const [, level, width] = /^own:(-?\d+)\/(\d+)$/.exec(words) ?? []
  return width ? { name: 'own', label: 'Own', level: Number(level), width: Math.max(1, Number(width)) } : undefined
}

export class Toolbar {
  /** `onChange` hears that viewers must be drawn anew. */
  constructor(onChange) {
    this.onChange = onChange
    byId('own-level').addEventListener('change', () => this.#readOwn())
    byId('own-width').addEventListener('change', () => this.#readOwn())
    this.draw()
  }

  setWindow(window) {
    settings.window = window
    this.draw()
    this.onChange()
  }

  /** Move level and width, as a drag over the slices does: the window becomes one's own. */
  shiftWindow({ level, width }) {
    const { window } = settings
    this.setWindow({ name: 'own', label: 'Own', level: window.level + level, width: Math.max(1, window.width + width) })
  }

  setTool(tool) {
    settings.tool = tool
    this.draw()
  }

  #readOwn() {
    const [level, width] = ['own-level', 'own-width'].map(id => Number(byId(id).value))
    this.setWindow({ name: 'own', label: 'Own', level, width: Math.max(1, width) })
  }

  draw() {
    const { window, tool } = settings
    const choices = [...Object.entries(WINDOWS), ['own', { label: 'Own', level: window.level, width: window.width }]]
    const press = (pressed, label, key, onclick, mark) =>
      h('button', { 'aria-pressed': String(pressed), title: `${label} (${key})`, 'aria-label': label, onclick }, mark, h('span', { class: 'button-words' }, label), h('kbd', { 'aria-hidden': 'true' }, key))
    fill(
      byId('windows'),
      ...choices.map(([name, choice], index) => press(window.name === name, choice.label, index + 1, () => this.setWindow({ ...choice, name }))),
    )
    fill(
      byId('tools'),
      ...Object.entries(TOOLS).map(([name, { label, key }]) => press(tool === name, label, key, () => this.setTool(name), icon(name))),
    )
    byId('own-window').hidden = window.name !== 'own'
    byId('own-level').value = Math.round(window.level)
    byId('own-width').value = Math.round(window.width)
    document.body.dataset.tool = tool
  }
}

const KEYS = [
  ['Slices', [
    ['Wheel, Page Up, Page Down', 'scroll; with Shift ten slices'],
    ['Arrows', 'move the crosshair in the plane last used'],
    ['A, C, S', 'axial, coronal or sagittal alone, and all three again (also a double click)'],
    ['1, 2, 3, 4', 'window: lung, mediastinum, bone, own'],
    ['Right button and drag', 'level and width'],
    ['F', 'full resolution'],
  ]],
  ['Measures', [
    ['X, D, O', 'crosshair, distance, mean HU in a circle'],
    ['Enter', 'measure at the crosshair, without a mouse'],
    ['R', 'remove all measures'],
  ]],
  ['Findings', [
    ['N, P', 'next finding, the one before'],
    ['J, L', 'jump to the strongest slice, to the strongest patch'],
    ['M', 'map on or off'],
    ['Y, U', 'agree, disagree'],
  ]],
  ['Page', [
    ['G, H, K', 'findings, similar, ask'],
    ['T', 'dark or light'],
    ['?', 'this list'],
    ['Esc', 'close, or all three planes again'],
  ]],
]

/** Show all keys. */
export function showKeys() {
  const dialog = byId('keys-dialog')
  const parts = KEYS.map(([title, rows]) =>
    h('section', {}, h('h3', {}, title), h('dl', {}, ...rows.map(([keys, text]) => h('div', {}, h('dt', {}, keys), h('dd', {}, text))))),
  )
  const close = h('button', { class: 'quiet', onclick: () => dialog.close() }, 'Close')
  fill(dialog, h('div', { class: 'dialog-head' }, h('h2', { id: 'keys-title' }, 'Keys'), close), h('div', { class: 'keys' }, ...parts))
  dialog.showModal()
}

/** Let letters act wherever no text is being written: `actions` maps a key to what it does. */
export function listenKeys(actions) {
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
    const { target } = event
    if (target.closest('textarea, select, dialog') || (target.matches('input') && !['checkbox', 'range', 'radio'].includes(target.type))) return
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key]
    if (!action) return
    event.preventDefault()
    action()
  })
}
