// The findings console: every finding of the vocabulary with what this scan says of it; sorted, filtered, asked.
import { announce, button, complain, el, hidden, mark, word } from './dom.js';
import { address, desk, go, on, part, tell } from './desk.js';
import { post } from './net.js';

const ORDER = ['present', 'uncertain', 'absent', 'limited', 'not_assessed'];
const AGREES = [false, true, null]; // what needs a look comes first
const WORDS = { limited: 'searched, with limits' };
const COLUMNS = [
  ['status', 'Status', (row) => ORDER.indexOf(row.status)],
  ['name', 'Finding', (row) => row.name],
  ['side', 'Side', (row) => row.side],
  ['size', 'Size', (row) => -parseFloat(row.size || 0)],
  ['probability', 'Prob.', (row) => -(row.probability ?? -1)],
  ['agreement', 'Agreement', (row) => AGREES.indexOf(row.agrees)],
  ['section', 'Section', (row) => row.section],
  ['tool', 'Tool', (row) => row.tool],
];

export const mount = part((slot) => {
  let sort = 'status';
  let falling = false;
  let shown = null; // the case whose findings are here
  let asked = null; // keys that free words meant, or null
  const words = el('input', {
    type: 'search',
    id: 'findings-words',
    placeholder: 'Ask for a finding or an organ',
    'aria-label': 'Ask for a finding or an organ',
    on: {
      input: () => {
        clearTimeout(words.timer);
        words.timer = setTimeout(query, 300);
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
  const scored = el('p', { class: 'why' });
  const said = el('p', { class: 'reply', id: 'findings-reply' });
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
      said.replaceChildren();
      draw();
      return;
    }
    try {
      const found = await post(address('/query'), { words: text.slice(0, 200) });
      if (words.value.trim() !== text) return;
      asked = found.understood ? new Set(found.keys) : null;
      draw(found.understood ? '' : text.toLowerCase());
      reply(found);
      announce(`${body.children.length} findings. ${said.textContent}`);
    } catch (fault) {
      complain(fault.message);
    }
  }

  // What the words as a whole come to: side, size and denial count, which a row of the table does not know.
  function reply({ answer, mm, label, window }) {
    if (!answer) {
      said.replaceChildren();
      return;
    }
    const { status, why, limit, found, read_by: by } = answer;
    const kind = status === 'limited' ? 'absent' : status;
    const more = [found.side, found.size, why, limit].filter(Boolean).join(', ');
    const text = `${WORDS[status] ?? word(status)}${more ? `: ${more}` : ''}`;
    said.replaceChildren(
      mark(kind),
      ' ',
      mm
        ? el('button', { type: 'button', class: 'link', on: { click: () => go({ mm, label, window, from: 'query' }) } }, text)
        : text,
      el('span', { class: 'quiet' }, ` (read by ${by})`),
    );
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
          class: 'link heat-of',
          title: `Where the score of ${map.tool} comes from: ${map.score.toFixed(2)}, above 0 speaks for it; not calibrated`,
          'aria-label': `Heat map of ${row.name}`,
        })
      : '';
  }

  // Whether the score of an image encoder points the same way as the tools; one alone is told as such.
  function agreement(row) {
    if (row.score == null) return el('span', { title: desk.case.scoring?.off || 'Not scored' }, '–');
    const score = `${row.score < 0 ? '−' : '+'}${Math.abs(row.score).toFixed(2)}`;
    if (row.agrees == null) return el('span', { title: 'The tools have no say' }, `score alone ${score}`);
    return el('span', { class: row.agrees ? '' : 'reason' }, `${row.agrees ? '= agree' : '≠ differ'} ${score}`);
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
      el('td', {}, agreement(row)),
      el('td', {}, row.section),
      el('td', {}, row.tool.replaceAll('_', ' ')),
    );
  }

  // The rows of what lies under the crosshair.
  const light = (here) => {
    for (const row of body.children) row.classList.toggle('here', Boolean(here?.labels?.includes(+row.dataset.label)));
  };

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
    light(desk.here);
    count.textContent = open.state === 'ready' ? `${rows.length} of ${open.findings.length}` : 'They come with the finished report.';
    const { by, off } = open.scoring ?? {};
    scored.textContent = open.state === 'ready' ? `Agreement: ${off || `score of ${by}, not calibrated`}.` : '';
  }

  slot.replaceChildren(
    el(
      'section',
      { class: 'console', 'aria-label': 'Findings' },
      el('div', { class: 'row' }, el('h2', {}, 'Findings'), words, status, pack, count),
      said,
      el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Findings table' }, table, scored),
    ),
  );
  // What a person has typed and chosen stays while the open case is read on.
  const fill = (open) => {
    if (shown !== open?.id) {
      words.value = '';
      pack.replaceChildren(
        el('option', { value: '' }, 'All packs'),
        ...Object.keys(open?.packs ?? {}).map((name) => el('option', { value: name }, name)),
      );
    }
    shown = open?.id;
    query();
  };
  on('case', fill);
  on('moved', light);
});
