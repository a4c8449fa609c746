// Elements without a framework. Nothing here takes HTML: text of others stays text.

/** Make an element: h('button', {class: 'quiet', onclick: f}, 'Text', child). Properties that the element has are set, others become attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue
    if (key === 'class') element.className = value
    else if (key === 'dataset') Object.assign(element.dataset, value)
    else if (key in element && !key.startsWith('aria')) element[key] = value
    else element.setAttribute(key, value === true ? '' : value)
  }
  append(element, children)
  return element
}

/** Put children into an element; what is null or false is left out. */
export function append(element, children) {
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) element.append(child)
}

/** Replace all that an element holds. */
export function fill(element, ...children) {
  element.replaceChildren()
  append(element, children)
}

export const byId = id => document.getElementById(id)

const SVG = 'http://www.w3.org/2000/svg'

/** Make an element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  append(element, children)
  return element
}

/** Draw one of the icons that index.html holds. */
export function icon(name) {
  return svg('svg', { class: 'icon', 'aria-hidden': 'true', viewBox: '0 0 20 20' }, svg('use', { href: `#icon-${name}` }))
}

/** Wait until no call came for `pause` milliseconds. */
export function debounce(call, pause) {
  let timer
  return (...values) => {
    clearTimeout(timer)
    timer = setTimeout(() => call(...values), pause)
  }
}

/** Offer a file for download. */
export function download(url) {
  const link = h('a', { href: url, download: '' })
  document.body.append(link)
  link.click()
  link.remove()
}
