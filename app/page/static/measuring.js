// Length and box on a slice that the server drew: drawn with the left button, kept on their slice until Reset.
import { el } from './dom.js';
import { desk } from './desk.js';

const LEAST_MM = 0.5; // less is a slip of the hand

const percent = (value) => `${100 * value}%`;

// What was drawn, between two points of a picture given as shares of its width and height.
function lay(node, kind, [u, v], [s, t], ratio) {
  if (kind === 'box') {
    Object.assign(node.style, {
      left: percent(Math.min(u, s)),
      top: percent(Math.min(v, t)),
      width: percent(Math.abs(s - u)),
      height: percent(Math.abs(t - v)),
    });
    return;
  }
  const [across, down] = [s - u, (t - v) / ratio]; // both in widths of the picture
  Object.assign(node.style, {
    left: percent(u),
    top: percent(v),
    width: percent(Math.hypot(across, down)),
    rotate: `${Math.atan2(down, across)}rad`,
  });
}

// Let a picture take measurements. ``at`` turns shares of the picture into mm, ``done`` hears of what was drawn and
// answers with the words beside it.
export class Measuring {
  constructor(picture, ratio, at, done) {
    Object.assign(this, { picture, ratio, at, done, drawn: [] });
    picture.addEventListener('pointerdown', (event) => this.begin(event));
  }

  share(event) {
    const box = this.picture.getBoundingClientRect();
    const inside = (value) => Math.min(1, Math.max(0, value));
    return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
  }

  begin(event) {
    const kind = desk.tool;
    if (event.button !== 0 || kind === 'crosshair') return;
    event.preventDefault();
    const start = this.share(event);
    const node = el('i', { class: `drawn drawn-${kind}` });
    const from = this.index;
    this.picture.append(node);
    this.picture.setPointerCapture(event.pointerId);
    const move = (now) => lay(node, kind, start, this.share(now), this.ratio);
    move(event);
    const end = (now) => {
      this.picture.removeEventListener('pointermove', move);
      for (const one of ['pointerup', 'pointercancel']) this.picture.removeEventListener(one, end);
      const last = this.share(now);
      const [a, b] = [this.at(start), this.at(last)];
      const mm = Math.hypot(...a.map((value, i) => value - b[i]));
      if (now.type !== 'pointerup' || mm < LEAST_MM) node.remove();
      else this.keep({ node, kind, index: from, a, b, mm }, last);
    };
    this.picture.addEventListener('pointermove', move);
    for (const one of ['pointerup', 'pointercancel']) this.picture.addEventListener(one, end);
  }

  async keep(mark, [u, v]) {
    const label = el('b', { class: u > 0.7 ? 'measured turned' : 'measured', style: { left: percent(u), top: percent(v) } });
    this.drawn.push({ ...mark, label });
    label.textContent = await this.done(mark);
    this.picture.append(label);
    this.show(this.index);
  }

  // Only what was drawn on the slice that is on screen is seen.
  show(index) {
    this.index = index;
    for (const { node, label, index: own } of this.drawn) node.hidden = label.hidden = own !== index;
  }

  clear() {
    for (const { node, label } of this.drawn) {
      node.remove();
      label.remove();
    }
    this.drawn = [];
  }
}
