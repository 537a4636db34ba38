// A second scan beside the open one: a prior, or a similar case. Moving in one moves in the other, as long as they
// are linked; unlinked they are moved apart, and linked again they keep the distance that they then have.
//
// Asked for by the event "beside": {id, title, shape, spacing_mm, affine, legend}, with to_current_mm (4 x 4, from its
// millimetres to those of the open scan) where it is known how both lie on each other, and base where its pictures
// and points are not at /api/cases/ID.
import { button, el } from './dom.js';
import { base, tell } from './desk.js';
import { Grid, transform } from './geometry.js';
import { post } from './net.js';

const PAUSE_MS = 120;
const SAME_MM = 0.05;
const IDENTITY = [0, 1, 2, 3].map((i) => [0, 1, 2, 3].map((j) => +(i === j)));

export class Beside {
  constructor(viewer, other) {
    Object.assign(this, { viewer, other, look: { ...viewer.look, off: new Set(), lit: 0, layout: 'axial' } });
    for (const entry of other.legend) if (!entry.finding) this.look.off.add(entry.label);
    this.stage = el('div', { class: 'pane' });
    this.said = el('span', { class: 'said' });
    this.box = el('input', { type: 'checkbox', checked: true, on: { change: () => this.relink() } });
    this.node = el(
      'section',
      { class: 'beside', 'aria-label': other.title },
      el(
        'div',
        { class: 'row spread' },
        el('b', {}, other.title),
        this.said,
        el('label', { class: 'row' }, this.box, ' Linked'),
        button('Close', () => tell('beside', null), { 'aria-label': `Close ${other.title}` }),
      ),
      this.stage,
    );
    this.way = transform(other.to_current_mm ?? IDENTITY);
    this.apart = [0, 0, 0];
    if (!other.to_current_mm) {
      const [mine, its] = [new Grid(viewer.open).middle(), new Grid(other).middle()];
      this.apart = its.map((value, i) => value - mine[i]);
    }
  }

  async start(draw) {
    this.view = await draw(this.stage, this.other, this.look, this);
    this.view.lay?.(this.other);
    this.follow(this.viewer.view.mm());
    this.node.dataset.ready = this.view.kind;
  }

  // The open scan moved.
  follow(mm) {
    if (!this.view || !this.box.checked) return;
    this.place(this.way.back(mm).map((value, i) => value + this.apart[i]));
  }

  place(mm) {
    this.led = true;
    this.view.moveTo(mm);
    this.led = false;
  }

  // This scan moved: led by the open one, or by hand. The rest of what a view tells its viewer does not concern it.
  atPoint(mm) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tellPoint(mm), PAUSE_MS);
    if (this.led || !this.view || !this.box.checked) return;
    const there = this.way.there(mm.map((value, i) => value - this.apart[i]));
    if (this.viewer.view.mm().some((value, i) => Math.abs(value - there[i]) > SAME_MM)) {
      this.leading = true;
      this.viewer.view.moveTo(there);
      this.leading = false;
    }
  }

  relink() {
    if (!this.box.checked) return;
    const there = this.way.back(this.viewer.view.mm());
    this.apart = this.view.mm().map((value, i) => value - there[i]);
  }

  async tellPoint(mm) {
    try {
      const { hu } = await post(`${base(this.other)}/point`, { mm });
      const k = new Grid(this.other).toVoxel(mm)[2];
      this.said.textContent = `Im ${k + 1}/${this.other.shape[2]}  ${hu === null ? 'outside the scan' : `${hu} HU`}`;
    } catch {
      this.said.textContent = ''; // it was removed meanwhile; its picture says so when it is loaded
    }
  }

  say() {}

  // A similar case of a library has no voxels on the server at full resolution: its boxes are only drawn.
  async boxDrawn(low, high) {
    if (this.other.base) return '';
    const found = await post(`${base(this.other)}/region`, { low, high });
    return found.mean_hu === undefined ? '' : `${found.mean_hu.toFixed(0)} ± ${found.sd_hu.toFixed(0)} HU`;
  }

  lengthDrawn(mm) {
    this.viewer.lengthDrawn(mm);
  }

  restart() {
    tell('beside', null);
  }

  close() {
    clearTimeout(this.timer);
    this.view?.close();
    this.node.remove();
  }
}
