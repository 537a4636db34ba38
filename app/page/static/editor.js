// A sentence being edited: the checker's verdict is shown as it is typed, and nothing is kept until it is saved.
import { button, el, mark } from './dom.js';
import { address } from './desk.js';
import { post } from './net.js';

const PAUSE_MS = 250;

export function editor(sentence, save, leave) {
  let timer;
  let asking;
  const said = el('div', { class: 'judged', role: 'status' });
  const judge = async () => {
    asking?.abort();
    asking = new AbortController();
    try {
      const found = await post(address('/judge'), { sentence: sentence.id, text: field.value }, asking.signal);
      said.dataset.verdict = found.verdict;
      said.replaceChildren(
        mark(found.verdict, { word: true }),
        ` ${found.reason}`,
        found.add.length ? ` Add: ${found.add.join(', ')}.` : '',
      );
    } catch (fault) {
      if (fault.name !== 'AbortError') said.replaceChildren(fault.message);
    }
  };
  const field = el('textarea', {
    rows: 3,
    maxlength: 1000,
    'aria-label': 'The sentence',
    on: {
      input: () => {
        clearTimeout(timer);
        timer = setTimeout(judge, PAUSE_MS);
      },
      keydown: (event) => {
        if (event.key === 'Escape') {
          event.preventDefault();
          leave();
        }
        if (event.key === 'Enter' && !event.shiftKey) {
          event.preventDefault();
          save(field.value);
        }
      },
    },
  });
  field.value = sentence.text;
  judge();
  return el(
    'div',
    { class: 'editor' },
    field,
    said,
    el(
      'div',
      { class: 'row' },
      button('Save', () => save(field.value), { class: 'b strong' }),
      button('Cancel', leave),
    ),
  );
}
