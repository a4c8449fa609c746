// All open scans as a table that sorts by any finding.

import { url } from './api.js'
import { byId, fill, h } from './dom.js'
import { scanName } from './scans.js'

/** Show the table: `open(id)` is called with the scan that is chosen. */
export function showTable(scans, findings, open) {
  const dialog = byId('table-dialog')
  const order = { column: null, descending: true }

  const value = (scan, column) => (column === 'scan' ? scanName(scan, scans.indexOf(scan)) : (scan.findings?.[column] ?? -1))
  const sorted = () => {
    if (order.column === null) return scans
    const direction = order.descending ? -1 : 1
    return [...scans].sort((a, b) => {
      const [first, second] = [value(a, order.column), value(b, order.column)]
      return direction * (typeof first === 'string' ? first.localeCompare(second) : first - second)
    })
  }
  const header = column => {
    const sorts = order.column === column ? (order.descending ? 'descending' : 'ascending') : 'none'
    const onclick = () => {
      Object.assign(order, { descending: order.column === column ? !order.descending : column !== 'scan', column })
      draw()
    }
    return h('th', { scope: 'col', 'aria-sort': sorts, class: column === 'scan' ? '' : 'column-finding' }, h('button', { onclick }, h('span', {}, column === 'scan' ? 'Scan' : column)))
  }
  const cell = (scan, column) => {
    const probability = scan.findings?.[column]
    if (probability === undefined) return h('td', { class: 'number' }, '–')
    const shade = h('td', { class: 'number shaded' }, probability.toFixed(2))
    shade.style.setProperty('--share', probability)
    return shade
  }
  const row = scan => {
    const name = scanName(scan, scans.indexOf(scan))
    const opens = () => {
      dialog.close()
      open(scan.id)
    }
    const first = scan.state === 'ready' ? h('button', { class: 'link', onclick: opens }, name) : `${name} (${scan.state})`
    return h('tr', {}, h('th', { scope: 'row' }, first), ...findings.map(column => cell(scan, column)))
  }
  const draw = () => {
    const close = h('button', { class: 'quiet', onclick: () => dialog.close() }, 'Close')
    const links = [
      h('a', { class: 'button', href: url('/scans.csv'), download: 'scans.csv' }, 'Table as CSV'),
      h('a', { class: 'button', href: url('/verdicts.csv'), download: 'verdicts.csv' }, 'Agreed labels as CSV'),
    ]
    const table = h('table', { class: 'scan-table' }, h('thead', {}, h('tr', {}, header('scan'), ...findings.map(header))), h('tbody', {}, ...sorted().map(row)))
    fill(
      dialog,
      h('div', { class: 'dialog-head' }, h('h2', { id: 'table-title' }, `${scans.length} ${scans.length === 1 ? 'scan' : 'scans'}`), ...links, close),
      h('div', { class: 'table-scroll', tabIndex: 0, role: 'region', 'aria-label': 'Probabilities of all scans' }, table),
    )
  }
  draw()
  if (!dialog.open) dialog.showModal()
}
