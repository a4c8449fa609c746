// Short messages at the foot of the page, and the words of a refusal.

import { ApiError } from './api.js'
import { byId, h } from './dom.js'

const SECONDS = 9

/** Show a message for a while; a refusal stays until it is closed. */
export function notify(text, { refusal = null } = {}) {
  const close = h('button', { class: 'quiet', 'aria-label': 'Close', onclick: () => notice.remove() }, '×')
  const notice = h('div', { class: `notice${refusal ? ' notice-refusal' : ''}` }, refusal ? refusalWords(refusal) : h('p', {}, text), close)
  byId('notices').append(notice)
  if (!refusal) setTimeout(() => notice.remove(), SECONDS * 1000)
  return notice
}

/** Show what the library said and how to mend it. */
export function refusalWords(error) {
  const { kind, message, hint } = error instanceof ApiError || error.message ? error : new ApiError(error)
  const cure = hint && !message.includes(hint) ? h('p', { class: 'cure' }, hint) : null
  return h('div', { class: 'refusal', role: 'alert' }, h('p', { class: 'refusal-kind' }, readable(kind)), h('p', {}, message), cure)
}

/** "NotAChest" as "Not a chest". */
const readable = (kind = 'Error') => kind.replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`)

/** Say where a job stands: its stage, its place in the queue, its seconds. */
export function jobWords({ state, place, stage, seconds }) {
  if (state === 'queued') return place ? `waits, ${ordinal(place)} in the queue` : 'waits'
  const time = Number.isFinite(seconds) ? `${Math.round(seconds)} s` : ''
  return [stage ?? 'works', time].filter(Boolean).join(' · ')
}

function ordinal(number) {
  const ending = number % 100 >= 11 && number % 100 <= 13 ? 'th' : ({ 1: 'st', 2: 'nd', 3: 'rd' }[number % 10] ?? 'th')
  return `${number}${ending}`
}
