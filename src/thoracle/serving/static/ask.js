// Questions about the scan, answered word by word, with citations that lead to the slice or the case.

import { events, request } from './api.js'
import { fill, h } from './dom.js'
import { jobWords, refusalWords } from './notices.js'

export class AskPanel {
  /** `openFinding(name)` shows where a cited finding was read, `openHit(hit)` a cited case. */
  constructor(element, actions) {
    Object.assign(this, { element, actions, chat: null, hint: '', scan: null, turns: [], stopping: null })
    this.log = h('ol', { class: 'turns', 'aria-live': 'polite', 'aria-label': 'Conversation' })
    this.question = h('textarea', { rows: 3, 'aria-label': 'Question', placeholder: 'Is there a pleural effusion?', onkeydown: event => this.#onKey(event) })
    this.task = h('select', { 'aria-label': 'Task' })
    this.grounded = h('input', { type: 'checkbox' })
    this.button = h('button', { class: 'primary', type: 'submit' }, 'Ask')
    const options = h('div', { class: 'ask-options' }, h('label', {}, 'Task ', this.task), this.groundedLabel(), this.button)
    this.form = h('form', { class: 'ask-form', onsubmit: event => this.#onSubmit(event) }, this.question, options)
  }

  groundedLabel() {
    return h('label', { class: 'check', title: 'Only what findings, maps and similar reports support is said, each with its source' }, this.grounded, 'With sources')
  }

  /** `chat`: as `GET /status` describes it; null with a hint where none is served. */
  setChat(chat, hint) {
    Object.assign(this, { chat, hint })
    fill(this.task, ...(chat?.tasks ?? []).map(task => h('option', { value: task }, task.replaceAll('_', ' '))))
    this.grounded.checked = chat?.grounded === 'always'
    this.grounded.disabled = chat?.grounded !== 'optional'
    this.draw()
  }

  show(scan) {
    if (this.scan?.id !== scan?.id) this.stopping?.abort()
    this.scan = scan
    this.turns = (scan?.conversation ?? []).map(turn => ({ citations: [], ...turn }))
    this.draw()
  }

  #onKey(event) {
    if (event.key !== 'Enter' || event.shiftKey) return
    event.preventDefault()
    this.form.requestSubmit()
  }

  #onSubmit(event) {
    event.preventDefault()
    if (this.stopping) this.stopping.abort()
    else if (this.question.value.trim()) this.ask(this.question.value.trim())
  }

  /** Ask, and write the answer as it comes; stopping keeps what was said. */
  async ask(question) {
    const turn = { question, answer: '', citations: [], running: true }
    this.turns.push(turn)
    this.question.value = ''
    this.stopping = new AbortController()
    this.draw()
    try {
      const json = { scan: this.scan.id, question, task: this.task.value || undefined, grounded: this.grounded.checked || undefined }
      for await (const { event, data } of events(await request('/chat', { method: 'POST', json, signal: this.stopping.signal }))) {
        if (event === 'stage') turn.stage = jobWords({ state: data.place ? 'queued' : 'running', ...data })
        if (event === 'text') turn.answer += data.delta
        if (event === 'citation') turn.citations.push(data)
        if (event === 'error') turn.error = data
        this.#drawTurn(turn)
      }
    } catch (error) {
      if (error.name === 'AbortError') turn.stopped = true
      else turn.error = error
    }
    turn.running = false
    this.stopping = null
    this.draw()
  }

  draw() {
    if (!this.chat) {
      fill(this.element, h('div', { class: 'hint' }, h('p', {}, 'No chat model is served.'), h('p', {}, this.hint || 'Start thoracle serve with a chat model.')))
      return
    }
    fill(this.log, ...this.turns.map(turn => this.#turn(turn)))
    if (!this.turns.length) fill(this.log, h('li', { class: 'hint' }, this.scan ? 'Ask about this scan. Answers can be wrong: look at what they cite.' : 'Open a scan to ask about it.'))
    this.button.textContent = this.stopping ? 'Stop' : 'Ask'
    this.button.disabled = !this.scan
    if (this.form.parentElement !== this.element) fill(this.element, h('p', { class: 'hint-line chat-name' }, [this.chat.name, this.chat.caution].filter(Boolean).join('. ')), this.log, this.form)
    this.log.scrollTop = this.log.scrollHeight
  }

  #drawTurn(turn) {
    const index = this.turns.indexOf(turn)
    this.log.children[index]?.replaceWith(this.#turn(turn))
    this.log.scrollTop = this.log.scrollHeight
  }

  #turn(turn) {
    const { question, answer, citations, running, stopped, error } = turn
    const state = running && !answer ? h('p', { class: 'working' }, turn.stage || 'waits') : null
    return h(
      'li',
      { class: 'turn' },
      h('p', { class: 'question' }, question),
      state,
      answer ? h('div', { class: `answer${running ? ' answer-running' : ''}` }, ...this.#answerParts(answer, citations)) : null,
      stopped ? h('p', { class: 'hint-line' }, 'Stopped.') : null,
      error ? refusalWords(error) : null,
      citations.length ? h('ul', { class: 'sources', 'aria-label': 'Sources' }, ...citations.map(citation => h('li', {}, this.#source(citation)))) : null,
    )
  }

  /** The answer with its marks [1] as buttons. */
  #answerParts(answer, citations) {
    return answer.split(/(\[[^\]\s]{1,12}\])/).map(part => {
      const label = /^\[([^\]\s]+)\]$/.exec(part)?.[1]
      const citation = citations.find(({ id }) => id === label)
      return citation ? h('button', { class: 'citation', title: citation.text, onclick: () => this.#follow(citation) }, label) : part
    })
  }

  #source(citation) {
    return h('button', { class: 'source', onclick: () => this.#follow(citation) }, h('b', {}, citation.id), citation.text)
  }

  #follow({ kind, finding, hit }) {
    if (kind === 'finding') this.actions.openFinding(finding)
    else this.actions.openHit({ hit })
  }
}

