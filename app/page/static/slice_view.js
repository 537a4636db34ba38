// The scan without WebGL2: three slices drawn by the server, a slider each, the same crosshair.
import { el } from './dom.js';
import { base, desk } from './desk.js';
import { Grid } from './geometry.js';
import { Measuring } from './measuring.js';
import { WINDOWS } from './tools.js';

// plane: axis through the slices, axis along the columns, axis along the rows. RAS: all run against the screen.
const LETTERS = { axial: 'RA', coronal: 'RS', sagittal: 'AS' }; // what lies to the left and at the top
const PLANES = { axial: [2, 0, 1], coronal: [1, 0, 2], sagittal: [0, 1, 2] };

class SliceView {
  kind = 'slices';

  layouts = { large: 'Axial large', axial: 'Axial', coronal: 'Coronal', sagittal: 'Sagittal' };

  tools = ['crosshair', 'length', 'box'];

  constructor(stage, open, look, viewer) {
    Object.assign(this, { stage, open, look, viewer });
    this.grid = new Grid(open);
    this.ijk = open.shape.map((n) => n >> 1);
    this.cells = Object.fromEntries(Object.keys(PLANES).map((plane) => [plane, this.cell(plane)]));
    this.node = el(
      'div',
      { class: 'slices', 'data-layout': look.layout in PLANES ? look.layout : 'large' },
      Object.values(this.cells).map((cell) => cell.node),
    );
    stage.replaceChildren(this.node);
    this.tool(desk.tool);
  }

  lay(open) {
    this.open = open;
    this.stage.dataset.full = '1';
    if (open.legend.length) this.stage.dataset.masks = '1';
    this.show();
  }

  cell(plane) {
    const [through, across, down] = PLANES[plane];
    const { shape, spacing_mm: spacing } = this.open;
    const image = el('img', { draggable: 'false', alt: '' });
    const ratio = (shape[across] * spacing[across]) / (shape[down] * spacing[down]);
    // Shares of the picture's width and height -> voxels, with their parts.
    const within = (u, v) => {
      const ijk = [...this.ijk];
      ijk[across] = (1 - u) * shape[across] - 0.5;
      ijk[down] = (1 - v) * shape[down] - 0.5;
      return ijk;
    };
    const lines = [el('i', { class: 'line across' }), el('i', { class: 'line down' })];
    const slider = el('input', {
      type: 'range',
      min: 0,
      max: shape[through] - 1,
      'aria-label': `${plane} slice`,
      on: {
        input: () => {
          this.ijk[through] = +slider.value;
          this.show();
        },
      },
    });
    const picture = el(
      'div',
      {
        class: 'picture',
        style: { aspectRatio: ratio, width: `min(100cqw, ${100 * ratio}cqh)` },
        on: {
          click: (event) => {
            if (desk.tool !== 'crosshair') return;
            const box = image.getBoundingClientRect();
            const here = within((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
            this.ijk = here.map((value, axis) => this.grid.clamp(axis, Math.round(value)));
            this.show();
          },
          wheel: (event) => {
            event.preventDefault();
            const by = [0, 0, 0];
            by[through] = event.deltaY < 0 ? 1 : -1;
            this.step(...by);
          },
        },
      },
      image,
      lines,
      el('b', { class: 'letter-left', 'aria-hidden': 'true' }, LETTERS[plane][0]),
      el('b', { class: 'letter-top', 'aria-hidden': 'true' }, LETTERS[plane][1]),
    );
    const drawn = new Measuring(
      picture,
      ratio,
      (share) => this.grid.toMm(within(...share)),
      (mark) => this.measured(mark),
    );
    return {
      drawn,
      node: el('figure', { class: plane }, el('div', { class: 'frame' }, picture), el('figcaption', {}, plane, slider)),
      image,
      lines,
      slider,
    };
  }

  mm() {
    return this.grid.toMm(this.ijk);
  }

  moveTo(mm) {
    this.ijk = this.grid.toVoxel(mm);
    this.show();
  }

  step(...by) {
    this.ijk = this.ijk.map((value, axis) => this.grid.clamp(axis, value + by[axis]));
    this.show();
  }

  show() {
    const [level, width] = WINDOWS[this.look.window];
    const { shape } = this.open;
    const strength = this.look.masks ? this.look.opacity : 0;
    const query = new URLSearchParams({ level, width, strength, hidden: [...this.look.off], lit: this.look.lit });
    if (this.warm) query.set('heat', this.warm);
    for (const [plane, [through, across, down]] of Object.entries(PLANES)) {
      const { image, lines, slider, drawn } = this.cells[plane];
      const source = `${base(this.open)}/slice/${plane}/${this.ijk[through]}?${query}`;
      const seen = this.look.layout === plane || !(this.look.layout in PLANES);
      if (seen && image.getAttribute('src') !== source) image.src = source;
      image.alt = `${plane} slice ${this.ijk[through] + 1} of ${shape[through]}`;
      slider.value = this.ijk[through];
      drawn.show(this.ijk[through]);
      const [from, top] = [across, down].map((axis) => `${(1 - (this.ijk[axis] + 0.5) / shape[axis]) * 100}%`);
      lines[0].style.top = top;
      lines[1].style.left = from;
      lines[0].style.setProperty('--at', from);
      lines[1].style.setProperty('--at', top);
    }
    this.viewer.atPoint(this.mm());
  }

  window() {
    this.show();
  }

  masks() {
    this.show();
  }

  layout(name) {
    this.look.layout = name;
    this.node.dataset.layout = name in PLANES ? name : 'large';
    this.show();
  }

  heat(entry) {
    this.warm = entry?.finding ?? '';
    this.stage.dataset.heat = this.warm;
    this.show();
  }

  tool(name) {
    this.node.dataset.tool = name;
  }

  // The words beside what was drawn; a box is one slice thick.
  async measured({ kind, a, b, mm }) {
    if (kind === 'length') {
      this.viewer.lengthDrawn(mm);
      return `${mm.toFixed(1)} mm`;
    }
    const low = a.map((value, i) => Math.min(value, b[i]));
    return this.viewer.boxDrawn(
      low,
      a.map((value, i) => Math.max(value, b[i])),
    );
  }

  reset() {
    for (const { drawn } of Object.values(this.cells)) drawn.clear();
    this.show();
  }

  state() {
    return { mm: this.mm() };
  }

  close() {
    this.node.remove();
  }
}

export const draw = async (stage, open, look, viewer) => new SliceView(stage, open, look, viewer);
