// Making elements. Text always becomes a text node: nothing from a file, a report or a person is ever markup.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === 'style') Object.assign(node.style, value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(3).filter((child) => child != null && child !== false));
  return node;
}

export const button = (text, click, attributes = {}) =>
  el('button', { type: 'button', class: 'b', on: { click }, ...attributes }, text);

export const hidden = (text) => el('span', { class: 'vh' }, text);

export const colour = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

export const swatch = (rgb) =>
  el('span', { class: 'swatch', style: { background: colour(rgb) }, 'aria-hidden': 'true' });

// What a verdict or a status looks like: a shape beside the colour, and a word for screen readers.
const MARKS = {
  supported: ['✓', 'supported'],
  neutral: ['·', 'no claim'],
  limited: ['◐', 'needs a limit'],
  unsupported: ['?', 'not supported'],
  contradicted: ['✕', 'contradicted'],
  present: ['●', 'present'],
  uncertain: ['◐', 'uncertain'],
  absent: ['○', 'searched, not found'],
  not_assessed: ['–', 'not assessed'],
};

export function mark(kind, { word = false } = {}) {
  const [shape, text] = MARKS[kind] ?? ['', kind];
  return el(
    'span',
    { class: `mark mark-${kind}`, title: text },
    el('span', { 'aria-hidden': 'true' }, shape),
    word ? ` ${text}` : hidden(text),
  );
}

export const word = (kind) => (MARKS[kind] ?? ['', kind])[1];

// One polite live region for the page; the same words said twice are announced twice.
let region;
export function announce(text) {
  region ??= document.body.appendChild(el('div', { class: 'vh', role: 'status', 'aria-live': 'polite' }));
  region.textContent = '';
  requestAnimationFrame(() => {
    region.textContent = text;
  });
}

// A line at the foot of the page for what went wrong; it stays until it is read.
export function complain(message) {
  document.querySelector('#complaint')?.remove();
  const box = el(
    'div',
    { id: 'complaint', role: 'alert' },
    el('span', {}, message),
    button('Close', () => box.remove()),
  );
  document.body.append(box);
}
