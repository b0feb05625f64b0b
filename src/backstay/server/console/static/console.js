// The console's one script. Every page works without it; with it pages are live, times count, and charts are drawn from the
// tables beside them. Nothing of the server's is put into the page as HTML here: that is htmx's, from our own origin.

// At most one refresh of the page in so long, however many events come. Agents report all the time: what they see may wait.
const REFRESH_MS = { journal: 1000, revision: 500, report: 3000 };
const RETRY_MS = 5000; // after the stream was refused outright
const SILENT_MS = 20000; // the stream says something every 10 s, if only that it lives

const root = document.documentElement;
const all = (selector, within = document) => within.querySelectorAll(selector);

// --- theme: the system's, or the one chosen here, kept in a cookie so that the server draws the page right at once -------

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  for (const button of all("[data-theme-switch]")) {
    button.addEventListener("click", () => {
      const now = root.dataset.theme || (dark.matches ? "dark" : "light");
      root.dataset.theme = now === "dark" ? "light" : "dark";
      document.cookie = `theme=${root.dataset.theme}; path=/; max-age=31536000; SameSite=Lax`;
      drawCharts();
    });
  }
  dark.addEventListener("change", drawCharts);
}

// --- times ------------------------------------------------------------------------------------------------------------

function lasting(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

let skew_ms = 0; // the server's clock less ours: what was 3 s ago there is 3 s ago here

function tick() {
  const now = Date.now() + skew_ms;
  for (const time of all("time[data-relative]")) {
    const away = (Date.parse(time.dateTime) - now) / 1000;
    const words = away > 0 ? `in ${lasting(away)}` : `${lasting(-away)} ago`;
    if (time.textContent !== words) time.textContent = words;
  }
  sayLive();
}

// --- live -------------------------------------------------------------------------------------------------------------

let updatedAt = Date.now();
let heardAt = Date.now();
let lost = false; // the stream
let failed = false; // the last refresh: what is shown stays as it was
let due = null;

function sayLive() {
  const live = document.getElementById("live-state");
  if (!live || !document.querySelector("[data-live]")) return;
  if (!lost && Date.now() - heardAt > SILENT_MS) lost = true;
  const state = lost || failed ? "lost" : "live";
  const words = lost || failed ? "disconnected" : `updated ${lasting((Date.now() - updatedAt) / 1000)} ago`;
  const said = live.querySelector(".words");
  if (live.dataset.state !== state) live.dataset.state = state;
  if (said.textContent !== words) said.textContent = words;
}

function refreshSoon(kind) {
  if (document.hidden) return;
  const at = Math.max(Date.now(), updatedAt + REFRESH_MS[kind]);
  if (due !== null && due.at <= at) return;
  if (due !== null) clearTimeout(due.timer);
  const timer = setTimeout(() => {
    due = null;
    document.body.dispatchEvent(new CustomEvent("backstay:changed"));
  }, at - Date.now());
  due = { at, timer };
}

function listen() {
  const stream = new EventSource("/api/v1/stream");
  const heard = () => { heardAt = Date.now(); lost = false; };
  stream.addEventListener("open", () => { if (lost) refreshSoon("revision"); heard(); sayLive(); });
  stream.addEventListener("alive", heard);
  for (const kind of Object.keys(REFRESH_MS)) {
    stream.addEventListener(kind, () => { heard(); refreshSoon(kind); });
  }
  stream.addEventListener("error", () => {
    lost = true;
    sayLive();
    // Refused outright, a browser does not try again; an interrupted stream it resumes, with Last-Event-ID.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, RETRY_MS);
  });
}

function startLive() {
  if (!document.querySelector("[data-live]") || !document.getElementById("live-state")) return;
  for (const kind of ["htmx:error", "htmx:response:error"]) {
    document.addEventListener(kind, (event) => {
      if (!event.target.matches?.("[data-live]")) return;
      failed = true;
      sayLive();
    });
  }
  document.addEventListener("htmx:after:swap", () => {
    updatedAt = Date.now();
    failed = false;
    const dot = document.querySelector(".live .dot");
    dot.classList.remove("beat");
    requestAnimationFrame(() => dot.classList.add("beat"));
    sayLive();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refreshSoon("revision"); });
  listen();
}

// --- charts: each is drawn from the table that it belongs to ------------------------------------------------------

// How uPlot writes a time axis, by the distance of its ticks: as everywhere here, by 24 hours, the year first.
const DAY = "\n{YYYY}-{MM}-{DD}";
const TIMES = [
  [86400 * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
];
const plots = new Map();
const DASHES = [undefined, [7, 4], [2, 4], [12, 4, 2, 4]]; // groups of nodes are told apart without their colour, too

function readTable(table) {
  const heads = [...all("thead th[data-series]", table)];
  const columns = heads.map((head) => [...head.parentNode.children].indexOf(head));
  const rows = [...all("tbody tr", table)];
  const value = (row, column) => {
    const text = row.children[column].dataset.value;
    return text === undefined || text === "" ? null : Number(text);
  };
  return { heads, data: columns.map((column) => rows.map((row) => value(row, column))) };
}

// Upright lines at these times: what was changed then is said beside the chart.
function drawMarks(plot, times, stroke) {
  const { ctx, bbox } = plot;
  for (const time of times) {
    const x = plot.valToPos(time, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.save();
    ctx.strokeStyle = stroke;
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
}

function drawCharts() {
  if (typeof uPlot === "undefined") return;
  const style = getComputedStyle(root);
  const probe = document.createElement("span");
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = `var(--${name})`; // resolves light-dark(), which a canvas does not know
    return getComputedStyle(probe).color;
  };
  for (const figure of all("figure[data-chart]")) {
    const table = document.getElementById(figure.dataset.chart);
    const { heads, data } = readTable(table);
    const key = JSON.stringify(data) + style.colorScheme + figure.clientWidth;
    const held = plots.get(figure.id);
    if (held && held.key === key && held.plot.root.isConnected) continue;
    if (held) held.plot.destroy();
    const place = figure.querySelector(".plot");
    place.replaceChildren();
    const axis = { stroke: colour("ink-2"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
    const series = heads.slice(1).map((head) => ({
      label: head.textContent.trim(),
      stroke: colour(head.dataset.colour),
      width: 2,
      spanGaps: !figure.dataset.times,
      dash: DASHES[head.dataset.dash ?? 0],
      points: { show: data[0].length < 60 },
    }));
    const marks = (figure.dataset.marks ?? "").split(" ").filter(Boolean).map(Number);
    const ink = colour("ink");
    if (figure.dataset.line) {
      data.push(data[0].map(() => Number(figure.dataset.line)));
      const label = figure.dataset.lineLabel;
      series.push({ label, stroke: colour("ink-2"), width: 1.5, dash: [6, 4], points: { show: false } });
    }
    const plot = new uPlot({
      width: Math.max(240, place.clientWidth), height: 240,
      scales: { x: { time: !!figure.dataset.times } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      axes: [
        { ...axis, label: heads[0].textContent.trim(), labelSize: 22, ...(figure.dataset.times ? { values: TIMES } : {}) },
        { ...axis, size: 56 },
      ],
      legend: { show: !figure.dataset.times }, // where the page has a legend of its own
      series: [{ label: heads[0].textContent.trim() }, ...series],
      cursor: { drag: { x: false, y: false } },
      hooks: { draw: [(drawn) => drawMarks(drawn, marks, ink)] },
    }, data, place);
    plots.set(figure.id, { plot, key });
  }
  probe.remove();
}

// --- small helps --------------------------------------------------------------------------------------------------------

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.closest(".command").querySelector("pre").textContent);
  } catch {
    return; // over plain HTTP a browser does not let us: the text can be selected by hand
  }
  button.querySelector(".sr").textContent = "Copied";
  button.classList.add("done");
}

function dress(within) {
  for (const input of all("[data-typed]:not([data-dressed])", within)) {
    input.dataset.dressed = "";
    const submit = input.form.querySelector("[type=submit]");
    const follow = () => { submit.disabled = input.value.trim() !== input.dataset.typed; };
    input.addEventListener("input", follow);
    follow();
  }
  drawCharts();
}

skew_ms = Date.parse(document.querySelector("meta[name=server-time]")?.content ?? "") - Date.now() || 0;
root.dataset.js = "";
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
startTheme();
startLive();
dress(document);
document.addEventListener("htmx:after:swap", () => dress(document));
addEventListener("resize", drawCharts);
setInterval(tick, 1000);
tick();
