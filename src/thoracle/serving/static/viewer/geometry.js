// Where voxels are. Millimetres are RAS: x to the patient's right, y to the front, z to the head.

/** Invert an affine of four columns (rows of a 4 x 4 array; the last is 0 0 0 1). */
function invert([[a, b, c, x], [d, e, f, y], [g, h, i, z]]) {
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
  const m = [
    [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
    [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
    [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
  ]
  return m.map(row => [...row, -(row[0] * x + row[1] * y + row[2] * z)])
}

const apply = (m, [x, y, z]) => m.slice(0, 3).map(row => row[0] * x + row[1] * y + row[2] * z + row[3])

/** Find, of each axis of RAS, the axis of voxels that lies nearest to it and whether it runs backwards. */
function nearestAxes(affine) {
  let best = null
  for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
    const norms = [0, 1, 2].map(column => Math.hypot(affine[0][column], affine[1][column], affine[2][column]))
    const sum = order.reduce((total, column, row) => total + Math.abs(affine[row][column]) / norms[column], 0)
    if (!best || sum > best.sum) best = { sum, order }
  }
  return best.order.map((column, row) => ({ column, flipped: affine[row][column] < 0 }))
}

/** A grid of voxels in space. Fractions run from 0 to 1 along R, A and S, from the outer edge of the first voxel to that of the last. */
export class Grid {
  constructor(dims, affine) {
    this.dims = dims
    this.affine = affine
    this.inverse = invert(affine)
    this.axes = nearestAxes(affine)
    this.spacing = [0, 1, 2].map(column => Math.hypot(affine[0][column], affine[1][column], affine[2][column]))
  }

  /** Voxels along R, A and S. */
  get sizes() {
    return this.axes.map(({ column }) => this.dims[column])
  }

  /** Millimetres along R, A and S from edge to edge. */
  get extents() {
    return this.axes.map(({ column }) => this.dims[column] * this.spacing[column])
  }

  toMm(fractions) {
    const voxel = [0, 0, 0]
    this.axes.forEach(({ column, flipped }, axis) => {
      const along = flipped ? 1 - fractions[axis] : fractions[axis]
      voxel[column] = along * this.dims[column] - 0.5
    })
    return apply(this.affine, voxel)
  }

  toFractions(mm) {
    const voxel = this.toVoxel(mm)
    return this.axes.map(({ column, flipped }) => {
      const along = (voxel[column] + 0.5) / this.dims[column]
      return flipped ? 1 - along : along
    })
  }

  toVoxel(mm) {
    return apply(this.inverse, mm)
  }

  /** The middle of the voxel that holds these fractions. */
  snapped(fractions) {
    return fractions.map((fraction, axis) => {
      const size = this.sizes[axis]
      return (Math.min(size - 1, Math.max(0, Math.floor(fraction * size))) + 0.5) / size
    })
  }
}

/** A grid with values. */
export class Volume extends Grid {
  constructor(dims, affine, data, slope = 1, intercept = 0) {
    super(dims, affine)
    Object.assign(this, { data, slope, intercept })
  }

  /** The value of the voxel that holds a point; null outside. */
  at(mm) {
    const [i, j, k] = this.toVoxel(mm).map(Math.round)
    const [nx, ny, nz] = this.dims
    if (i < 0 || j < 0 || k < 0 || i >= nx || j >= ny || k >= nz) return null
    return this.data[i + nx * (j + ny * k)] * this.slope + this.intercept
  }

  /** The middle of the voxel with the highest value. */
  strongest() {
    const index = this.data.reduce((best, value, place) => (value > this.data[best] ? place : best), 0)
    const [nx, ny] = this.dims
    return apply(this.affine, [index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny))])
  }
}

const TYPES = { 2: Uint8Array, 4: Int16Array, 8: Int32Array, 16: Float32Array, 64: Float64Array, 256: Int8Array, 512: Uint16Array }

/** Read a NIfTI-1 file of little-endian numbers, as the server writes it. */
export function readNifti(buffer) {
  const view = new DataView(buffer)
  if (view.getInt32(0, true) !== 348) throw new Error('The volume is no NIfTI-1 file of little-endian numbers.')
  const dims = [1, 2, 3].map(axis => view.getInt16(40 + 2 * axis, true))
  const Numbers = TYPES[view.getInt16(70, true)]
  const offset = view.getFloat32(108, true)
  const affine = [0, 1, 2].map(row => [0, 1, 2, 3].map(column => view.getFloat32(280 + 16 * row + 4 * column, true)))
  const count = dims[0] * dims[1] * dims[2]
  const bytes = Numbers.BYTES_PER_ELEMENT
  const data = offset % bytes ? new Numbers(buffer.slice(offset, offset + count * bytes)) : new Numbers(buffer, offset, count)
  const slope = view.getFloat32(112, true)
  return new Volume(dims, affine, data, slope || 1, slope ? view.getFloat32(116, true) : 0)
}

/** Undo gzip where the server's answer still has it. */
export async function gunzip(buffer) {
  const head = new Uint8Array(buffer, 0, 2)
  if (head[0] !== 0x1f || head[1] !== 0x8b) return buffer
  return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}

/** Say a point in the words of the body: "R 12.0  A 3.5  S 210.0". */
export function pointWords(mm, digits = 1) {
  const letters = [['L', 'R'], ['P', 'A'], ['I', 'S']]
  return mm.map((value, axis) => `${letters[axis][value < 0 ? 0 : 1]} ${Math.abs(value).toFixed(digits)}`).join('  ')
}
