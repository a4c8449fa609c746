// niivue draws the volume where there is WebGL. It only draws: places, keys and the mouse are ours (viewer.js).

import { COLORMAPS, heatRange } from './heat.js'

const PLANE_NUMBERS = { axial: 0, coronal: 1, sagittal: 2 }

/** Say whether this browser has WebGL 2. */
export function hasWebGL() {
  const context = document.createElement('canvas').getContext('webgl2')
  context?.getExtension('WEBGL_lose_context')?.loseContext()
  return Boolean(context)
}

export class NiivueRenderer {
  name = 'webgl'

  constructor(stage) {
    this.holder = document.createElement('div')
    this.holder.className = 'slices waiting'
    this.canvas = document.createElement('canvas')
    this.holder.append(this.canvas)
    stage.append(this.holder)
  }

  /** Start niivue; raises where the bundle or WebGL is not there. */
  async start() {
    const { Niivue, NVImage } = await import('../vendor/niivue.js')
    this.NVImage = NVImage
    const options = {
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      multiplanarShowRender: 0,
      crosshairWidth: 0,
      isOrientationTextVisible: false,
      backColor: [0, 0, 0, 1],
      loadingText: '',
      interactive: false,
      dragAndDropEnabled: false,
      logLevel: 'error',
      tileMargin: 0,
    }
    this.niivue = new Niivue(options)
    await this.niivue.attachToCanvas(this.canvas, false)
    for (const [name, colours] of Object.entries(COLORMAPS)) this.niivue.addColormap(name, colours)
    this.niivue.setSliceType(this.niivue.sliceTypeMultiplanar)
  }

  /** Show a volume, given as the bytes of a NIfTI file. */
  async show(buffer, { level, width }) {
    const { niivue } = this
    for (const volume of [...niivue.volumes].reverse()) niivue.removeVolume(volume)
    this.shownMap = null
    const [low, high] = [level - width / 2, level + width / 2]
    const image = await this.NVImage.loadFromUrl({ url: 'scan.nii', name: 'scan.nii', buffer, colormap: 'gray', cal_min: low, cal_max: high })
    Object.assign(image, { cal_min: low, cal_max: high })
    niivue.addVolume(image)
    this.window = `${level}/${width}`
    this.holder.classList.remove('waiting')
  }

  draw({ panes, mm, grid, level, width, map, opacity }) {
    const { niivue, canvas } = this
    const scan = niivue.volumes[0]
    if (!scan || !canvas.clientWidth) return
    const [across, down] = [canvas.clientWidth, canvas.clientHeight]
    niivue.customLayout = panes.map(({ plane, picture }) => {
      const position = [picture.x / across, picture.y / down, picture.width / across, picture.height / down]
      return { sliceType: PLANE_NUMBERS[plane], position }
    })
    niivue.scene.crosshairPos = grid.toFractions(mm)
    if (this.window !== `${level}/${width}`) {
      Object.assign(scan, { cal_min: level - width / 2, cal_max: level + width / 2 })
      this.window = `${level}/${width}`
      niivue.updateGLVolume()
    }
    this.#overlay(map, opacity)
    niivue.drawScene()
  }

  #overlay(map, opacity) {
    const { niivue } = this
    if (map?.key === this.shownMap && niivue.volumes[1]) {
      if (niivue.volumes[1].opacity !== opacity) niivue.setOpacity(1, opacity)
      return
    }
    if (niivue.volumes[1]) niivue.removeVolume(niivue.volumes[1])
    this.shownMap = map?.key ?? null
    if (map) this.adding = this.#addMap(map, opacity)
  }

  async #addMap(map, opacity) {
    const { from, to } = heatRange(map.range)
    const options = { url: 'map.nii', name: 'map.nii', buffer: map.buffer, colormap: 'thoracle-warm', cal_min: from, cal_max: to, opacity }
    if (map.signed) options.colormapNegative = 'thoracle-cold'
    const image = await this.NVImage.loadFromUrl(options)
    Object.assign(image, { cal_min: from, cal_max: to, cal_minNeg: -to, cal_maxNeg: -from })
    if (this.shownMap !== map.key) return
    this.niivue.addVolume(image)
  }

  /** Wait until all is drawn. */
  async settled() {
    await this.adding
    this.niivue.gl.finish()
  }

  close() {
    this.niivue?.gl?.getExtension('WEBGL_lose_context')?.loseContext()
    this.niivue?.cleanup()
    this.holder.remove()
  }
}
