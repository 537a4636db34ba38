// A scan on its way in: files from a drop, a folder or a file dialog, sent four at a time, then looked at.
import { announce, button, complain, el } from './dom.js';
import { post, put, remove } from './net.js';

const AT_ONCE = 4;

async function walk(entry, out) {
  if (entry.isFile) out.push(await new Promise((ok, no) => entry.file(ok, no)));
  else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((ok, no) => reader.readEntries(ok, no));
      if (!some.length) break;
      for (const one of some) await walk(one, out);
    }
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [];
  for (const entry of entries) await walk(entry, files);
  return entries.length ? files : [...transfer.files];
}

// The names of files stay in the browser: the server numbers them.
async function send(files, show) {
  const chosen = files.filter((file) => !file.name.startsWith('.'));
  const size = chosen.reduce((sum, file) => sum + file.size, 0);
  const { id } = await post('/api/cases', { files: chosen.length, bytes: size });
  let next = 0;
  let sent = 0;
  const one = async () => {
    while (next < chosen.length) {
      const n = next++;
      await put(`/api/cases/${id}/files/${n + 1}`, chosen[n]);
      sent += chosen[n].size;
      show(sent / size, `${next} of ${chosen.length} files`);
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  } catch (fault) {
    await remove(`/api/cases/${id}`).catch(() => {});
    throw fault;
  }
  show(1, 'looking at what arrived');
  await post(`/api/cases/${id}/look`);
  return id;
}

export function uploader(arrived) {
  const bar = el('progress', { max: 1, value: 0, hidden: true, 'aria-label': 'Upload' });
  const said = el('span', { class: 'said', role: 'status' });
  const take = async (files) => {
    if (!files.length) return;
    bar.hidden = false;
    try {
      const id = await send(files, (share, text) => {
        bar.value = share;
        said.textContent = text;
      });
      announce('The files have arrived.');
      arrived(id);
    } catch (fault) {
      complain(fault.message);
    } finally {
      bar.hidden = true;
      said.textContent = '';
    }
  };
  const input = (name, label, folder) => {
    const field = el('input', {
      type: 'file',
      id: name,
      class: 'vh',
      multiple: true,
      tabindex: -1,
      'aria-label': label,
      webkitdirectory: folder,
      on: {
        change: () => {
          take([...field.files]);
          field.value = '';
        },
      },
    });
    return [field, button(label, () => field.click(), { class: 'b strong' })];
  };
  const zone = el(
    'section',
    {
      class: 'drop',
      'aria-label': 'New scan',
      on: {
        dragover: (event) => {
          event.preventDefault();
          zone.classList.add('over');
        },
        dragleave: () => zone.classList.remove('over'),
        drop: async (event) => {
          event.preventDefault();
          zone.classList.remove('over');
          take(await dropped(event.dataTransfer));
        },
      },
    },
    el('p', {}, 'Drop a DICOM folder, a zip or a NIfTI file here, or choose one. It stays on this machine.'),
    el(
      'div',
      { class: 'row' },
      input('folder', 'Choose a folder', true),
      input('file', 'Choose a file', false),
      bar,
      said,
    ),
  );
  return zone;
}
