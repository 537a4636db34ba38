// The report, section by section. A sentence shows its evidence on hover or focus, leads to it on click,
// and can be accepted, edited or rejected; the last step can be taken back.
import { announce, button, complain, el, hidden, mark, swatch } from './dom.js';
import { address, close, desk, go, on, onKey, part, setReport, target } from './desk.js';
import { editor } from './editor.js';
import { post } from './net.js';
import { progress } from './progress.js';

const STATES = { accepted: 'accepted', edited: 'edited by hand', rejected: 'rejected' };
const EXPORTS = { 'report.md': 'Markdown', 'report.json': 'JSON', 'report.html': 'Print', 'report.zip': 'All' };
const SHOWN = 6; // lines of evidence in a hint

async function take(step) {
  try {
    setReport(await post(address('/review'), step));
    announce(
      step.action === 'undo'
        ? 'Undone.'
        : `Sentence ${STATES[{ accept: 'accepted', edit: 'edited', reject: 'rejected' }[step.action]]}.`,
    );
  } catch (fault) {
    complain(fault.message);
  }
}

// What a sentence rests on; shown beside it, and read with it by screen readers.
function hint(sentence, id) {
  const lines = sentence.cites.slice(0, SHOWN).map((cite) => el('li', {}, desk.case.evidence[cite]?.line ?? cite));
  const more = sentence.cites.length - SHOWN;
  return el(
    'div',
    { class: 'hint', id, role: 'tooltip' },
    el('ul', {}, lines),
    more > 0 ? `and ${more} more` : '',
    sentence.reason ? el('p', { class: 'reason' }, sentence.reason) : '',
    sentence.was ? el('p', {}, `Was: ${sentence.was}`) : '',
  );
}

function sentenceItem(sentence, numbers) {
  const place = target(sentence.cites);
  const entry = place?.label && desk.case.legend.find((one) => one.label === place.label);
  const explained = sentence.cites.length > 0 || sentence.reason || sentence.was;
  const id = explained ? `hint-${sentence.id}` : null;
  const cites = sentence.cites.map((cite) => numbers.get(cite));
  const text = [
    entry?.finding ? swatch(entry.colour) : '',
    el('span', { class: 'text' }, sentence.text),
    sentence.author === 'human' ? el('span', { class: 'human' }, ' by hand') : '',
    cites.length ? el('sup', {}, cites.length > 4 ? `${cites[0]}–${cites.at(-1)}` : cites.join(' ')) : '',
  ];
  const main = place
    ? el(
        'button',
        {
          type: 'button',
          class: 'sentence',
          'aria-describedby': id,
          'data-label': place.label ?? 0,
          on: { click: () => choose(sentence.id, place) },
        },
        text,
      )
    : el('span', { class: 'sentence still', tabindex: sentence.cites.length ? 0 : null, 'aria-describedby': id }, text);
  const item = el(
    'li',
    {
      'data-sentence': sentence.id,
      'data-verdict': sentence.verdict,
      class: sentence.state ? `is-${sentence.state}` : '',
    },
    mark(sentence.verdict),
    el(
      'div',
      { class: 'body' },
      main,
      sentence.reason ? el('span', { class: 'reason' }, ` ${sentence.reason}`) : '',
      sentence.state ? el('span', { class: 'done' }, STATES[sentence.state]) : '',
    ),
    desk.case.state === 'ready' ? tools(sentence, () => edit(item, sentence)) : '',
    explained ? hint(sentence, id) : '',
  );
  return item;
}

function tools(sentence, startEdit) {
  const one = (action, shape, name) =>
    button(shape, () => take({ sentence: sentence.id, action }), {
      class: 'tiny',
      title: name,
      'aria-label': `${name}: ${sentence.text.slice(0, 60)}`,
      'data-action': action,
    });
  return el(
    'div',
    { class: 'tools' },
    one('accept', '✓', 'Accept'),
    button('✎', startEdit, {
      class: 'tiny',
      title: 'Edit',
      'aria-label': `Edit: ${sentence.text.slice(0, 60)}`,
      'data-action': 'edit',
    }),
    one('reject', '✕', 'Reject'),
  );
}

function edit(item, sentence) {
  const body = item.querySelector('.body');
  const before = [...body.childNodes];
  const leave = () => {
    body.replaceChildren(...before);
    item.classList.remove('editing');
    item.querySelector('[data-action=edit]').focus();
  };
  item.classList.add('editing');
  body.replaceChildren(editor(sentence, (text) => take({ sentence: sentence.id, action: 'edit', text }), leave));
  body.querySelector('textarea').focus();
}

function choose(id, place) {
  for (const item of document.querySelectorAll('#report [aria-current]')) item.removeAttribute('aria-current');
  document.querySelector(`#report [data-sentence="${id}"] .sentence`)?.setAttribute('aria-current', 'true');
  go({ ...place, from: 'report' });
}

function stepThrough(by) {
  const all = [...document.querySelectorAll('#report button.sentence')];
  const at = all.findIndex((node) => node.hasAttribute('aria-current'));
  const next = all[(at + by + all.length) % all.length] ?? all[0];
  next?.click();
  next?.scrollIntoView({ block: 'nearest' });
}

// The row above the sentences: the last step back, and the report to take away.
function head(open) {
  return el(
    'div',
    { class: 'row spread' },
    button('Undo', () => take({ action: 'undo' }), { id: 'undo', disabled: open.undo === 0 }),
    el(
      'span',
      { class: 'row' },
      Object.entries(EXPORTS).map(([file, name]) =>
        el(
          'a',
          {
            class: 'b',
            href: address(`/export/${file}`),
            target: file.endsWith('.html') ? '_blank' : null,
            rel: 'noopener',
            download: file.endsWith('.html') ? null : '',
          },
          name,
          hidden(' export'),
        ),
      ),
    ),
  );
}

// Before the report is there: how far its reading is, and a way to end it.
function underWay(job) {
  const cancel = async () => {
    try {
      await post(address('/cancel'));
      close();
    } catch (fault) {
      complain(fault.message);
    }
  };
  return el(
    'div',
    { class: 'row spread under-way' },
    el('span', { role: 'status', id: 'under-way' }, progress(job)),
    button('Cancel', cancel, { 'aria-label': 'Cancel this reading' }),
  );
}

// What stands is checked and will stay, but it is not all.
function toCome(open) {
  const still = open.waiting.length ? `Still being looked for: ${open.waiting.join(', ').toLowerCase()}. ` : '';
  const rest = open.waiting.length ? 'Impression, doubts and evidence follow.' : 'Evidence and masks follow.';
  return el('p', { class: 'to-come', id: 'to-come' }, `Draft in progress. ${still}${rest}`);
}

export const mount = part((slot) => {
  const draw = (open) => {
    if (!open) {
      slot.replaceChildren();
      return;
    }
    const numbers = new Map();
    for (const section of open.sections)
      for (const s of section.sentences)
        for (const cite of s.cites) if (!numbers.has(cite)) numbers.set(cite, numbers.size + 1);
    const open_ = document.activeElement?.closest?.('[data-sentence]')?.dataset.sentence;
    const parts = open.sections.map((section) =>
      el(
        'section',
        { class: `section section-${section.key}`, 'aria-label': section.title },
        el('h3', {}, section.title),
        el(
          section.key === 'impression' ? 'ol' : 'ul',
          { class: 'sentences' },
          section.sentences.map((s) => sentenceItem(s, numbers)),
        ),
      ),
    );
    slot.replaceChildren(
      ...(open.state === 'reading' ? [underWay(open.job)] : []),
      open.notice ? el('p', { class: 'notice' }, open.notice) : '',
      open.state === 'ready' ? head(open) : '',
      ...parts,
      open.state === 'reading' && open.sections.length ? toCome(open) : '',
      limits(open),
    );
    if (open_) slot.querySelector(`[data-sentence="${open_}"] [data-action=accept]`)?.focus();
    light(desk.here);
  };
  // The sentences about what lies under the crosshair.
  const light = (here) => {
    for (const node of slot.querySelectorAll('button.sentence'))
      node.classList.toggle('here', Boolean(here?.labels?.includes(+node.dataset.label)));
  };
  const limits = (open) =>
    open.limits.length
      ? el(
          'section',
          { class: 'section', 'aria-label': 'Limits of this reading' },
          el('h3', {}, 'Limits of this reading'),
          el(
            'ul',
            { class: 'notes' },
            open.limits.map((line) => el('li', {}, line)),
          ),
        )
      : '';
  on('case', draw);
  on('report', draw);
  on('progress', (job) => document.querySelector('#under-way')?.replaceChildren(progress(job)));
  on('moved', light);
  onKey({ n: () => stepThrough(1), p: () => stepThrough(-1) });
});
