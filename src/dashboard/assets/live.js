// Keeps an open page true: how far jobs are as it happens, and whatever else has changed by asking for it again. Without this
// file every page works all the same.
const settleMs = 400;
const refreshMs = 60_000;
const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** Where a session's pages are. That is kept for this port alone: a cookie would tell it to every port of the host. */
const base = document.body.dataset.base;
const lastBase = localStorage.getItem('base') ?? '';
if (base !== '/') localStorage.setItem('base', base);
else if (location.pathname.startsWith('/s/')) localStorage.removeItem('base');
else if (location.pathname !== '/login' && /^\/s\/[\w-]+\/$/.test(lastBase))
  location.replace(lastBase + location.pathname.slice(1));

const parser = new DOMParser();
const table = document.getElementById('guests');
const live = document.getElementById('live');
const changed = new Set();
let isAsking = false;
let timer = 0;

const size = (bytes) => {
  let unit = 0;
  let amount = bytes;
  for (; amount >= 1024 && unit < units.length - 1; unit++) amount /= 1024;
  return `${amount.toFixed(1).replace(/\.0$/, '')} ${units[unit]}`;
};

/** The part of the page that somebody is in stays as it is, so that no button moves away under a hand. */
const replace = (found) => {
  const old = document.getElementById(found.id);
  if (!old || old.contains(document.activeElement)) return;
  if (old.outerHTML !== found.outerHTML) old.replaceWith(document.importNode(found, true));
};

const fetchPage = async (url) => {
  const response = await fetch(url, { headers: { accept: 'text/html' }, credentials: 'same-origin' });
  if (response.status === 401) location.assign('/login');
  if (!response.ok) throw new Error(String(response.status));
  return parser.parseFromString(await response.text(), 'text/html');
};

/** Of many guests the whole page is less to ask for. */
const urlOfChanges = () => {
  if (!table || changed.has('*') || changed.size > 40) return location.href;
  return `${base}rows?${[...changed].map((guest) => `guest=${encodeURIComponent(guest)}`).join('&')}`;
};

const refresh = async () => {
  if (isAsking || document.hidden) return;
  isAsking = true;
  const url = urlOfChanges();
  changed.clear();
  try {
    const found = await fetchPage(url);
    for (const part of found.querySelectorAll('#verdict, tr[id], [data-live]')) replace(part);
    applyFind();
  } catch {
    changed.add('*');
  } finally {
    isAsking = false;
    if (changed.size > 0) soon(settleMs * 10);
  }
};

const soon = (afterMs = settleMs) => {
  clearTimeout(timer);
  timer = setTimeout(refresh, afterMs);
};

const isAbout = (guest) =>
  table !== null ||
  location.pathname.startsWith(`${base}jobs/`) ||
  location.pathname === `${base}guests/${guest}`;

const onChanged = (event) => {
  const { guest } = JSON.parse(event.data);
  if (!isAbout(guest)) return;
  changed.add(guest);
  soon();
};

const onJob = (event) => {
  const { job, phase, doneBytes, totalBytes } = JSON.parse(event.data);
  for (const work of document.querySelectorAll('[data-job]')) {
    if (work.dataset.job !== job) continue;
    const bar = work.querySelector('progress');
    const isCounted = doneBytes !== null && totalBytes > 0;
    if (phase !== null) work.querySelector('.phase').textContent = phase;
    bar.hidden = !isCounted;
    if (isCounted) {
      bar.max = totalBytes;
      bar.value = doneBytes;
    }
    work.querySelector('.figures').textContent = isCounted ? `${size(doneBytes)} of ${size(totalBytes)}` : '';
  }
};

const find = document.getElementById('find');
const applyFind = () => {
  if (!find || !table) return;
  const wanted = find.value.trim().toLowerCase();
  for (const row of table.tBodies[0].rows) row.hidden = !row.id.slice(2).toLowerCase().includes(wanted);
};
if (find && table && table.tBodies[0].rows.length > 8) {
  find.parentElement.classList.add('on');
  find.hidden = false;
  find.addEventListener('input', applyFind);
}

if (document.querySelector('#verdict, [data-live]')) {
  const source = new EventSource(`${base}events`);
  source.addEventListener('job', onJob);
  source.addEventListener('changed', onChanged);
  source.addEventListener('open', () => {
    live.textContent = 'Live.';
    // What happened while nobody told us.
    changed.add('*');
    soon();
  });
  source.addEventListener('error', () => {
    live.textContent = 'Not live: the daemon can not be reached.';
  });
  const refreshAll = () => {
    changed.add('*');
    soon();
  };
  setInterval(refreshAll, refreshMs);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) refreshAll();
  });
}
