// The head of the page: what is open, the way back to the worklist, light and dark.
import { button, el } from './dom.js';
import { close, on, part } from './desk.js';
import { keyList } from './keys.js';

const KEY = 'tomoscribe-theme';

function setDark(dark) {
  document.body.classList.toggle('dark', dark);
  document.documentElement.style.colorScheme = dark ? 'dark' : 'light';
}

export const mount = part((slot) => {
  document.documentElement.lang = 'en';
  document.body.dataset.view ??= 'worklist';
  setDark(localStorage.getItem(KEY) !== 'light'); // reading rooms are dark
  const title = el('span', { class: 'case-title' });
  const back = button('Worklist', close, { id: 'to-worklist', hidden: true });
  const theme = button(
    'Light',
    () => {
      const dark = !document.body.classList.contains('dark');
      setDark(dark);
      localStorage.setItem(KEY, dark ? 'dark' : 'light');
      theme.textContent = dark ? 'Light' : 'Dark';
    },
    { id: 'theme', 'aria-label': 'Switch between light and dark' },
  );
  theme.textContent = document.body.classList.contains('dark') ? 'Light' : 'Dark';
  const head = el(
    'header',
    { class: 'head' },
    el('h1', {}, 'tomoscribe'),
    back,
    title,
    el('span', { class: 'research' }, 'Research use only, not a medical device'),
    keyList(),
    theme,
  );
  slot.replaceChildren(head);
  on('case', (open) => {
    back.hidden = !open;
    head.classList.toggle('of-case', Boolean(open)); // a phone has no room for all of it
    const size = open?.shape ? ` · ${open.shape[2]} slices of ${+open.spacing_mm[2].toFixed(2)} mm` : '';
    title.textContent = open ? `Case ${open.number}${size}${open.state === 'reading' ? ' · being read' : ''}` : '';
  });
});
