// The viewer's frame: tools and windows, the stage, the legend, and the line that says where the crosshair stands.
// The pictures are drawn by NiiVue (niivue_view.js), or as slices from the server (slice_view.js) without WebGL2.
import { announce, button, complain, el } from './dom.js';
import { Beside } from './beside.js';
import { address, ask, desk, moved, on, onKey, part, target, tell } from './desk.js';
import { Grid } from './geometry.js';
import { legend } from './legend.js';
import { post } from './net.js';
import { TOOLS, WINDOWS, paintTools } from './tools.js';

const PAUSE_MS = 120; // the server is asked when the hand rests
const NEAR_MM = 0.5;

export const canDraw = () => {
  if (new URLSearchParams(location.search).has('slices')) return false;
  const gl = document.createElement('canvas').getContext('webgl2');
  const able = !!gl && gl.getParameter(gl.MAX_3D_TEXTURE_SIZE) >= 512;
  gl?.getExtension('WEBGL_lose_context')?.loseContext();
  return able;
};

const drawing = async (kind) => (await import(kind === 'slices' ? './slice_view.js' : './niivue_view.js')).draw;

class Viewer {
  constructor(slot) {
    this.look = {
      window: 'mediastinum',
      layout: matchMedia('(max-width: 760px)').matches ? 'axial' : 'large',
      masks: true,
      opacity: 0.45,
      lit: 0,
      off: new Set(),
    };
    this.stage = el('div', { class: 'stage' });
    this.corner = el('div', { class: 'corner', 'aria-hidden': 'true' });
    this.screen = el('div', { class: 'screen' }, el('div', { class: 'open-scan' }, this.stage, this.corner));
    this.bar = el('div', { class: 'bar', role: 'toolbar', 'aria-label': 'Viewer' });
    this.where = el('div', { class: 'where', id: 'where' }, 'No point chosen.');
    this.pointed = el('div', { class: 'row pointed' });
    this.legend = legend(this);
    slot.replaceChildren(
      this.bar,
      this.screen,
      el('div', { class: 'under' }, this.where, this.pointed),
      this.legend.node,
    );
    this.keys();
    on('case', (open) => this.load(open));
    on('go', (target) => this.go(target));
    on('heat', (finding) => this.heat(finding));
    on('beside', (other) => this.beside(other));
  }

  // Gradio drew this part's place anew: the graphics memory is given back.
  close() {
    this.load(null);
  }

  // A case was opened, or the reading of the open one has come a stage further.
  async load(open) {
    if (open?.shape && open.id === this.open?.id) {
      this.lay(open);
      return;
    }
    this.beside(null);
    this.view?.close();
    this.view = null;
    this.open = open?.shape ? open : null;
    this.corner.textContent = '';
    this.where.textContent = 'No point chosen.';
    for (const key of Object.keys(this.stage.dataset)) delete this.stage.dataset[key];
    this.stage.replaceChildren(
      el('p', { class: 'quiet' }, this.open ? 'Loading the scan …' : open ? 'The scan is not there yet …' : ''),
    );
    this.legend.fill(null);
    this.pointed.replaceChildren();
    this.queued = this.put = this.heated = this.place = null;
    const mine = (this.loading = {});
    if (!this.open) return;
    Object.assign(this.look, { window: 'mediastinum', lit: 0, off: new Set() });
    const view = await this.start(open);
    if (!view) return;
    if (this.loading !== mine) {
      view.close(); // another case was opened meanwhile, or this one anew
      return;
    }
    this.view = view;
    this.lay(desk.case);
    this.stage.dataset.ready = this.view.kind;
    if (this.aside) this.beside(this.aside);
  }

  // What the reading found, over the scan that is on screen. The crosshair goes to where the impression leads, unless
  // somebody has moved it while the scan was being read.
  lay(open) {
    this.open = open;
    if (!this.view) return;
    this.paint();
    this.legend.fill(open);
    this.view.lay(open);
    if (this.heated) this.heat(this.heated);
    if (this.place) this.rest(); // there may be a finding under the crosshair now
    const still = !this.put || this.view.mm().every((value, i) => Math.abs(value - this.put[i]) < NEAR_MM);
    if (!this.queued && !still) return;
    this.go(this.queued ?? this.firstPoint(open));
    this.queued = null;
    this.put = this.view.mm();
  }

  // The graphics driver took the picture away.
  restart() {
    this.open = null;
    this.load(desk.case);
  }

  // NiiVue where the browser can; slices from the server where it cannot, or where NiiVue does not start.
  async start(open) {
    for (const kind of canDraw() ? ['webgl2', 'slices'] : ['slices']) {
      try {
        return await (await drawing(kind))(this.stage, open, this.look, this);
      } catch (fault) {
        complain(`${kind === 'slices' ? 'The viewer' : 'NiiVue'} did not start: ${fault.message}`);
      }
    }
    return null;
  }

  // A case opens where the first line of its impression leads.
  firstPoint(open) {
    const told = open.sections.find((section) => section.key === 'impression')?.sentences ?? [];
    return told.map((sentence) => target(sentence.cites)).find(Boolean) ?? { mm: new Grid(open).middle() };
  }

  go(target) {
    if (!this.view) {
      this.queued = target;
      return;
    }
    if (target.window && target.window !== this.look.window) this.setWindow(target.window);
    if (target.label != null && target.label !== this.look.lit) this.light(target.label);
    this.view.moveTo(target.mm);
    if (target.asked) this.took = performance.now() - target.asked;
  }

  // The view says that the crosshair moved: mm. The server says what lies there, when the hand rests.
  atPoint(mm) {
    const [x, y, z] = mm;
    const side = Math.abs(x) < 0.05 ? '' : x > 0 ? ' R' : ' L';
    this.place = `${Math.abs(x).toFixed(1)}${side} · ${Math.abs(y).toFixed(1)} ${y < 0 ? 'P' : 'A'} · ${Math.abs(z).toFixed(1)} ${z < 0 ? 'I' : 'S'} mm`;
    this.where.textContent = this.place;
    this.say(mm);
    moved({ mm, evidence: [] });
    if (!this.second?.leading) this.second?.follow(mm);
    this.rest();
  }

  // The server is asked what lies under the crosshair, unless it moves on.
  rest() {
    clearTimeout(this.timer);
    this.drawn = false;
    this.timer = setTimeout(() => this.view && this.askPoint(this.view.mm()), PAUSE_MS);
  }

  // What was drawn is said in place of the point: an answer that is under way comes too late.
  drew() {
    clearTimeout(this.timer);
    this.drawn = true;
  }

  // The corner of the screen: slice and window, as workstations write them.
  say(mm) {
    const [level, width] = this.view?.levels?.() ?? WINDOWS[this.look.window];
    const k = new Grid(desk.case).toVoxel(mm)[2];
    this.corner.textContent = `Im ${k + 1}/${desk.case.shape[2]}\nL ${Math.round(level)}  W ${Math.round(width)}`;
  }

  async askPoint(mm) {
    const open = desk.case;
    if (!open) return;
    try {
      const here = await post(address('/point'), { mm });
      if (desk.case?.id !== open.id || this.view?.mm().some((value, i) => Math.abs(value - mm[i]) > 0.05)) return;
      if (this.drawn) return;
      const seen = open.legend.filter((entry) => here.labels.includes(entry.label));
      const told = seen.filter((entry) => entry.finding || entry.label === this.look.lit).map((entry) => entry.name);
      const names = [...new Set([here.structure, ...told])].filter(Boolean).join(' · ');
      this.where.textContent = `${this.place}   ${here.hu === null ? 'outside the scan' : `${here.hu} HU`}   ${names}`;
      moved({ mm, ...here });
      this.offer();
    } catch (fault) {
      this.where.textContent = `${this.place}   ${fault.message}`;
    }
  }

  // "Ask about this": the point under the crosshair, or the box that was drawn.
  offer() {
    const point = desk.here?.mm;
    if (desk.case?.state !== 'ready') return;
    this.pointed.replaceChildren(
      button('Ask about this point', () => ask({ text: 'What is here?', point }), { id: 'ask-point' }),
      desk.box
        ? button('Ask about this box', () => ask({ text: 'What is in this box?', box: desk.box }), { id: 'ask-box' })
        : '',
    );
  }

  // Returns what the box holds, in words.
  async boxDrawn(low, high) {
    this.drew();
    desk.box = [low, high];
    this.offer();
    try {
      const found = await post(address('/region'), { low, high });
      if (found.mean_hu === undefined) return '';
      const size = found.mm2 ? `${(found.mm2 / 100).toFixed(2)} cm²` : `${found.ml.toFixed(2)} ml`;
      const told = `${found.mean_hu.toFixed(0)} ± ${found.sd_hu.toFixed(0)} HU, ${size}`;
      this.where.textContent = `${this.place ?? ''}   Box: ${told}`;
      announce(`Box: ${told}`);
      return told;
    } catch (fault) {
      complain(fault.message);
      return '';
    }
  }

  lengthDrawn(mm) {
    this.drew();
    const text = `Length: ${mm.toFixed(1)} mm`;
    this.where.textContent = `${this.place ?? ''}   ${text}`;
    announce(text);
  }

  setWindow(name) {
    this.look.window = name;
    this.view?.window(...WINDOWS[name]);
    if (this.second) {
      this.second.look.window = name;
      this.second.view?.window(...WINDOWS[name]);
    }
    this.paint();
    if (this.view) this.say(this.view.mm());
  }

  setLayout(name) {
    this.look.layout = name;
    this.view?.layout(name);
    if (this.second) this.second.view?.layout(name);
    this.paint();
    if (this.view) this.say(this.view.mm());
  }

  setTool(name) {
    desk.tool = name;
    this.view?.tool(name);
    this.second?.view?.tool(name);
    this.paint();
  }

  toggleMasks() {
    this.look.masks = !this.look.masks;
    this.view?.masks();
    if (this.second) {
      this.second.look.masks = this.look.masks;
      this.second.view?.masks();
    }
    this.paint();
  }

  // A heat map over the scan, or none for null.
  heat(finding) {
    const entry = desk.case?.heat.find((one) => one.finding === finding) ?? null;
    this.heated = entry && finding;
    this.view?.heat(entry);
    this.legend.warm(entry);
  }

  togglePrior() {
    const { prior } = desk.case ?? {};
    if (prior) tell('beside', this.second?.other === prior ? null : prior);
  }

  // Another scan beside this one; null puts it away. Both are shown as single planes while they stand together.
  async beside(other) {
    if (this.second) {
      this.second.close();
      this.second = null;
      if (this.view) this.setLayout(this.alone);
    }
    this.aside = this.view ? null : other; // shown when the scan is
    if (!other || !this.view) return;
    this.alone = this.look.layout;
    this.second = new Beside(this, other);
    this.screen.append(this.second.node);
    this.setLayout('axial');
    try {
      await this.second.start(await drawing(this.view.kind));
    } catch (fault) {
      complain(`${other.title} could not be shown: ${fault.message}`);
      tell('beside', null);
    }
  }

  reset() {
    this.view?.reset();
    this.second?.view?.reset();
  }

  light(label) {
    this.look.lit = label;
    this.view?.masks();
    this.legend.mark();
  }

  keys() {
    const keys = {};
    Object.keys(WINDOWS).forEach((name, n) => {
      keys[n + 1] = () => this.setWindow(name);
    });
    for (const [name, [, key]] of Object.entries(TOOLS)) keys[key] = () => this.setTool(name);
    keys.m = () => this.toggleMasks();
    keys.l = () => {
      const names = Object.keys(this.view?.layouts ?? {});
      if (names.length) this.setLayout(names[(names.indexOf(this.look.layout) + 1) % names.length]);
    };
    keys.r = () => this.reset();
    keys.o = () => this.togglePrior();
    const step = (x, y, z) => () => this.view?.step(x, y, z);
    Object.assign(keys, {
      PageUp: step(0, 0, 1),
      PageDown: step(0, 0, -1),
      ArrowUp: step(0, 1, 0),
      ArrowDown: step(0, -1, 0),
      ArrowLeft: step(1, 0, 0),
      ArrowRight: step(-1, 0, 0),
    });
    onKey(keys);
  }

  paint() {
    if (this.view) paintTools(this.bar, this);
  }
}

export const mount = part((slot) => {
  desk.viewer?.close();
  desk.viewer = new Viewer(slot);
});
