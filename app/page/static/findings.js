// The findings console: every finding of the vocabulary with what this scan says of it; sorted, filtered, asked.
import { announce, button, complain, el, hidden, mark, word } from './dom.js';
import { address, desk, go, on, tell } from './desk.js';
import { post } from './net.js';

const ORDER = ['present', 'uncertain', 'absent', 'limited', 'not_assessed'];
const WORDS = { limited: 'searched, with limits' };
const COLUMNS = [
  ['status', 'Status', (row) => ORDER.indexOf(row.status)],
  ['name', 'Finding', (row) => row.name],
  ['side', 'Side', (row) => row.side],
  ['size', 'Size', (row) => -parseFloat(row.size || 0)],
  ['probability', 'Probability', (row) => -(row.probability ?? -1)],
  ['section', 'Section', (row) => row.section],
  ['tool', 'Tool', (row) => row.tool],
];

export function mount(slot) {
  if (slot.dataset.mounted) return;
  slot.dataset.mounted = '1';
  let sort = 'status';
  let falling = false;
  let asked = null; // keys that free words meant, or null
  const words = el('input', {
    type: 'search',
    id: 'findings-words',
    placeholder: 'Ask for a finding or an organ',
    'aria-label': 'Ask for a finding or an organ',
    on: {
      input: () => {
        clearTimeout(words.timer);
        words.timer = setTimeout(query, 200);
      },
    },
  });
  const status = el(
    'select',
    { 'aria-label': 'Status', on: { change: () => draw() } },
    [['seen', 'Found or searched'], ['all', 'All'], ...ORDER.map((name) => [name, WORDS[name] ?? word(name)])].map(
      ([value, text]) => el('option', { value }, text),
    ),
  );
  const pack = el('select', { 'aria-label': 'Finding pack', on: { change: () => draw() } });
  const body = el('tbody');
  const head = el('tr');
  const count = el('span', { class: 'quiet', role: 'status' });
  const table = el(
    'table',
    { class: 'table', id: 'findings-table' },
    el('caption', {}, hidden('Findings')),
    el('thead', {}, head),
    body,
  );

  async function query() {
    const text = words.value.trim();
    if (!text || !desk.case) {
      asked = null;
      draw();
      return;
    }
    try {
      const found = await post(address('/query'), { words: text.slice(0, 200) });
      if (words.value.trim() !== text) return;
      asked = found.understood ? new Set(found.keys) : null;
      draw(found.understood ? '' : text.toLowerCase());
      announce(`${body.children.length} findings`);
    } catch (fault) {
      complain(fault.message);
    }
  }

  const wanted = (row, plain) => {
    if (asked) return asked.has(row.key);
    if (plain) return row.words.some((one) => one.toLowerCase().includes(plain));
    if (pack.value)
      return Object.values(desk.case.packs[pack.value])
        .flat()
        .some((key) => key === row.key || row.parents.includes(key));
    return (
      status.value === 'all' || (status.value === 'seen' ? row.status !== 'not_assessed' : row.status === status.value)
    );
  };

  function heatOf(row) {
    const map = desk.case.heat.find((one) => one.finding === row.key);
    return map
      ? button('Heat', () => tell('heat', row.key), {
          class: 'tiny',
          title: `Heat map, score ${map.score.toFixed(2)} by ${map.tool}`,
          'aria-label': `Heat map of ${row.name}`,
        })
      : '';
  }

  function line(row) {
    const name = row.mm
      ? el(
          'button',
          {
            type: 'button',
            class: 'link',
            on: { click: () => go({ mm: row.mm, label: row.label, window: row.window, from: 'findings' }) },
          },
          row.name,
        )
      : row.name;
    const kind = row.status === 'limited' ? 'absent' : row.status;
    return el(
      'tr',
      { 'data-key': row.key, 'data-status': row.status, 'data-label': row.label ?? 0 },
      el(
        'td',
        {},
        mark(kind),
        ` ${WORDS[row.status] ?? word(row.status)}`,
        row.why ? el('div', { class: 'why' }, row.why) : '',
      ),
      el('td', {}, name, row.count > 1 ? ` (${row.count})` : '', heatOf(row)),
      el('td', {}, row.side),
      el('td', {}, row.size),
      el(
        'td',
        {},
        row.probability == null
          ? el('span', { title: 'Nothing is calibrated for this finding' }, '–')
          : row.probability.toFixed(2),
      ),
      el('td', {}, row.section),
      el('td', {}, row.tool.replaceAll('_', ' ')),
    );
  }

  function draw(plain = '') {
    const open = desk.case;
    if (!open) {
      body.replaceChildren();
      return;
    }
    head.replaceChildren(
      ...COLUMNS.map(([key, text]) =>
        el(
          'th',
          { scope: 'col', 'aria-sort': key === sort ? (falling ? 'descending' : 'ascending') : 'none' },
          el(
            'button',
            {
              type: 'button',
              class: 'sort',
              on: {
                click: () => {
                  falling = key === sort && !falling;
                  sort = key;
                  draw(plain);
                  head.querySelector(`[data-key=${key}]`)?.focus();
                },
              },
              'data-key': key,
            },
            text,
            key === sort ? el('span', { 'aria-hidden': 'true' }, falling ? ' ▾' : ' ▴') : '',
          ),
        ),
      ),
    );
    const value = COLUMNS.find(([key]) => key === sort)[2];
    const rows = open.findings
      .filter((row) => wanted(row, plain))
      .sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        return (typeof x === 'string' ? x.localeCompare(y) : x - y) * (falling ? -1 : 1);
      });
    body.replaceChildren(...rows.map(line));
    count.textContent = `${rows.length} of ${open.findings.length}`;
  }

  slot.replaceChildren(
    el(
      'section',
      { class: 'console', 'aria-label': 'Findings' },
      el('div', { class: 'row' }, el('h2', {}, 'Findings'), words, status, pack, count),
      el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Findings table' }, table),
    ),
  );
  const fill = (open) => {
    asked = null;
    words.value = '';
    if (open)
      pack.replaceChildren(
        el('option', { value: '' }, 'All packs'),
        ...Object.keys(open.packs).map((name) => el('option', { value: name }, name)),
      );
    draw();
  };
  on('case', fill);
  on('moved', (here) => {
    for (const row of body.children) row.classList.toggle('here', here.label > 0 && +row.dataset.label === here.label);
  });
  if (desk.case) fill(desk.case);
}
