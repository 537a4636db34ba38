// The legend of the masks: each can be shown, hidden and lit; one slider fades them all.
import { el, swatch } from './dom.js';
import { go } from './desk.js';

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
  const node = el(
    'details',
    { class: 'legend-box' },
    el('summary', {}, 'Masks'),
    el('label', { class: 'row' }, 'Strength', fade),
    list,
  );

  const mark = () => {
    for (const item of list.children) item.toggleAttribute('data-lit', +item.dataset.label === viewer.look.lit);
  };
  const fill = (open) => {
    list.replaceChildren(
      ...open.legend.map((entry) => {
        if (!entry.finding) viewer.look.off.add(entry.label);
        const box = el('input', {
          type: 'checkbox',
          checked: Boolean(entry.finding),
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
  return { node, fill, mark };
}
