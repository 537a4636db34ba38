// The viewer's row of tools: windows, layout, what the left button does, masks, prior, reset.
import { button, el } from './dom.js';
import { desk } from './desk.js';

// Level and width, HU: the settings of common workstations.
export const WINDOWS = {
  lung: [-600, 1500],
  mediastinum: [40, 400],
  bone: [400, 1800],
  liver: [90, 150],
  brain: [40, 80],
};
export const TOOLS = { crosshair: ['Crosshair', 'c'], length: ['Length', 'd'], box: ['Box', 'b'] };

function group(label, items, now, choose) {
  return el(
    'div',
    { class: 'group', role: 'group', 'aria-label': label },
    items.map(([name, text, key]) =>
      button(text, () => choose(name), {
        'aria-pressed': String(name === now),
        'data-name': name,
        title: key ? `${text}, key ${key}` : text,
      }),
    ),
  );
}

function chooser(label, items, now, choose) {
  return el(
    'select',
    {
      'aria-label': label,
      title: `${label}, key l`,
      'data-name': label,
      on: { change: (event) => choose(event.target.value) },
    },
    items.map(([name, text]) => el('option', { value: name, selected: name === now }, text)),
  );
}

// Draw the row anew for what the viewer now shows; the focus stays on the same button.
export function paintTools(bar, viewer) {
  const { look, view } = viewer;
  const focused = document.activeElement?.dataset?.name;
  const layouts = Object.entries(view.layouts);
  const tools = Object.entries(TOOLS)
    .filter(([name]) => view.tools.includes(name))
    .map(([name, [text, key]]) => [name, text, key]);
  const windows = Object.keys(WINDOWS).map((name, n) => [name, name[0].toUpperCase() + name.slice(1), n + 1]);
  const prior = desk.case?.prior;
  bar.replaceChildren(
    group('Window', windows, look.window, (name) => viewer.setWindow(name)),
    chooser('Layout', layouts, look.layout, (name) => viewer.setLayout(name)),
    tools.length > 1 ? group('Tool', tools, desk.tool, (name) => viewer.setTool(name)) : '',
    el(
      'div',
      { class: 'group' },
      button('Masks', () => viewer.toggleMasks(), {
        'aria-pressed': String(look.masks),
        title: 'Masks, key m',
        'data-name': 'masks',
      }),
      prior
        ? button('Prior', () => viewer.togglePrior(), {
            'aria-pressed': String(viewer.second?.other === prior),
            title: `${prior.title} beside this one, key o`,
            'data-name': 'prior',
          })
        : '',
      button('Reset', () => viewer.reset(), { title: 'Reset zoom and measurements, key r', 'data-name': 'reset' }),
    ),
  );
  if (focused) bar.querySelector(`[data-name="${focused}"]`)?.focus();
}
