// What every part of the page shares: the open case, one crosshair, and events between the parts.
//
// Events: "case" (a case was opened, has come a stage further, or null), "progress" (of a reading: its job),
// "report" (its sentences changed), "go" (somebody asks for a point: {mm, label, window, from}), "moved" (the
// crosshair stands there), "view" (worklist or reading), "heat" (a finding whose heat map is wanted, or null),
// "beside" (another scan to show beside this one, or null: see beside.js).
//
// A part may come up after others have spoken: its module arrives late, its tab is opened late, or Gradio draws its
// place anew. So whoever begins to listen hears at once what holds (the open case, where the crosshair stands), and
// what was asked for while nobody listened.
import { complain } from './dom.js';
import { get } from './net.js';

export const desk = { case: null, here: null, tool: 'crosshair', box: null };
window.tomoscribe = desk; // for the page's tests

const HOLDS = { case: () => desk.case, moved: () => desk.here };
const listeners = {};
let unheard = {};
let mounting = null; // the life of the part that is being mounted

export function on(event, hear) {
  const all = (listeners[event] ??= new Set());
  all.add(hear);
  mounting?.addEventListener('abort', () => all.delete(hear));
  const now = HOLDS[event]?.() ?? unheard[event];
  delete unheard[event];
  if (now) hear(now);
}

export function tell(event, detail) {
  const all = [...(listeners[event] ?? [])];
  if (!all.length) unheard[event] = detail;
  for (const hear of all) {
    try {
      hear(detail);
    } catch (fault) {
      reportError(fault); // one part's fault keeps nothing from the others
    }
  }
}

// A part of the page: fills its slot once, and ends what listened for an earlier slot of it.
export function part(fill) {
  let life;
  return (slot) => {
    if (slot.dataset.mounted) return;
    life?.abort();
    life = new AbortController();
    mounting = life.signal;
    try {
      fill(slot);
    } finally {
      mounting = null;
    }
    slot.dataset.mounted = '1';
  };
}

export const go = (target) => tell('go', { ...target, asked: performance.now() });

export function moved(here) {
  desk.here = here;
  tell('moved', here);
}

// Where a case's routes stand; a scan that is no case of the page says so itself.
export const base = (open) => open.base ?? `/api/cases/${open.id}`;
export const address = (rest = '') => `/api/cases/${desk.case.id}${rest}`;

// Where a sentence leads: the first of its evidence that has a place.
export function target(cites) {
  const found = cites.map((id) => desk.case.evidence[id]).find((evidence) => evidence?.mm);
  return found ? { mm: found.mm, label: found.label, window: found.window } : null;
}

export function show(view) {
  document.body.dataset.view = view;
  tell('view', view);
}

const FOLLOW_MS = 400; // how often a reading that is under way is looked at
const CLICK_MS = 100;
const MOST_CLICKS = 20;
const pause = (ms) => new Promise((ok) => setTimeout(ok, ms));
let asked = 0;

// Open a case. One that is still being read shows its scan as soon as there is one, then its sentences, then the rest.
export async function open(id) {
  const mine = ++asked;
  let found;
  try {
    do {
      if (found) await pause(FOLLOW_MS);
      const next = await get(`/api/cases/${id}`);
      if (mine !== asked) return;
      take(found, next);
      found = next;
    } while (found.state === 'reading');
  } catch (fault) {
    if (mine !== asked) return;
    complain(fault.message);
    close();
  }
}

function take(before, found) {
  desk.case = found;
  if (!before) {
    unheard = {};
    desk.here = null;
    desk.box = null;
    history.replaceState(null, '', `${location.pathname}${location.search}#${found.id}`); // Gradio's page has a base: no bare '#'
    show('reading');
  }
  const stage = (one) => [one?.state, Boolean(one?.shape)].join();
  if (stage(before) !== stage(found)) tell('case', found);
  else if (JSON.stringify(before.sections) !== JSON.stringify(found.sections)) tell('report', found);
  else tell('progress', found.job);
}

export function close() {
  asked += 1;
  unheard = {};
  desk.case = desk.here = null;
  history.replaceState(null, '', location.pathname + location.search);
  show('worklist');
  tell('case', null);
}

export function setReport(report) {
  Object.assign(desk.case, report);
  tell('report', desk.case);
}

// A question from another part; its tab comes up with it.
export function ask(question) {
  tell('ask', question);
  bring('Questions');
}

// Gradio draws its row of tabs anew while the page settles, and a click may fall into that.
async function bring(name) {
  for (let n = 0; n < MOST_CLICKS; n++) {
    const tab = [...document.querySelectorAll('#tabs button[role=tab]')].find((one) => one.textContent.trim() === name);
    if (tab?.getAttribute('aria-selected') === 'true') return;
    tab?.click();
    await pause(CLICK_MS);
  }
}

// Short keys work in the reading view, where nobody is typing.
export function onKey(keys) {
  const hear = (event) => {
    const typing = event.target.closest?.('input:not([type=checkbox]), textarea, select, [contenteditable], [role=tab]');
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.body.dataset.view !== 'reading') return;
    if (document.querySelector('dialog[open]')) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act(event);
  };
  document.addEventListener('keydown', hear, mounting ? { signal: mounting } : {});
}
