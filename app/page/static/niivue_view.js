// The scan drawn by NiiVue on WebGL2: planes as a workstation shows them, masks as a coloured overlay.
import { complain, el } from './dom.js';
import { base, desk } from './desk.js';
import { WINDOWS } from './tools.js';

const AXIAL = 0,
  CORONAL = 1,
  SAGITTAL = 2;
const MODE = { none: 0, length: 2, pan: 3, box: 6, crosshair: 8, window: 9 }; // NiiVue's DRAG_MODE
const PREVIEW_FROM = 24e6; // voxels from which a coarse preview is shown first
const HEAT_FROM = 0.2; // of 1: less is not worth a colour
const SOLID = [400, 700]; // level and width in 3D, HU: bone, metal and enhanced blood
const FOG_HU = -300; // a window that begins below makes a fog of the lungs and of the air around the patient
const FRONT = [160, 8]; // azimuth and elevation in 3D: from the front, a little from the side
const EDGE_PX = 2;
const LARGE = [
  { sliceType: AXIAL, position: [0, 0, 0.66, 1] },
  { sliceType: CORONAL, position: [0.66, 0, 0.34, 0.5] },
  { sliceType: SAGITTAL, position: [0.66, 0.5, 0.34, 0.5] },
];
const LAYOUTS = {
  large: 'Axial large',
  grid: 'Grid',
  axial: 'Axial',
  coronal: 'Coronal',
  sagittal: 'Sagittal',
  solid: '3D',
};
const SLICE_TYPE = { grid: 3, axial: AXIAL, coronal: CORONAL, sagittal: SAGITTAL, solid: 4 };

let script;
const niivue = () =>
  (script ??= new Promise((ok, no) => {
    const failed = () => {
      script = null;
      no(new Error('NiiVue is not installed: run “make viewer”.'));
    };
    document.head.append(el('script', { src: '/own/niivue.js', on: { load: () => ok(window.niivue), error: failed } }));
  }));

function options() {
  return {
    backColor: [0, 0, 0, 1],
    crosshairColor: [0.34, 0.71, 0.91, 0.9],
    crosshairWidth: 0.9,
    crosshairWidthUnit: 'mm',
    crosshairGap: 8,
    isRadiologicalConvention: true,
    sagittalNoseLeft: true,
    isCornerOrientationText: false,
    showAllOrientationMarkers: false,
    fontColor: [0.96, 0.76, 0.26, 1],
    multiplanarShowRender: 1,
    multiplanarLayout: 2,
    multiplanarEqualSize: false,
    isRuler: true,
    isNearestInterpolation: false,
    dragAndDropEnabled: false,
    logLevel: 'error',
    loadingText: '',
    scrollRequiresFocus: false,
    trustCalMinMax: false,
    viewModeHotKey: '',
    clipPlaneHotKey: '',
    cycleClipPlaneHotKey: '',
    measureLineColor: [0.34, 0.71, 0.91, 1],
    measureTextColor: [1, 1, 1, 1],
  };
}

// Colours of the masks that lie over each other at a voxel: of the lit one, else of the topmost that is not hidden.
function table({ legend, stacks }, look) {
  const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [''] };
  const colours = new Map(legend.map(({ label, colour }) => [label, colour]));
  stacks.forEach((stack, n) => {
    const label = stack.includes(look.lit) ? look.lit : stack.findLast((one) => !look.off.has(one));
    const [r, g, b] = colours.get(label) ?? [0, 0, 0];
    map.R.push(r);
    map.G.push(g);
    map.B.push(b);
    map.I.push(n + 1);
    map.labels.push('');
    map.A.push(!look.masks || label === undefined ? 0 : !look.lit || look.lit === label ? 255 : 75);
  });
  return map;
}

class NiivueView {
  kind = 'webgl2';

  layouts = LAYOUTS;

  tools = ['crosshair', 'length', 'box'];

  constructor(stage, open, look, viewer) {
    Object.assign(this, { stage, open, look, viewer });
    this.canvas = el('canvas', {
      tabindex: 0,
      role: 'application',
      'aria-label': 'CT: axial, coronal and sagittal plane. Arrow keys and Page Up, Page Down move the crosshair.',
    });
    this.canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault();
      if (!this.closed) viewer.restart(); // the graphics driver took it: draw anew
    });
  }

  // A large scan is on screen as a coarse preview at once; its full resolution comes behind it.
  async start() {
    this.library = await niivue();
    if (!this.library) throw new Error('its file is not whole: run “make viewer” again.');
    this.nv = new this.library.Niivue(options());
    this.stage.replaceChildren(this.canvas);
    await this.nv.attachToCanvas(this.canvas, false);
    this.nv.drawSelectionBox = (box) => this.outline(box);
    this.nv.setRenderAzimuthElevation(...FRONT);
    const large = this.open.shape.reduce((a, b) => a * b, 1) > PREVIEW_FROM;
    this.scan = await this.add(this.source(large ? 'preview.nii' : 'ct.nii'));
    this.nv.onLocationChange = (where) => this.located(Array.from(where.mm).slice(0, 3));
    this.nv.onDragRelease = (drag) => this.dragged(drag);
    this.nv.onIntensityChange = () => this.viewer.say(this.mm());
    this.layout(this.look.layout);
    this.tool(desk.tool);
    if (large) this.sharpen().catch((fault) => complain(`Only the preview could be loaded: ${fault.message}`));
    else this.stage.dataset.full = '1';
    return this;
  }

  // What the reading found in the scan is laid over it, as soon as there is a reading.
  async lay(open) {
    this.open = open;
    if (!open.legend.length || this.laid) return;
    this.laid = true;
    try {
      await this.addMasks();
    } catch (fault) {
      complain(`The masks could not be loaded: ${fault.message}`);
    }
  }

  source(file) {
    const [level, width] = this.levels();
    return {
      url: `${base(this.open)}/picture/${file}`,
      name: file,
      colormap: 'gray',
      cal_min: level - width / 2,
      cal_max: level + width / 2,
    };
  }

  // A volume on top of those that are there; null when the view was closed meanwhile.
  async add(source) {
    const volume = await this.library.NVImage.loadFromUrl(source);
    if (this.closed) return null;
    this.nv.addVolume(volume);
    return volume;
  }

  async addMasks() {
    this.overlay = await this.add({
      url: `${base(this.open)}/picture/labels.nii.gz`,
      name: 'labels.nii.gz',
      opacity: this.look.opacity,
    });
    if (this.closed) return;
    this.masks();
    this.stage.dataset.masks = '1';
  }

  // A heat map of the reading over everything else, or none.
  async heat(entry) {
    const wanted = (this.heated = entry);
    if (this.warm) this.nv.removeVolume(this.warm);
    this.warm = null;
    if (entry) {
      const warm = await this.library.NVImage.loadFromUrl({
        url: `${base(this.open)}/picture/${entry.file}`,
        name: entry.file,
        colormap: 'warm',
        cal_min: HEAT_FROM,
        cal_max: 1,
        opacity: 0.5,
      });
      if (this.closed || this.heated !== wanted) return;
      this.nv.addVolume(warm);
      this.warm = warm;
    }
    this.stage.dataset.heat = entry?.finding ?? '';
  }

  // The full scan takes the preview's place below the masks; the crosshair stays where it was.
  async sharpen() {
    const full = await this.add(this.source('ct.nii'));
    if (!full) return;
    full.cal_min = this.scan.cal_min; // the window may have changed while it came
    full.cal_max = this.scan.cal_max;
    this.nv.setVolume(full, 0);
    this.nv.removeVolume(this.scan);
    this.scan = full;
    this.refresh();
    this.moveTo(this.last);
    this.stage.dataset.full = '1';
  }

  located(mm) {
    if (this.last && mm.every((value, i) => Math.abs(value - this.last[i]) < 0.02)) return;
    this.last = mm;
    this.viewer.atPoint(mm);
  }

  dragged(drag) {
    if (desk.tool === 'length' && drag.mmLength > 0.5) this.viewer.lengthDrawn(drag.mmLength);
    if (desk.tool !== 'box') return;
    const a = Array.from(drag.mmStart).slice(0, 3);
    const b = Array.from(drag.mmEnd).slice(0, 3);
    if (a.some((value, i) => Math.abs(value - b[i]) > 1))
      this.viewer.boxDrawn(
        a.map((v, i) => Math.min(v, b[i])),
        a.map((v, i) => Math.max(v, b[i])),
      );
  }

  // What a box measures is a rectangle, so that is what is drawn: NiiVue would draw an ellipse into it.
  outline([left, top, width, height]) {
    const { nv, canvas } = this;
    nv.gl.viewport(0, 0, canvas.width, canvas.height);
    for (const edge of [
      [left, top, width, EDGE_PX],
      [left, top + height - EDGE_PX, width, EDGE_PX],
      [left, top, EDGE_PX, height],
      [left + width - EDGE_PX, top, EDGE_PX, height],
    ])
      nv.drawRect(edge, nv.opts.measureLineColor);
  }

  mm() {
    return Array.from(this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true)).slice(0, 3);
  }

  moveTo(mm) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm, 0, true); // true: the millimetres that onLocationChange reports
    this.nv.drawScene();
    this.located(this.mm());
  }

  step(x, y, z) {
    this.nv.moveCrosshairInVox(x, y, z);
  }

  window(level, width) {
    const fog = this.solid && level - width / 2 < FOG_HU;
    this.flat = fog ? [level, width] : null; // of the planes, taken up again after 3D
    this.range(...(fog ? SOLID : [level, width]));
  }

  range(level, width) {
    this.scan.cal_min = level - width / 2;
    this.scan.cal_max = level + width / 2;
    this.refresh();
  }

  // Uploading the volumes anew is most of the time of a click: it is done once, however much has changed.
  refresh() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      if (!this.closed) this.nv.updateGLVolume();
    });
  }

  levels() {
    if (!this.scan) return WINDOWS[this.look.window];
    const { cal_min: low, cal_max: high } = this.scan;
    return [(low + high) / 2, high - low];
  }

  masks() {
    if (!this.overlay) return; // it is still on its way, and will look as it should
    this.overlay.setColormapLabel(table(this.open, this.look));
    this.overlay.opacity = this.look.opacity;
    this.refresh();
  }

  layout(name) {
    const solid = name === 'solid';
    if (solid && !this.solid) {
      this.flat = this.levels();
      this.range(...SOLID);
    } else if (!solid && this.flat) {
      this.range(...this.flat);
      this.flat = null;
    }
    this.solid = solid;
    if (name === 'large') {
      this.nv.setCustomLayout(LARGE);
      return;
    }
    this.nv.clearCustomLayout();
    this.nv.setSliceType(SLICE_TYPE[name]);
  }

  tool(name) {
    this.nv.setMouseEventConfig({
      leftButton: { primary: MODE[name] },
      rightButton: MODE.window,
      centerButton: MODE.pan,
    });
    this.canvas.dataset.tool = name;
  }

  reset() {
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    this.nv.clearAllMeasurements();
    this.nv.drawScene();
  }

  state() {
    const { scan, overlay } = this;
    return { mm: this.mm(), range: [scan.cal_min, scan.cal_max], opacity: overlay?.opacity };
  }

  close() {
    this.closed = true;
    this.nv?.gl?.getExtension('WEBGL_lose_context')?.loseContext();
    this.canvas.remove();
  }
}

export const draw = (stage, open, look, viewer) => new NiivueView(stage, open, look, viewer).start();
