// Similar cases: a card for each, with what both have, what differs, its report, and its scan beside this one.
import { button, el, hidden } from './dom.js';
import { address, desk, on, part, tell } from './desk.js';
import { get } from './net.js';

const list = (title, items, kind) =>
  items.length
    ? el('div', { class: `similar-${kind}` }, el('h4', {}, title), el('ul', {}, items.map((text) => el('li', {}, text))))
    : null;

const differing = (items, where) => items.map(({ name, other }) => `${name} (${where}: ${other})`);

function card(found) {
  const beside = found.beside
    ? button('Beside', () => tell('beside', found.beside), {
        class: 'b tiny',
        'aria-label': `Open similar case ${found.case} beside this one, linked`,
        'data-action': 'beside',
      })
    : el('span', { class: 'quiet' }, 'no scan kept');
  return el(
    'li',
    { class: 'similar-card', 'data-case': found.case },
    el(
      'div',
      { class: 'row spread' },
      el('h3', {}, found.case),
      el('span', { class: 'quiet' }, found.about),
      found.likeness === null ? null : el('span', { class: 'likeness' }, hidden('likeness '), found.likeness.toFixed(2)),
      beside,
    ),
    el(
      'div',
      { class: 'similar-body' },
      found.thumbnail
        ? el('img', { src: `/api/similar/${found.case}/thumbnail.png`, alt: `Key image of case ${found.case}`, loading: 'lazy' })
        : null,
      el(
        'div',
        {},
        list('Both have', found.shared, 'shared'),
        list('They have', differing(found.only_there, 'here'), 'there'),
        list('Here only', differing(found.only_here, 'there'), 'here'),
        found.folded ? el('p', { class: 'quiet' }, `and ${found.folded} more series of this study`) : null,
      ),
    ),
    el('details', {}, el('summary', {}, 'Report of this case'), el('p', { class: 'similar-report' }, found.report)),
  );
}

export const mount = part((slot) => {
  const said = el('p', { class: 'quiet', role: 'status' });
  const cards = el('ul', { class: 'similar-cards', 'aria-label': 'Similar cases' });
  const node = el('section', { 'aria-label': 'Similar cases' }, said, cards);
  slot.append(node);
  let shown = null; // the case whose cards are here

  async function load() {
    const open = desk.case;
    if (!open || open.state !== 'ready' || shown === open.id) return;
    shown = open.id;
    cards.replaceChildren();
    said.textContent = 'Looking for similar cases …';
    try {
      const found = await get(address('/similar'));
      if (desk.case?.id !== open.id) return;
      said.textContent =
        found.off || `From a library of ${found.cases} cases. They propose; no sentence of the report rests on them.`;
      cards.replaceChildren(...found.cards.map(card));
    } catch (fault) {
      shown = null;
      said.textContent = fault.message;
    }
    node.dataset.ready = shown ?? '';
  }

  on('case', (open) => {
    if (shown !== open?.id) {
      shown = null;
      cards.replaceChildren();
      said.textContent = '';
    }
    load();
  });
});
