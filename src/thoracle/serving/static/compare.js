// Two scans side by side, scrolled together by millimetres, with an offset of the reader's.

import { byId, fill, h } from './dom.js'

export class Comparison {
  /** `first` and `second` give the viewers, or null; `onChange` hears of another offset; `onClose` closes the second. */
  constructor({ first, second, onChange, onClose }) {
    Object.assign(this, { first, second, onChange, onClose, offset: [0, 0, 0], together: true })
  }

  /** Let the other viewer follow one that was moved by hand; apart, the difference becomes the offset. */
  follow(mover) {
    const [first, second] = [this.first(), this.second()]
    if (!first?.mm || !second?.mm) return
    if (!this.together) {
      this.setOffset(second.mm.map((value, axis) => value - first.mm[axis]))
      return
    }
    if (mover === first) second.moveTo(first.mm.map((value, axis) => value + this.offset[axis]))
    else first.moveTo(second.mm.map((value, axis) => value - this.offset[axis]))
  }

  setOffset(offset) {
    this.offset = offset.map(value => Math.round(value * 10) / 10)
    this.draw()
    this.onChange()
  }

  /** Draw the bar over the two scans, or hide it. */
  draw() {
    const bar = byId('compare-bar')
    bar.hidden = !this.second()
    if (bar.hidden) return
    const input = (label, axis) => {
      const onchange = event => {
        this.setOffset(this.offset.map((value, index) => (index === axis ? Number(event.target.value) || 0 : value)))
        this.follow(this.first())
      }
      return h('label', {}, label, h('input', { type: 'number', step: 1, value: this.offset[axis], onchange, 'aria-label': `Offset ${label}, mm` }))
    }
    const together = event => {
      this.together = event.target.checked
      this.draw()
    }
    fill(
      bar,
      h('label', { class: 'check', title: 'Apart, scroll each to the same level: the difference becomes the offset' }, h('input', { type: 'checkbox', checked: this.together, onchange: together }), 'Scroll together'),
      h('span', { class: 'offset' }, 'Offset of 2, mm', input('R', 0), input('A', 1), input('S', 2)),
      h('button', { class: 'quiet', onclick: () => this.setOffset([0, 0, 0]) }, 'Zero'),
      h('span', { class: 'spring' }),
      h('button', { class: 'quiet', onclick: this.onClose }, 'Close 2'),
    )
  }
}
