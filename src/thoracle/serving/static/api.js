// The API, version 1. A refusal arrives as an ApiError that holds the library's own words.

const BASE = '/api/v1'

export class ApiError extends Error {
  constructor({ kind = 'Error', message = 'The server did not answer.', detail = null, hint = '' }, status = 0) {
    super(message)
    Object.assign(this, { kind, detail, hint, status })
  }
}

const UNREACHABLE = { kind: 'ServerUnreachable', message: 'The server does not answer.', hint: 'Is `thoracle serve` still running?' }

export const url = path => BASE + path
export const scanUrl = (scan, rest = '') => url(`/scans/${encodeURIComponent(scan)}${rest}`)

/** Send a request; raise ApiError for what is refused. */
export async function request(path, { method = 'GET', json, signal } = {}) {
  const options = { method, signal, headers: {}, credentials: 'same-origin' }
  if (json !== undefined) {
    options.headers['Content-Type'] = 'application/json'
    options.body = JSON.stringify(json)
  }
  let response
  try {
    response = await fetch(path.startsWith('/api') ? path : url(path), options)
  } catch (error) {
    if (error.name === 'AbortError') throw error
    throw new ApiError(UNREACHABLE)
  }
  if (!response.ok) throw refusal(await response.text(), response.status)
  return response
}

/** Read a refusal's body. */
function refusal(body, status) {
  try {
    const { error } = JSON.parse(body)
    if (error) return new ApiError(error, status)
  } catch {
    // Not the server's own form: a proxy's page, say.
  }
  const hint = status === 401 ? 'Open the address that `thoracle serve` printed, with its token.' : ''
  return new ApiError({ kind: `HTTP ${status}`, message: `The server answered with status ${status}.`, hint }, status)
}

export async function call(path, options) {
  const response = await request(path, options)
  return response.status === 204 ? null : response.json()
}

/** Read server-sent events: yields {event, data}. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n')
    rest = blocks.pop()
    for (const block of blocks) {
      const lines = block.split('\n')
      const field = name => lines.filter(line => line.startsWith(`${name}:`)).map(line => line.slice(name.length + 1).replace(/^ /, ''))
      const data = field('data').join('\n')
      if (data) yield { event: field('event')[0] ?? 'message', data: JSON.parse(data) }
    }
  }
}

const ENDED = new Set(['done', 'failed', 'cancelled'])
const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

/** Follow a job until it ends: `onState` hears each state; raises ApiError where it failed or was cancelled. */
export async function followJob(id, onState = () => {}) {
  const path = `/jobs/${encodeURIComponent(id)}`
  let job = { state: 'queued' }
  while (!ENDED.has(job.state)) {
    try {
      for await (const { data } of events(await request(`${path}/events`))) {
        job = data
        onState(job)
        if (ENDED.has(job.state)) break
      }
    } catch (error) {
      if (error instanceof ApiError && error.status) throw error
    }
    if (!ENDED.has(job.state)) {
      await pause(500) // the stream broke: ask, and listen again
      job = await call(path)
      onState(job)
    }
  }
  if (job.state === 'failed') throw new ApiError(job.error ?? { message: 'The job failed.' })
  if (job.state === 'cancelled') throw new ApiError({ kind: 'JobCancelled', message: 'It was cancelled.' })
  return job
}

export const cancelJob = id => call(`/jobs/${encodeURIComponent(id)}`, { method: 'DELETE' })

/**
 * Send files, each with its path, as one upload; `onSent(share)` hears the part that went out. Paths stay here: files go under numbers, with
 * the ending alone. Only beside a header, which names the file of its voxels, do they go along; the server does not keep them.
 */
export function upload(files, onSent, signal) {
  const form = new FormData()
  const named = files.some(({ path }) => /\.(mhd|nhdr|hdr)$/i.test(path))
  files.forEach(({ file, path }, index) => form.append('files', file, named ? path : `${String(index + 1).padStart(5, '0')}${ending(path)}`))
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest()
    sending.open('POST', url('/scans'))
    sending.upload.onprogress = event => event.lengthComputable && onSent(event.loaded / event.total)
    sending.onload = () => (sending.status < 300 ? resolve(JSON.parse(sending.responseText)) : reject(refusal(sending.responseText, sending.status)))
    sending.onerror = () => reject(new ApiError(UNREACHABLE))
    sending.onabort = () => reject(new ApiError({ kind: 'JobCancelled', message: 'The upload was stopped.' }))
    signal?.addEventListener('abort', () => sending.abort())
    sending.send(form)
  })
}

function ending(name) {
  return (/(\.(nii|nrrd|mha|mhd|raw|img|hdr|dcm|ima|zip|seq|tar|tgz))?(\.gz)?$/i.exec(name)?.[0] ?? '').toLowerCase()
}
