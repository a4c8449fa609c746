// Three planes side by side, in radiological convention: the patient's right is on the left, the nose of a sagittal plane too.

/** Of each plane: the axes of RAS along the screen, which way they run, and the letters of the four edges. */
export const PLANES = {
  axial: { axes: [0, 1], through: 2, letters: { left: 'R', right: 'L', top: 'A', bottom: 'P' } },
  coronal: { axes: [0, 2], through: 1, letters: { left: 'R', right: 'L', top: 'S', bottom: 'I' } },
  sagittal: { axes: [1, 2], through: 0, letters: { left: 'A', right: 'P', top: 'S', bottom: 'I' } },
}

/** Share out the space: one plane large, two small beside it, or below it where the space is tall; one alone where `alone` names it. */
export function layOut(width, height, alone) {
  if (alone) return [{ plane: alone, x: 0, y: 0, width, height }]
  const gap = 2
  if (width >= height * 1.05) {
    const large = Math.round(width * 0.6)
    const half = Math.floor((height - gap) / 2)
    return [
      { plane: 'axial', x: 0, y: 0, width: large, height },
      { plane: 'coronal', x: large + gap, y: 0, width: width - large - gap, height: half },
      { plane: 'sagittal', x: large + gap, y: half + gap, width: width - large - gap, height: height - half - gap },
    ]
  }
  const large = Math.round(height * 0.6)
  const half = Math.floor((width - gap) / 2)
  return [
    { plane: 'axial', x: 0, y: 0, width, height: large },
    { plane: 'coronal', x: 0, y: large + gap, width: half, height: height - large - gap },
    { plane: 'sagittal', x: half + gap, y: large + gap, width: width - half - gap, height: height - large - gap },
  ]
}

/** Fit a plane of the grid into its box: where its picture lies, in millimetres true to scale. */
export function fitted(box, grid) {
  const { axes } = PLANES[box.plane]
  const [across, down] = axes.map(axis => grid.extents[axis])
  const scale = Math.min(box.width / across, box.height / down)
  const width = across * scale
  const height = down * scale
  return { x: box.x + (box.width - width) / 2, y: box.y + (box.height - height) / 2, width, height, scale }
}

/** One plane on the screen. Both axes run against RAS: to the left lies R, to the left of a sagittal plane A, and S and A at the top. */
export class Pane {
  constructor(box, grid) {
    this.plane = box.plane
    this.box = box
    this.grid = grid
    this.picture = fitted(box, grid)
  }

  holds(x, y) {
    const { box } = this
    return x >= box.x && y >= box.y && x < box.x + box.width && y < box.y + box.height
  }

  /** Fractions at a place of the screen, in the plane through `current`; kept inside the grid. */
  fractionsAt(x, y, current) {
    const { axes } = PLANES[this.plane]
    const { picture } = this
    const result = [...current]
    result[axes[0]] = inside(1 - (x - picture.x) / picture.width)
    result[axes[1]] = inside(1 - (y - picture.y) / picture.height)
    return result
  }

  /** The place of the screen of these fractions. */
  placeOf(fractions) {
    const { axes } = PLANES[this.plane]
    const { picture } = this
    return [picture.x + (1 - fractions[axes[0]]) * picture.width, picture.y + (1 - fractions[axes[1]]) * picture.height]
  }
}

const inside = fraction => Math.min(1, Math.max(0, fraction))
