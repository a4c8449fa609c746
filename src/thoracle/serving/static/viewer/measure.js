// What can be measured in a plane: a distance, and the mean and deviation of HU in a circle.

import { PLANES } from './panes.js'

export const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2])

/** Mean, deviation and number of voxels of the plane through `centre` whose middles lie within `radius` millimetres; null where there is none. */
export function circleStatistics(volume, plane, centre, radius) {
  const fractions = volume.snapped(volume.toFractions(centre))
  const middle = volume.toMm(fractions)
  const through = PLANES[plane].through
  const inPlane = centre.map((value, axis) => (axis === through ? middle[axis] : value))
  const [u, v] = PLANES[plane].axes
  const steps = [u, v].map(axis => Math.ceil((radius / volume.extents[axis]) * volume.sizes[axis]) + 1)
  let [count, sum, squares] = [0, 0, 0]
  for (let i = -steps[0]; i <= steps[0]; i++) {
    for (let j = -steps[1]; j <= steps[1]; j++) {
      const place = [...fractions]
      place[u] += i / volume.sizes[u]
      place[v] += j / volume.sizes[v]
      const mm = volume.toMm(place)
      const value = distance(mm, inPlane) <= radius ? volume.at(mm) : null
      if (value === null) continue
      count += 1
      sum += value
      squares += value * value
    }
  }
  if (!count) return null
  const mean = sum / count
  return { count, mean, deviation: Math.sqrt(Math.max(0, squares / count - mean * mean)) }
}

/** Say what a measure comes to. */
export function measureWords({ kind, plane, a, b }, volume) {
  const length = distance(a, b)
  if (kind === 'distance') return `${length.toFixed(1)} mm`
  const statistics = volume && circleStatistics(volume, plane, a, length)
  const area = `Ø ${(2 * length).toFixed(1)} mm`
  if (!statistics) return area
  return `${Math.round(statistics.mean)} ± ${Math.round(statistics.deviation)} HU · ${area} · ${statistics.count} voxels`
}
