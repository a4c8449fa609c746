// The colours of a map: warm for what speaks for a finding, cold for what speaks against it. The weakest third is left out.

/** Colours from the weakest that is shown to the strongest: the legend in panels.css has the same. */
const WARM = [[168, 52, 12], [232, 120, 20], [255, 222, 110]]
const COLD = [[24, 62, 150], [40, 138, 220], [150, 220, 255]]
const SHOWN_FROM = 1 / 3

/** The scales as niivue takes them; what is weaker than the weakest is transparent. */
export const COLORMAPS = { 'thoracle-warm': colormap(WARM), 'thoracle-cold': colormap(COLD) }

function colormap([weak, middle, strong]) {
  const points = [weak, weak, middle, strong]
  const [R, G, B] = [0, 1, 2].map(channel => points.map(colour => colour[channel]))
  return { R, G, B, A: [0, 255, 255, 255], I: [0, 1, 128, 255] }
}

/** Say from which value on a map is shown, and where its colours end. */
export function heatRange([low, high]) {
  const strongest = Math.max(Math.abs(low), Math.abs(high)) || 1
  return { from: strongest * SHOWN_FROM, to: strongest }
}

/** The colour of a value; null where it is too weak to be shown. */
export function heatAt(value, { range, signed }) {
  const { from, to } = heatRange(range)
  const strength = Math.abs(value)
  if (strength < from || (value < 0 && !signed)) return null
  const scale = value < 0 ? COLD : WARM
  const along = Math.min(1, (strength - from) / (to - from)) * 2
  const step = Math.min(1, Math.floor(along))
  return scale[step].map((from_, channel) => from_ + (along - step) * (scale[step + 1][channel] - from_))
}
