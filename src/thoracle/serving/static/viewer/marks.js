// What is drawn over the slices: crosshair, letters of the sides, a scale, measures.

import { fill, svg } from '../dom.js'
import { distance, measureWords } from './measure.js'
import { PLANES } from './panes.js'

const GAP = 9
const SCALE_MM = 50
const NARROW = 240

const line = (x1, y1, x2, y2, name) => svg('line', { x1, y1, x2, y2, class: name })
const words = (x, y, text, name, anchor = 'middle') => svg('text', { x, y, class: name, 'text-anchor': anchor }, text)

/** Draw all marks of a scene into the SVG over the slices. */
export function drawMarks(surface, scene, measures, draft) {
  fill(surface, ...scene.panes.map(pane => paneMarks(pane, scene, draft ? [...measures, draft] : measures)))
}

function paneMarks(pane, { mm, grid, volume }, measures) {
  const { box, picture, plane } = pane
  const { letters, through } = PLANES[plane]
  const [x, y] = pane.placeOf(grid.toFractions(mm))
  const right = box.x + box.width
  const bottom = box.y + box.height
  const group = svg(
    'g',
    { class: 'pane-marks', 'data-plane': plane },
    line(picture.x, y, x - GAP, y, 'crosshair'),
    line(x + GAP, y, picture.x + picture.width, y, 'crosshair'),
    line(x, picture.y, x, y - GAP, 'crosshair'),
    line(x, y + GAP, x, picture.y + picture.height, 'crosshair'),
    words(box.x + 12, box.y + box.height / 2 + 5, letters.left, 'side side-left'),
    words(right - 12, box.y + box.height / 2 + 5, letters.right, 'side side-right'),
    words(box.x + box.width / 2, box.y + 18, letters.top, 'side side-top'),
    words(box.x + box.width / 2, bottom - 8, letters.bottom, 'side side-bottom'),
    words(box.x + 10, box.y + 18, sliceWords(pane, mm), 'plane-name', 'start'),
    scaleBar(pane),
    frame(box),
  )
  const step = grid.extents[through] / grid.sizes[through]
  for (const measure of measures) {
    if (measure.plane === plane && Math.abs(measure.a[through] - mm[through]) <= step * 0.75) group.append(measureMark(pane, measure, grid, volume))
  }
  return group
}

const frame = box => svg('rect', { x: box.x + 0.5, y: box.y + 0.5, width: box.width - 1, height: box.height - 1, class: 'pane-frame' })

/** "Axial 142 / 300": counted from the feet, from the back, from the left; shorter where there is less room. */
function sliceWords({ plane, box, grid }, mm) {
  const { through } = PLANES[plane]
  const size = grid.sizes[through]
  const index = Math.min(size - 1, Math.max(0, Math.floor(grid.toFractions(mm)[through] * size)))
  const name = `${plane[0].toUpperCase()}${plane.slice(1, box.width < NARROW ? 3 : undefined)}`
  return box.width < NARROW ? `${name} ${index + 1}` : `${name} ${index + 1} / ${size}`
}

function scaleBar({ box, picture }) {
  const length = SCALE_MM * picture.scale
  if (length > box.width * 0.6) return svg('g')
  const [x, y] = [box.x + 10, box.y + box.height - 10]
  return svg('g', { class: 'scale' }, line(x, y, x + length, y, 'scale-line'), words(x, y - 6, '5 cm', 'scale-words', 'start'))
}

function measureMark(pane, measure, grid, volume) {
  const [ax, ay] = pane.placeOf(grid.toFractions(measure.a))
  const [bx, by] = pane.placeOf(grid.toFractions(measure.b))
  const text = measureWords(measure, volume)
  if (measure.kind === 'distance') {
    const ends = [[ax, ay], [bx, by]].map(([cx, cy]) => svg('circle', { cx, cy, r: 3, class: 'measure-end' }))
    return svg('g', { class: 'measure' }, line(ax, ay, bx, by, 'measure-line'), ...ends, words(Math.max(ax, bx) + 8, (ay + by) / 2 + 4, text, 'measure-words', 'start'))
  }
  const radius = distance(measure.a, measure.b) * pane.picture.scale
  const circle = svg('circle', { cx: ax, cy: ay, r: radius, class: 'measure-line' })
  return svg('g', { class: 'measure' }, circle, words(ax, ay - radius - 7, text, 'measure-words'))
}
