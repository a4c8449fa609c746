// Slices as pictures from the server: what is seen before the volume has come, and instead of it where there is no WebGL.

import { scanUrl } from '../api.js'
import { heatAt } from './heat.js'
import { Grid } from './geometry.js'
import { PLANES } from './panes.js'

const KEPT = 240

export class PictureRenderer {
  name = 'pictures'

  constructor(stage) {
    this.canvas = document.createElement('canvas')
    this.canvas.className = 'slices'
    stage.append(this.canvas)
    this.pictures = new Map()
    this.scene = null
  }

  show(scan) {
    this.scan = scan
    this.grid = new Grid(scan.shape, scan.affine_full_ras)
    this.pictures.clear()
  }

  /** Draw the planes through a point: what is not there yet is fetched, and drawn when it comes. */
  draw(scene) {
    this.scene = scene
    const { canvas } = this
    const ratio = window.devicePixelRatio || 1
    const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round)
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
    const context = canvas.getContext('2d')
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, width, height)
    for (const pane of scene.panes) this.#drawPane(context, pane)
  }

  #drawPane(context, pane) {
    const { picture } = pane
    const image = this.#picture(pane.plane)
    if (image) context.drawImage(image, picture.x, picture.y, picture.width, picture.height)
    if (this.scene.map && image) drawMap(context, pane, this.scene)
  }

  #picture(plane) {
    const { mm, level, width } = this.scene
    const { column } = this.grid.axes[PLANES[plane].through]
    const index = Math.min(this.grid.dims[column] - 1, Math.max(0, Math.round(this.grid.toVoxel(mm)[column])))
    const address = scanUrl(this.scan.id, `/slices/${plane}/${index}.png?level=${level}&width=${width}`)
    const image = this.pictures.get(address) ?? this.#fetch(address)
    if (image.complete && image.naturalWidth) this[plane] = image
    return this[plane]
  }

  #fetch(address) {
    const image = new Image()
    image.onload = () => this.scene && this.draw(this.scene)
    image.src = address
    this.pictures.set(address, image)
    if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value)
    return image
  }

  /** Wait until the planes through the point are drawn. */
  async settled() {
    await Promise.allSettled([...this.pictures.values()].map(image => image.decode()))
  }

  close() {
    this.canvas.remove()
    this.scene = null
  }
}

/** Lay the map over a plane, patch by patch as it is. */
function drawMap(context, pane, { map, mm, grid, opacity }) {
  const { picture, plane } = pane
  const columns = Math.ceil(picture.width / 3)
  const rows = Math.ceil(picture.height / 3)
  const pixels = new ImageData(columns, rows)
  const fractions = grid.toFractions(mm)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const x = picture.x + ((column + 0.5) / columns) * picture.width
      const y = picture.y + ((row + 0.5) / rows) * picture.height
      const value = map.volume.at(grid.toMm(pane.fractionsAt(x, y, fractions)))
      const colour = value === null ? null : heatAt(value, map)
      if (colour) pixels.data.set([...colour, Math.round(255 * opacity)], 4 * (row * columns + column))
    }
  }
  const layer = new OffscreenCanvas(columns, rows)
  layer.getContext('2d').putImageData(pixels, 0, 0)
  context.imageSmoothingEnabled = false
  context.drawImage(layer, picture.x, picture.y, picture.width, picture.height)
  context.imageSmoothingEnabled = true
}
