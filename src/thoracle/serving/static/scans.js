// The open scans: dropping and sending them, their list, their states.

import { cancelJob, followJob, scanUrl, upload } from './api.js'
import { byId, fill, h, icon } from './dom.js'
import { jobWords, notify, refusalWords } from './notices.js'

const NAMES = 'thoracle-names' // local names never leave this browser

/** Names of what was dropped, known to this tab of the browser alone. */
const localNames = new Map(JSON.parse(sessionStorage.getItem(NAMES) ?? '[]'))

function rememberName(scan, name) {
  localNames.set(scan, name)
  sessionStorage.setItem(NAMES, JSON.stringify([...localNames]))
}

/** What a scan is called on this page. */
export const scanName = (scan, index) => localNames.get(scan.id) ?? scan.series_label ?? `Scan ${index + 1}`

const shapeWords = ({ shape }) => (shape ? shape.join(' × ') : '')

export class ScanList {
  /** `actions`: open(id), openBeside(id), remove(id), changed(). */
  constructor(actions) {
    Object.assign(this, { actions, scans: [], sending: new Map(), jobs: new Map(), current: null, beside: null })
    this.#listenToDrops()
    byId('pick-folder').onclick = () => byId('folder-input').click()
    byId('pick-file').onclick = () => byId('file-input').click()
    for (const id of ['folder-input', 'file-input']) {
      byId(id).onchange = event => {
        this.send([...event.target.files].map(chosen))
        event.target.value = ''
      }
    }
  }

  #listenToDrops() {
    const drop = byId('drop')
    const over = shown => drop.classList.toggle('drop-over', shown)
    document.addEventListener('dragover', event => {
      event.preventDefault()
      over(true)
    })
    document.addEventListener('dragleave', event => !event.relatedTarget && over(false))
    document.addEventListener('drop', async event => {
      event.preventDefault()
      over(false)
      const items = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean)
      const files = items.length ? (await Promise.all(items.map(filesOf))).flat() : [...event.dataTransfer.files].map(chosen)
      const folder = items.length === 1 && items[0].isDirectory ? items[0].name : null
      this.send(files, folder)
    })
  }

  /** Send files, each with its path, as one scan, follow its reading, and open it. */
  async send(files, folder = null) {
    if (!files.length) return
    const name = folder ?? files[0].path.split('/')[0]
    const row = { id: Symbol(name), name, sent: 0, stop: new AbortController() }
    this.sending.set(row.id, row)
    this.draw()
    try {
      const onSent = share => {
        row.sent = share
        this.draw()
      }
      const { scan, job } = await upload(files, onSent, row.stop.signal)
      rememberName(scan, row.name)
      this.sending.delete(row.id)
      await this.follow(scan, job)
    } catch (error) {
      if (error.kind === 'JobCancelled') this.sending.delete(row.id)
      else row.error = error
      this.draw()
    }
  }

  /** Follow the job that reads a scan, and open it when it is read. */
  async follow(scan, job) {
    await this.actions.changed()
    try {
      await followJob(job, state => {
        this.jobs.set(scan, state)
        this.draw()
      })
      this.jobs.delete(scan)
      await this.actions.changed()
      await this.actions.opened(scan)
    } catch (error) {
      this.jobs.delete(scan)
      await this.actions.changed()
      if (!this.scans.some(({ id }) => id === scan)) notify('', { refusal: error })
    }
  }

  set(scans) {
    this.scans = scans
    this.draw()
  }

  draw() {
    const sending = [...this.sending.values()].map(row => this.#sendingRow(row))
    const rows = this.scans.map((scan, index) => this.#scanRow(scan, index))
    const empty = h('li', { class: 'empty' }, 'No scan is open.')
    fill(byId('scan-list'), ...sending, ...(rows.length || sending.length ? rows : [empty]))
    document.body.classList.toggle('no-scans', !this.scans.length && !sending.length)
  }

  #sendingRow(row) {
    const remove = () => {
      row.stop.abort()
      this.sending.delete(row.id)
      this.draw()
    }
    const state = row.error
      ? refusalWords(row.error)
      : [h('progress', { max: 1, value: row.sent, 'aria-label': 'Sent' }), h('p', { class: 'scan-state' }, row.sent < 1 ? `sends, ${Math.round(100 * row.sent)} %` : 'sent, is checked')]
    const button = h('button', { class: 'quiet scan-button', 'aria-label': row.error ? 'Close' : 'Stop sending', onclick: remove }, '×')
    return h('li', { class: 'scan', 'data-state': row.error ? 'refused' : 'sending' }, h('div', { class: 'scan-body' }, h('p', { class: 'scan-name' }, row.name), state), button)
  }

  #scanRow(scan, index) {
    const name = scanName(scan, index)
    const job = this.jobs.get(scan.id)
    const shown = scan.id === this.current
    const open = h(
      'button',
      { class: 'scan-open', 'aria-current': shown ? 'true' : null, disabled: scan.state !== 'ready', onclick: () => this.actions.open(scan.id) },
      thumbnail(scan),
      h('span', { class: 'scan-body' }, h('span', { class: 'scan-name' }, name), h('span', { class: 'scan-shape' }, shapeWords(scan)), topFinding(scan)),
    )
    const beside = scan.id === this.beside
    const buttons = h(
      'div',
      { class: 'scan-buttons' },
      scan.state === 'ready' && !shown && this.current
        ? h('button', { class: 'quiet', title: beside ? 'Close it beside' : 'Open beside the first', 'aria-pressed': String(beside), onclick: () => this.actions.openBeside(beside ? null : scan.id), 'aria-label': `${name} beside` }, icon('beside'))
        : null,
      job
        ? h('button', { class: 'quiet', title: 'Cancel', 'aria-label': `Cancel reading ${name}`, onclick: () => cancelJob(job.id) }, 'Cancel')
        : h('button', { class: 'quiet', title: 'Remove it from the server', 'aria-label': `Remove ${name}`, onclick: () => this.actions.remove(scan.id) }, '×'),
    )
    const state = job ? h('p', { class: 'scan-state' }, jobWords(job)) : scan.state === 'refused' ? refusalWords(scan.error ?? {}) : null
    return h('li', { class: `scan${shown ? ' scan-shown' : ''}`, 'data-state': scan.state, 'data-scan': scan.id }, open, buttons, state)
  }
}

function thumbnail({ id, state, shape }) {
  if (state !== 'ready' || !shape) return h('span', { class: 'scan-picture' })
  const address = scanUrl(id, `/slices/axial/${Math.floor(shape[2] / 2)}.png?level=-600&width=1500`)
  return h('img', { class: 'scan-picture', src: address, alt: '', loading: 'lazy' })
}

/** The likeliest finding. */
function topFinding({ findings }) {
  const [top] = Object.entries(findings ?? {}).sort((a, b) => b[1] - a[1])
  return top ? h('span', { class: 'scan-finding', title: 'The likeliest finding' }, `${top[1].toFixed(2)} ${top[0]}`) : null
}

/** A file that was chosen, and its path below the folder that was. */
const chosen = file => ({ file, path: file.webkitRelativePath || file.name })

/** All files of a dropped entry with their paths, of folders below folders too. */
async function filesOf(entry) {
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path: entry.fullPath.slice(1) }]
  const reader = entry.createReader()
  const files = []
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))
    if (!entries.length) return files
    files.push(...(await Promise.all(entries.map(filesOf))).flat())
  }
}
