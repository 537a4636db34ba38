// The legend of the masks: each can be shown, hidden and lit; one slider fades them all. Below it, the heat maps.
import { button, el, swatch } from './dom.js';
import { go, tell } from './desk.js';

// Findings first. Structures, and findings that are an organ as a whole, would hide the image: they are shown when
// they are asked for.
const sorted = (entries) => [...entries].sort((a, b) => Boolean(b.finding) - Boolean(a.finding));

export function legend(viewer) {
  const list = el('ul', { class: 'legend' });
  const fade = el('input', {
    type: 'range',
    min: 0,
    max: 1,
    step: 0.05,
    value: viewer.look.opacity,
    'aria-label': 'How strong masks are',
    on: {
      input: () => {
        viewer.look.opacity = +fade.value;
        viewer.view?.masks();
      },
    },
  });
  const heat = el('div', { class: 'row heat' });
  const node = el(
    'details',
    { class: 'legend-box' },
    el('summary', {}, 'Masks'),
    el('label', { class: 'row' }, 'Strength', fade),
    list,
    heat,
  );

  const mark = () => {
    for (const item of list.children) item.toggleAttribute('data-lit', +item.dataset.label === viewer.look.lit);
  };
  // Heat maps belong to the legend, too: one at a time, or why there is none.
  const warm = (entry) => {
    for (const one of heat.querySelectorAll('button'))
      one.setAttribute('aria-pressed', String(one.dataset.finding === entry?.finding));
  };
  const fillHeat = (open) => {
    const maps = open.heat ?? [];
    heat.replaceChildren(
      'Heat maps: ',
      ...maps.map((entry) =>
        button(
          entry.name,
          (event) => tell('heat', event.target.getAttribute('aria-pressed') === 'true' ? null : entry.finding),
          { 'aria-pressed': 'false', 'data-finding': entry.finding },
        ),
      ),
      maps.length ? '' : el('span', { class: 'quiet' }, `off, ${open.scoring?.heat_off || 'the scan is being read'}`),
    );
  };
  const fill = (open) => {
    node.hidden = !open?.legend.length;
    list.replaceChildren();
    if (node.hidden) return;
    fillHeat(open);
    list.replaceChildren(
      ...sorted(open.legend).map((entry) => {
        const shown = Boolean(entry.finding) && !entry.whole;
        if (!shown) viewer.look.off.add(entry.label);
        const box = el('input', {
          type: 'checkbox',
          checked: shown,
          on: {
            change: () => {
              viewer.look.off[box.checked ? 'delete' : 'add'](entry.label);
              viewer.view?.masks();
            },
          },
        });
        return el(
          'li',
          { 'data-label': entry.label },
          el('label', {}, box, swatch(entry.colour), ` ${entry.name}`, entry.place ? ` (${entry.place})` : ''),
          el(
            'button',
            {
              type: 'button',
              class: 'link',
              'aria-label': `Show ${entry.name} ${entry.place}`,
              on: { click: () => go({ mm: entry.mm, label: entry.label, window: entry.window }) },
            },
            `${entry.ml < 10 ? entry.ml.toFixed(1) : Math.round(entry.ml)} ml`,
          ),
        );
      }),
    );
    viewer.view?.masks();
    mark();
  };
  return { node, fill, mark, warm };
}
