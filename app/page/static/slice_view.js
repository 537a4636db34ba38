// The scan without WebGL2: three slices drawn by the server, a slider each, the same crosshair.
import { el } from './dom.js';
import { base } from './desk.js';
import { Grid } from './geometry.js';
import { WINDOWS } from './tools.js';

// plane: axis through the slices, axis along the columns, axis along the rows. RAS: all run against the screen.
const LETTERS = { axial: 'RA', coronal: 'RS', sagittal: 'AS' }; // what lies to the left and at the top
const PLANES = { axial: [2, 0, 1], coronal: [1, 0, 2], sagittal: [0, 1, 2] };

class SliceView {
  kind = 'slices';

  layouts = { large: 'Axial large', axial: 'Axial', coronal: 'Coronal', sagittal: 'Sagittal' };

  tools = ['crosshair'];

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
            const box = image.getBoundingClientRect();
            this.ijk[across] = this.grid.clamp(
              across,
              shape[across] - 1 - Math.floor(((event.clientX - box.left) / box.width) * shape[across]),
            );
            this.ijk[down] = this.grid.clamp(
              down,
              shape[down] - 1 - Math.floor(((event.clientY - box.top) / box.height) * shape[down]),
            );
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
    return {
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
      const { image, lines, slider } = this.cells[plane];
      const source = `${base(this.open)}/slice/${plane}/${this.ijk[through]}?${query}`;
      const seen = this.look.layout === plane || !(this.look.layout in PLANES);
      if (seen && image.getAttribute('src') !== source) image.src = source;
      image.alt = `${plane} slice ${this.ijk[through] + 1} of ${shape[through]}`;
      slider.value = this.ijk[through];
      lines[0].style.top = `${(1 - (this.ijk[down] + 0.5) / shape[down]) * 100}%`;
      lines[1].style.left = `${(1 - (this.ijk[across] + 0.5) / shape[across]) * 100}%`;
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

  tool() {}

  reset() {
    this.show();
  }

  state() {
    return { mm: this.mm() };
  }

  close() {
    this.stage.replaceChildren();
  }
}

export const draw = async (stage, open, look, viewer) => new SliceView(stage, open, look, viewer);
