// The short keys, on demand: a dialog that any key user can open with "?" and close with Escape.
import { button, el } from './dom.js';
import { onKey } from './desk.js';

const KEYS = [
  ['1 – 5', 'lung, mediastinum, bone, liver, brain window'],
  ['c  d  b', 'crosshair, length, box'],
  ['m  l  r', 'masks, next layout, reset'],
  ['o', 'prior beside this scan, where there is one'],
  ['n  p', 'next and previous sentence that has a place'],
  ['arrows, Page Up, Page Down', 'move the crosshair a voxel'],
  ['right button, middle button, wheel', 'window, pan, scroll'],
  ['?', 'this list'],
];

export function keyList() {
  const rows = KEYS.map(([key, does]) => el('tr', {}, el('th', { scope: 'row' }, key), el('td', {}, does)));
  const dialog = el(
    'dialog',
    { class: 'keys', 'aria-label': 'Keys' },
    el('table', { class: 'table' }, el('tbody', {}, rows)),
    button('Close', () => dialog.close(), { class: 'b strong' }),
  );
  onKey({ '?': () => dialog.showModal() });
  return [button('Keys', () => dialog.showModal(), { id: 'keys' }), dialog];
}
