// The worklist: new scans come in above, cases stand below with what the intake said, their place in the queue,
// the step at work, and what the report found.
import { announce, button, complain, el } from './dom.js';
import { get, post, remove } from './net.js';
import { desk, on, open, part, show } from './desk.js';
import { progress } from './progress.js';
import { uploader } from './upload.js';

const WORDS = {
  arriving: 'arriving',
  arrived: 'to be read',
  refused: 'refused',
  reading: 'reading',
  ready: 'ready',
  failed: 'failed',
  cancelled: 'cancelled',
};

const when = (iso) => new Date(iso).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });

function told(row) {
  if (row.state === 'reading' && row.job) return progress(row.job);
  if (row.state === 'ready') return (row.summary.impression ?? []).join(' ') || 'No impression.';
  if (row.state === 'failed' || (row.state === 'refused' && row.job)) return row.job?.message ?? '';
  return el(
    'div',
    {},
    el('div', {}, row.intake.title ?? ''),
    (row.intake.lines ?? []).length
      ? el(
          'ul',
          { class: 'notes' },
          row.intake.lines.map((line) => el('li', {}, line)),
        )
      : null,
  );
}

const picked = new Map(); // case -> series that was picked: rows are drawn anew while others are read
const compared = new Map(); // case -> the earlier case that it will be compared with

function seriesPicker(row) {
  const readable = (row.intake.series ?? []).filter((series) => series.readable);
  if (readable.length < 2) return null;
  const now = picked.get(row.id) ?? readable.find((series) => series.chosen)?.id;
  const keep = (event) => picked.set(row.id, event.target.value);
  return el(
    'select',
    { class: 'series', 'aria-label': `Series of case ${row.number}`, on: { change: keep } },
    readable.map((series) => el('option', { value: series.id, selected: series.id === now }, series.text)),
  );
}

// Which of the person's own cases is the prior: any that was read before.
function priorPicker(row, rows) {
  const read = rows.filter((one) => one.state === 'ready');
  if (!read.length) return null;
  const now = compared.get(row.id) ?? '';
  return el(
    'select',
    {
      class: 'prior',
      'aria-label': `Prior of case ${row.number}`,
      on: { change: (event) => compared.set(row.id, event.target.value) },
    },
    el('option', { value: '' }, 'No prior'),
    read.map((one) => el('option', { value: one.id, selected: one.id === now }, `Prior: case ${one.number}`)),
  );
}

export const mount = part((slot) => {
  let rows = [];
  let shown = '';
  let timer;
  const waitingFor = new Set(); // cases to open as soon as they are ready

  const act = (work) => async () => {
    try {
      await work();
    } catch (fault) {
      complain(fault.message);
    }
    refresh();
  };
  const filter = el('input', {
    type: 'search',
    id: 'worklist-filter',
    placeholder: 'Search cases',
    'aria-label': 'Search cases',
    on: { input: () => draw(true) },
  });
  const body = el('tbody');
  const empty = el('p', { class: 'quiet' }, 'No cases yet.');
  const table = el(
    'table',
    { class: 'table', id: 'cases' },
    el(
      'thead',
      {},
      el(
        'tr',
        {},
        ['Case', 'Arrived', 'State', 'What is known', 'Actions'].map((text) => el('th', { scope: 'col' }, text)),
      ),
    ),
    body,
  );

  const actions = (row) => {
    const id = row.id;
    const again = ['failed', 'cancelled'].includes(row.state);
    const toRead = again || row.state === 'arrived';
    const series = toRead && seriesPicker(row);
    const prior = toRead && priorPicker(row, rows);
    // The case opens at once when nothing is read before it, else when it is ready.
    const read = (text) =>
      button(
        text,
        act(async () => {
          const settings = { series: (series && series.value) || null, prior: (prior && prior.value) || null };
          await post(`/api/cases/${id}/read`, settings);
          if (rows.some((one) => one.state === 'reading')) waitingFor.add(id);
          else open(id);
        }),
        { class: 'b strong', 'aria-label': `${text} case ${row.number}` },
      );
    return el(
      'div',
      { class: 'row' },
      series,
      prior,
      ['ready', 'reading'].includes(row.state) &&
        button('Open', () => open(id), { class: row.state === 'ready' ? 'b strong' : 'b', 'aria-label': `Open case ${row.number}` }),
      row.state === 'arrived' && read('Read'),
      again && read('Read again'),
      row.state === 'reading' &&
        button(
          'Cancel',
          act(() => post(`/api/cases/${id}/cancel`)),
          { 'aria-label': `Cancel case ${row.number}` },
        ),
      row.state !== 'reading' &&
        button(
          'Delete',
          act(async () => {
            if (confirm(`Delete case ${row.number} with its report?`)) await remove(`/api/cases/${id}`);
          }),
          { 'aria-label': `Delete case ${row.number}` },
        ),
    );
  };

  function draw(force) {
    const now = JSON.stringify(rows);
    if (!force && now === shown) return;
    shown = now;
    const focused = document.activeElement?.getAttribute('aria-label');
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = rows.filter((row) => {
      const text =
        `case ${row.number} ${WORDS[row.state]} ${row.intake.title ?? ''} ${(row.summary.impression ?? []).join(' ')}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    body.replaceChildren(
      ...kept.map((row) =>
        el(
          'tr',
          { 'data-case': row.id, 'data-state': row.state },
          el('td', {}, `${row.number}`),
          el('td', {}, when(row.created)),
          el('td', {}, el('span', { class: `state state-${row.state}` }, WORDS[row.state])),
          el('td', { class: 'known' }, told(row)),
          el('td', {}, actions(row)),
        ),
      ),
    );
    empty.hidden = rows.length > 0;
    table.hidden = rows.length === 0;
    if (focused) body.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }

  async function refresh() {
    clearTimeout(timer);
    if (!slot.isConnected) return;
    try {
      rows = await get('/api/cases');
      draw();
      for (const row of rows) {
        if (!waitingFor.has(row.id) || row.state === 'reading') continue;
        waitingFor.delete(row.id);
        announce(`Case ${row.number} is ${WORDS[row.state]}.`);
        if (row.state === 'ready' && document.body.dataset.view === 'worklist') open(row.id);
      }
    } catch (fault) {
      complain(fault.message);
    }
    const busy = rows.some((row) => row.state === 'reading');
    if (document.body.dataset.view === 'worklist' || waitingFor.size) timer = setTimeout(refresh, busy ? 500 : 3000);
  }

  slot.replaceChildren(
    el(
      'main',
      { class: 'worklist' },
      el('h2', {}, 'New scan'),
      uploader(refresh),
      el('div', { class: 'row spread' }, el('h2', {}, 'Worklist'), filter),
      el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Worklist' }, empty, table),
    ),
  );
  on('view', (view) => {
    if (view === 'worklist') refresh();
  });
  const id = /^#([0-9a-f]{32})$/.exec(location.hash)?.[1];
  if (!id) show('worklist');
  else if (desk.case?.id !== id) open(id);
});
