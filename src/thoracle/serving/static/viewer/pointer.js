// Mouse, touch and keys over the slices.

import { PLANES } from './panes.js'

const WINDOW_STEP = 2.5
const CIRCLE_MM = 10

/** Let a viewer answer to mouse and keys. */
export function listen(viewer) {
  const { stage } = viewer
  let drag = null

  const place = event => {
    const { left, top } = stage.getBoundingClientRect()
    return [event.clientX - left, event.clientY - top]
  }
  const paneAt = (x, y) => viewer.panes?.find(pane => pane.holds(x, y))
  const mmAt = (pane, x, y) => viewer.shownGrid.toMm(pane.fractionsAt(x, y, viewer.shownGrid.toFractions(viewer.mm)))

  stage.addEventListener('contextmenu', event => event.preventDefault())

  stage.addEventListener('pointerdown', event => {
    const [x, y] = place(event)
    const pane = paneAt(x, y)
    if (!pane) return
    stage.focus({ preventScroll: true })
    stage.setPointerCapture(event.pointerId)
    viewer.active = pane.plane
    const tool = event.button === 2 || event.shiftKey ? 'window' : viewer.settings.tool
    drag = { pane, tool, x, y }
    if (tool === 'crosshair') viewer.moveTo(mmAt(pane, x, y), { byHand: true })
    if (tool === 'distance' || tool === 'circle') {
      const mm = mmAt(pane, x, y)
      viewer.draft = { kind: tool, plane: pane.plane, a: mm, b: mm }
    }
  })

  stage.addEventListener('pointermove', event => {
    const [x, y] = place(event)
    if (!drag) {
      const pane = paneAt(x, y)
      viewer.readPointer(pane ? mmAt(pane, x, y) : null)
      return
    }
    const { pane, tool } = drag
    if (tool === 'crosshair') viewer.moveTo(mmAt(pane, x, y), { byHand: true })
    if (tool === 'window') {
      viewer.onWindow({ level: (drag.y - y) * WINDOW_STEP, width: (x - drag.x) * WINDOW_STEP })
      Object.assign(drag, { x, y })
    }
    if (viewer.draft) {
      viewer.draft.b = mmAt(pane, x, y)
      viewer.draw()
    }
  })

  stage.addEventListener('pointerup', () => {
    const { draft } = viewer
    viewer.draft = null
    drag = null
    if (draft && draft.a.some((value, axis) => Math.abs(value - draft.b[axis]) > 0.5)) viewer.addMeasure(draft)
    if (draft) viewer.draw()
  })
  stage.addEventListener('pointerleave', () => viewer.readPointer(null))

  stage.addEventListener(
    'wheel',
    event => {
      const pane = paneAt(...place(event))
      if (!pane) return
      event.preventDefault()
      viewer.active = pane.plane
      viewer.scroll(PLANES[pane.plane].through, event.deltaY > 0 ? -1 : 1)
    },
    { passive: false },
  )

  stage.addEventListener('dblclick', event => {
    const pane = paneAt(...place(event))
    if (pane) toggleAlone(viewer, pane.plane)
  })

  stage.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey || !viewer.scan) return
    const { axes, through } = PLANES[viewer.active]
    const steps = {
      ArrowLeft: () => viewer.scroll(axes[0], 1),
      ArrowRight: () => viewer.scroll(axes[0], -1),
      ArrowUp: () => viewer.scroll(axes[1], 1),
      ArrowDown: () => viewer.scroll(axes[1], -1),
      PageUp: () => viewer.scroll(through, event.shiftKey ? 10 : 1),
      PageDown: () => viewer.scroll(through, event.shiftKey ? -10 : -1),
      Enter: () => measureAtCrosshair(viewer),
      Escape: () => (viewer.alone ? toggleAlone(viewer, viewer.alone) : viewer.clearMeasures()),
    }
    const step = steps[event.key]
    if (!step) return
    event.preventDefault()
    event.stopPropagation()
    step()
  })
}

/** Show one plane alone, or all three again. */
export function toggleAlone(viewer, plane) {
  viewer.alone = viewer.alone === plane ? null : plane
  viewer.active = plane
  viewer.draw()
}

/** Measure without a mouse: a circle about the crosshair; a distance from the crosshair to where it stands at the next Enter. */
function measureAtCrosshair(viewer) {
  const { active: plane, mm, draft } = viewer
  if (viewer.settings.tool === 'circle') {
    const edge = [...mm]
    edge[PLANES[plane].axes[0]] += CIRCLE_MM
    viewer.addMeasure({ kind: 'circle', plane, a: mm, b: edge })
  } else if (viewer.settings.tool === 'distance') {
    if (draft?.plane === plane) {
      viewer.draft = null
      viewer.addMeasure({ ...draft, b: mm })
    } else {
      viewer.draft = { kind: 'distance', plane, a: mm, b: mm }
    }
  }
  viewer.draw()
}
