// Questions about the open case: each answer is a list of looks into the evidence and of cited, checked sentences.
import { button, complain, el, mark } from './dom.js';
import { address, desk, go, on, part, target } from './desk.js';
import { stream } from './net.js';

function card(call) {
  const asked = Object.entries(call.arguments)
    .map(([name, value]) => `${name}: ${value}`)
    .join(', ');
  return el(
    'details',
    { class: 'call' },
    el(
      'summary',
      {},
      `${call.name.replaceAll('_', ' ')} · ${call.result} · ${Math.max(1, Math.round(call.seconds * 1000))} ms`,
    ),
    el('p', {}, asked),
  );
}

function citations(cites) {
  return cites.slice(0, 6).map((cite) => {
    const place = target([cite]);
    const line = desk.case.evidence[cite]?.line ?? cite;
    return place
      ? el(
          'button',
          {
            type: 'button',
            class: 'cite',
            title: line,
            'aria-label': `Show evidence ${cite}`,
            on: { click: () => go({ ...place, from: 'chat' }) },
          },
          cite,
        )
      : el('span', { class: 'cite still', title: line }, cite);
  });
}

// A place of an answer: the viewer goes there by itself when the answer comes in, and again at a click.
function place(event) {
  const target = { mm: event.mm, label: 0, window: '', from: 'chat' };
  return button(`Show ${event.evidence || 'the place'}`, () => go(target), { class: 'b chip', 'data-place': event.mm.join(',') });
}

function line(event) {
  if (event.kind === 'call') return card(event);
  if (event.kind === 'note') return el('p', { class: 'note', 'data-about': event.about || '' }, event.text, ' ', citations(event.cites ?? []));
  if (event.kind === 'understood') return el('p', { class: 'taken', hidden: true, 'data-intent': event.intent });
  if (event.kind === 'show') return place(event);
  const more = event.cites.length > 6 ? ` +${event.cites.length - 6}` : '';
  return el(
    'p',
    { class: 'answer', 'data-verdict': event.verdict },
    mark(event.verdict),
    ' ',
    event.text,
    ' ',
    citations(event.cites),
    more,
    event.reason ? el('span', { class: 'reason' }, ` ${event.reason}`) : '',
  );
}

export const mount = part((slot) => {
  let stopping = null;
  const log = el('ol', { class: 'chat', id: 'chat-log', 'aria-label': 'Questions and answers', 'aria-live': 'polite' });
  const chips = el('div', { class: 'row chips', role: 'group', 'aria-label': 'Suggested questions' });
  const field = el('textarea', {
    id: 'ask',
    rows: 2,
    maxlength: 2000,
    'aria-label': 'Ask about this case',
    placeholder: 'Ask about this case',
    on: {
      keydown: (event) => {
        if (event.key === 'Enter' && !event.shiftKey) {
          event.preventDefault();
          put();
        }
      },
    },
  });
  const send = button('Ask', () => put(), { class: 'b strong', id: 'send' });
  const stop = button('Stop', () => stopping?.abort(), { hidden: true });

  const turn = (text) => {
    const answer = el('div', { class: 'said' });
    log.append(el('li', {}, el('p', { class: 'question' }, text), answer));
    return answer;
  };
  const put = () => {
    const text = field.value.trim();
    if (!text || stopping) return;
    field.value = '';
    ask({ text });
  };
  async function ask(question) {
    if (desk.case?.state !== 'ready' || stopping) return;
    const open = desk.case;
    const answer = turn(question.text);
    let wanted = false; // "show me": the viewer goes to the first place of the answer
    stopping = new AbortController();
    stop.hidden = false;
    try {
      await stream(
        address('/ask'),
        question,
        (event) => {
          if (desk.case?.id === open.id) answer.append(line(event));
          if (event.kind === 'understood') wanted = event.intent === 'show';
          if (event.kind === 'show' && wanted) {
            wanted = false;
            go({ mm: event.mm, label: 0, window: '', from: 'chat' });
          }
          answer.scrollIntoView({ block: 'nearest' });
        },
        stopping.signal,
      );
    } catch (fault) {
      if (fault.name === 'AbortError') answer.append(el('p', { class: 'note' }, 'Stopped.'));
      else complain(fault.message);
    } finally {
      stopping = null;
      stop.hidden = true;
    }
  }
  const draw = (open) => {
    stopping?.abort();
    log.replaceChildren();
    chips.replaceChildren();
    foot.hidden = open?.state !== 'ready';
    if (!open) return;
    for (const [first, ...events] of open.messages) turn(first.text).append(...events.map(line));
    chips.append(...open.suggestions.map((text) => button(text, () => ask({ text }), { class: 'b chip' })));
  };
  const foot = el('div', { class: 'foot' }, chips, el('div', { class: 'row asking' }, field, send, stop));
  slot.replaceChildren(
    el(
      'div',
      { class: 'questions' },
      el(
        'p',
        { class: 'quiet' },
        'Answers come from this report’s evidence alone, and are checked like its sentences.',
      ),
      log,
      foot,
    ),
  );
  draw(null);
  on('case', draw);
  on('ask', ask);
});
