// The address of the page holds what is seen, so that a colleague with access sees the same.

const KEYS = ['scan', 'beside', 'offset', 'at', 'window', 'finding', 'tab']

/** Read the address: {scan, beside, offset, at: [x, y, z], window, finding, tab}, what is absent left out. */
export function readAddress() {
  const fields = new URLSearchParams(location.hash.slice(1))
  const state = Object.fromEntries(KEYS.filter(key => fields.get(key)).map(key => [key, fields.get(key)]))
  for (const key of ['at', 'offset']) {
    const numbers = state[key]?.split(',').map(Number)
    if (numbers?.length === 3 && numbers.every(Number.isFinite)) state[key] = numbers
    else delete state[key]
  }
  return state
}

/** Write what is seen into the address, without a new entry of the history. */
export function writeAddress(state) {
  const fields = new URLSearchParams()
  for (const key of KEYS) {
    const value = state[key]
    if (value === undefined || value === null || value === '') continue
    fields.set(key, Array.isArray(value) ? value.map(number => number.toFixed(1)).join(',') : value)
  }
  history.replaceState(null, '', `#${fields}`)
}
