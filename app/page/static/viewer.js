// The viewer's frame: tools and windows, the stage, the legend, and the line that says where the crosshair stands.
// The pictures are drawn by NiiVue (niivue_view.js), or as slices from the server (slice_view.js) without WebGL2.
import { announce, button, complain, el } from './dom.js';
import { address, ask, desk, moved, on, onKey, target } from './desk.js';
import { Grid } from './geometry.js';
import { legend } from './legend.js';
import { post } from './net.js';

// Level and width, HU: the settings of common workstations.
export const WINDOWS = {
  lung: [-600, 1500],
  mediastinum: [40, 400],
  bone: [400, 1800],
  liver: [90, 150],
  brain: [40, 80],
};
const TOOLS = { crosshair: ['Crosshair', 'c'], length: ['Length', 'd'], box: ['Box', 'b'] };
const PAUSE_MS = 120; // the server is asked when the hand rests

export const canDraw = () => {
  if (new URLSearchParams(location.search).has('slices')) return false;
  const gl = document.createElement('canvas').getContext('webgl2');
  const able = !!gl && gl.getParameter(gl.MAX_3D_TEXTURE_SIZE) >= 512;
  gl?.getExtension('WEBGL_lose_context')?.loseContext();
  return able;
};

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
    this.bar = el('div', { class: 'bar', role: 'toolbar', 'aria-label': 'Viewer' });
    this.where = el('div', { class: 'where', id: 'where' }, 'No point chosen.');
    this.pointed = el('div', { class: 'row pointed' });
    this.legend = legend(this);
    slot.replaceChildren(
      this.bar,
      el('div', { class: 'screen' }, this.stage, this.corner),
      el('div', { class: 'under' }, this.where, this.pointed),
      this.legend.node,
    );
    on('case', (open) => this.load(open));
    on('go', (target) => this.go(target));
    this.keys();
  }

  async load(open) {
    this.view?.close();
    this.view = null;
    this.stage.replaceChildren(el('p', { class: 'quiet' }, open ? 'Loading the scan …' : ''));
    this.corner.textContent = '';
    delete this.stage.dataset.ready;
    if (!open) return;
    Object.assign(this.look, { window: 'mediastinum', lit: 0, off: new Set() });
    this.pointed.replaceChildren();
    this.queued = null;
    const view = await this.start(open);
    if (!view) return;
    if (desk.case !== open) {
      view.close();
      return;
    }
    this.view = view;
    this.paint();
    this.legend.fill(open);
    const first = this.queued ?? this.firstPoint(open);
    this.go(first);
    this.stage.dataset.ready = this.view.kind;
  }

  // NiiVue where the browser can; slices from the server where it cannot, or where NiiVue does not start.
  async start(open) {
    for (const kind of canDraw() ? ['./niivue_view.js', './slice_view.js'] : ['./slice_view.js']) {
      try {
        return await (await import(kind)).draw(this.stage, open, this.look, this);
      } catch (fault) {
        complain(`${kind === './slice_view.js' ? 'The viewer' : 'NiiVue'} did not start: ${fault.message}`);
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
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.askPoint(mm), PAUSE_MS);
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
      if (desk.case !== open || this.view?.mm().some((value, i) => Math.abs(value - mm[i]) > 0.05)) return;
      const seen = open.legend.find((entry) => entry.label === here.label);
      const names = [here.structure, seen && seen.name].filter(Boolean).join(' · ');
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
    this.pointed.replaceChildren(
      button('Ask about this point', () => ask({ text: 'What is here?', point }), { id: 'ask-point' }),
      desk.box
        ? button('Ask about this box', () => ask({ text: 'What is in this box?', box: desk.box }), { id: 'ask-box' })
        : '',
    );
  }

  async boxDrawn(low, high) {
    desk.box = [low, high];
    this.offer();
    try {
      const found = await post(address('/region'), { low, high });
      if (found.mean_hu === undefined) return;
      const text = `Box: ${found.mean_hu.toFixed(0)} ± ${found.sd_hu.toFixed(0)} HU, ${found.ml.toFixed(2)} ml`;
      this.where.textContent = `${this.place ?? ''}   ${text}`;
      announce(text);
    } catch (fault) {
      complain(fault.message);
    }
  }

  lengthDrawn(mm) {
    const text = `Length: ${mm.toFixed(1)} mm`;
    this.where.textContent = `${this.place ?? ''}   ${text}`;
    announce(text);
  }

  setWindow(name) {
    this.look.window = name;
    this.view?.window(...WINDOWS[name]);
    this.paint();
    if (this.view) this.say(this.view.mm());
  }

  setLayout(name) {
    this.look.layout = name;
    this.view?.layout(name);
    this.paint();
  }
  setTool(name) {
    desk.tool = name;
    this.view?.tool(name);
    this.paint();
  }
  toggleMasks() {
    this.look.masks = !this.look.masks;
    this.view?.masks();
    this.paint();
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
    keys.r = () => this.view?.reset();
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

  group(label, items, now, choose) {
    return el(
      'div',
      { class: 'group', role: 'group', 'aria-label': label },
      items.map(([name, text, key]) =>
        button(text, () => choose(name), {
          'aria-pressed': String(name === now),
          'data-name': name,
          title: key ? `${text}, key ${key}` : text,
        }),
      ),
    );
  }

  chooser(label, items, now, choose) {
    return el(
      'select',
      {
        'aria-label': label,
        title: `${label}, key l`,
        'data-name': label,
        on: { change: (event) => choose(event.target.value) },
      },
      items.map(([name, text]) => el('option', { value: name, selected: name === now }, text)),
    );
  }

  paint() {
    if (!this.view) return;
    const focused = document.activeElement?.dataset?.name;
    const layouts = Object.entries(this.view.layouts);
    const tools = Object.entries(TOOLS)
      .filter(([name]) => this.view.tools.includes(name))
      .map(([name, [text, key]]) => [name, text, key]);
    this.bar.replaceChildren(
      this.group(
        'Window',
        Object.keys(WINDOWS).map((name, n) => [name, name[0].toUpperCase() + name.slice(1), n + 1]),
        this.look.window,
        (name) => this.setWindow(name),
      ),
      layouts.length > 1 ? this.chooser('Layout', layouts, this.look.layout, (name) => this.setLayout(name)) : '',
      tools.length > 1 ? this.group('Tool', tools, desk.tool, (name) => this.setTool(name)) : '',
      el(
        'div',
        { class: 'group' },
        button('Masks', () => this.toggleMasks(), {
          'aria-pressed': String(this.look.masks),
          title: 'Masks, key m',
          'data-name': 'masks',
        }),
        button('Reset', () => this.view.reset(), { title: 'Reset zoom and measurements, key r', 'data-name': 'reset' }),
      ),
    );
    if (focused) this.bar.querySelector(`[data-name="${focused}"]`)?.focus();
  }
}

export function mount(slot) {
  if (slot.dataset.mounted) return;
  slot.dataset.mounted = '1';
  desk.viewer = new Viewer(slot);
  if (desk.case) desk.viewer.load(desk.case); // this part may come up after the case was opened
}
