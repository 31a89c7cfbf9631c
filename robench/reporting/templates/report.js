"use strict";
/* The page without this script is whole: it only sorts, hides, zooms, reads out, and keeps its state in the address. */
(() => {
  const { models, charts } = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byKey = new Map(models.map((model) => [model.key, model]));
  const state = { hidden: new Set(), sort: new Map(), zoom: new Map(), image: new Map(), theme: "" };
  const drawn = new Map();
  root.classList.add("live");

  const node = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const ink = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const colour = (key) => ink(`--c${byKey.get(key).colour % 10}`);
  const shown = (key) => !state.hidden.has(key);
  const say = (text) => { document.getElementById("said").textContent = text; };
  const named = (key) => {
    const swatch = node("i", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colour(key);
    return [swatch, node("bdi", {}, byKey.get(key).name)];
  };

  /* Rates, rounded as the tables are: what is proven goes down, what attacks reached goes up. */
  const percent = (count, n, proven) => {
    if (count === null || count === undefined || !n) return "–";
    const digits = n <= 1000 ? 1 : 2, scale = 100 * 10 ** digits;
    return ((proven ? Math.floor : Math.ceil)((count * scale) / n) / 10 ** digits).toFixed(digits);
  };

  /* ---- the address ---- */
  const read = () => {
    const text = location.hash.slice(1);
    if (!text.includes("=")) return;
    const asked = new URLSearchParams(text);
    state.hidden = new Set((asked.get("hide") || "").split(",").filter((key) => byKey.has(key)));
    state.theme = ["light", "dark"].includes(asked.get("theme")) ? asked.get("theme") : "";
    state.sort = new Map();
    for (const item of asked.getAll("sort")) {
      const [name, column, way] = item.split(":");
      if (/^\d+$/.test(column)) state.sort.set(name, [Number(column), way === "down" ? -1 : 1]);
    }
    state.zoom = new Map();
    for (const item of asked.getAll("zoom")) {
      const [name, low, high] = item.split(":");
      if (name in charts && Number(low) < Number(high)) state.zoom.set(name, [Number(low), Number(high)]);
    }
    state.image = new Map();
    for (const item of asked.getAll("image")) {
      const [name, index] = item.split(":");
      if (charts[name]?.index?.includes(Number(index))) state.image.set(name, Number(index));
    }
    for (const id of asked.getAll("open")) reveal(document.getElementById(id));
  };
  const write = () => {
    const said = new URLSearchParams();
    if (state.hidden.size) said.set("hide", [...state.hidden].join(","));
    if (state.theme) said.set("theme", state.theme);
    for (const [name, [column, way]] of state.sort) said.append("sort", `${name}:${column}:${way < 0 ? "down" : "up"}`);
    for (const [name, [low, high]] of state.zoom) said.append("zoom", `${name}:${+low.toPrecision(4)}:${+high.toPrecision(4)}`);
    for (const [name, index] of state.image) said.append("image", `${name}:${index}`);
    for (const part of document.querySelectorAll("details.part[open]"))
      if (!part.hasAttribute("data-first")) said.append("open", part.id);
    const text = said.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
    if (text || location.hash.includes("=")) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };
  const reveal = (element) => {
    for (let part = element && element.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  };

  /* ---- tables ---- */
  const value = (text) => {
    const found = /^([-−]?[\d.]+)(?:\/([\d.]+))?/.exec(text.replace(/^< /, ""));
    return found ? Number(found[1].replace("−", "-")) / Number(found[2] || 1) : null;
  };
  const headers = (table) => {
    const [top, bottom] = table.tHead.rows;
    const leaves = bottom ? [...bottom.cells] : [];
    return [...top.cells].flatMap((cell) => (cell.colSpan > 1 || cell.classList.contains("group") ? leaves.splice(0, cell.colSpan) : [cell]));
  };
  const sort = (table) => {
    const [column, way] = state.sort.get(table.dataset.name) || [0, 0];
    const rows = [...table.tBodies[0].rows];
    rows.forEach((row, place) => { row.dataset.place ??= place; });
    const key = (row) => { const text = row.cells[column].textContent.trim(); return [value(text), text]; };
    const order = (one, other) => {
      if (way) {
        const [a, first] = key(one), [b, second] = key(other);
        const absent = (first === "–") - (second === "–");
        if (absent) return absent;
        const apart = a !== null && b !== null ? a - b : first.localeCompare(second, "en", { numeric: true });
        if (apart) return way * apart;
      }
      return one.dataset.place - other.dataset.place;
    };
    table.tBodies[0].append(...rows.sort(order));
    headers(table).forEach((cell, place) => {
      if (way && place === column) cell.setAttribute("aria-sort", way < 0 ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  };
  const sortable = [...document.querySelectorAll("table.sortable")];
  for (const table of sortable)
    headers(table).forEach((cell, column) => {
      const button = node("button", { type: "button", class: "sort" }, ...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const [before, way] = state.sort.get(table.dataset.name) || [null, 0];
        const first = cell.closest("tr") && table.tBodies[0].rows[0]?.cells[column]?.classList.contains("number") ? -1 : 1;
        const next = before !== column ? first : way === first ? -first : 0;
        if (next) state.sort.set(table.dataset.name, [column, next]);
        else state.sort.delete(table.dataset.name);
        sort(table);
        say(next ? `sorted by ${button.textContent.trim()}, ${next < 0 ? "largest" : "smallest"} first` : "in the order of the report");
        write();
      });
    });
  const columns = [...document.querySelectorAll("th[data-column]")].map((cell) => {
    const table = cell.closest("table"), place = headers(table).indexOf(cell);
    const cells = [cell];
    for (const row of table.tBodies[0].rows) cells.push(row.cells[row.cells.length - headers(table).length + place]);
    return [cell.dataset.column, cells];
  });
  const hide = () => {
    for (const element of document.querySelectorAll("[data-model]")) element.hidden = !shown(element.dataset.model);
    for (const [key, cells] of columns) for (const cell of cells) if (cell) cell.hidden = !shown(key);
    for (const box of document.querySelectorAll("#controls input")) box.checked = shown(box.value);
    document.getElementById("all").disabled = !state.hidden.size;
  };

  /* ---- charts ---- */
  const axes = (titles) => titles.map((label, place) => ({
    label, stroke: ink("--ink"), grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line") },
    labelSize: 24, size: place ? 52 : 40, font: "12px system-ui, sans-serif", labelFont: "13px system-ui, sans-serif",
  }));
  const build = (name, place, spec, data, series, extra = {}) => {
    const width = Math.max(240, Math.min(place.clientWidth, 900));
    const full = extra.range || [spec.x[0], spec.x.at(-1)];
    const plot = new uPlot({
      width, height: extra.height || Math.round(Math.max(240, Math.min(400, width * 0.6))),
      legend: { show: false }, axes: axes(spec.axes),
      scales: {
        x: { time: false, range: () => state.zoom.get(name) || full },
        y: { range: extra.y || (() => [0, 100]) },
      },
      cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
      series: [{}, ...series],
      hooks: {
        setSelect: [(u) => {
          if (u.select.width < 4) return;
          zoom(name, u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
        setCursor: [(u) => extra.point && extra.point(u)],
        draw: [(u) => extra.draw && extra.draw(u)],
      },
    }, data, place);
    plot.over.addEventListener("dblclick", () => zoom(name));
    plot.full = full;
    return plot;
  };
  const zoom = (name, low, high) => {
    if (low === undefined) state.zoom.delete(name);
    else state.zoom.set(name, [low, high]);
    redraw(name);
    write();
  };
  const upright = (u, x, style) => {
    const at = u.valToPos(x, "x", true), { ctx, bbox } = u;
    if (at < bbox.left || at > bbox.left + bbox.width) return;
    ctx.save();
    ctx.strokeStyle = style; ctx.setLineDash([4, 4]); ctx.beginPath();
    ctx.moveTo(at, bbox.top); ctx.lineTo(at, bbox.top + bbox.height); ctx.stroke();
    ctx.restore();
  };

  const lineSeries = (key, line, marks) => ({
    stroke: colour(key), width: 2, dash: line.name === "certified" ? [6, 4] : [],
    points: marks ? { show: true, size: 6, filter: () => marks.filter((place) => place < line.counts.length) } : { show: false },
  });
  const curvesOf = (parts) => parts.filter((model) => shown(model.key)).flatMap((model) => model.lines.map((line) => [model.key, line]));
  const padded = (line, length) => Array.from({ length }, (_, place) => (place < line.counts.length ? (100 * line.counts[place]) / line.n : null));

  const curves = (name, spec, parts) => {
    const lines = curvesOf(spec.models), readout = parts.readout;
    const start = spec.x.indexOf(spec.target);
    const point = (u) => {
      const place = u.cursor.idx ?? start;
      readout.replaceChildren(
        node("tr", {}, node("th", { scope: "col" }, `at ε = ${spec.x[place]}`), node("th", { scope: "col" }, "certified %"), node("th", { scope: "col" }, "attacked %")),
        ...spec.models.filter((model) => shown(model.key)).map((model) => {
          const cell = (kind) => {
            const line = model.lines.find((item) => item.name === kind);
            return node("td", {}, line ? percent(line.counts[place], line.n, kind === "certified") : "–");
          };
          const row = node("tr", {}, node("th", { scope: "row" }, ...named(model.key)), cell("certified"), cell("attacked"));
          row.addEventListener("pointerenter", () => focus(u, lines, model.key));
          row.addEventListener("pointerleave", () => focus(u, lines, null));
          return row;
        }),
      );
    };
    const marks = spec.marks;
    const plot = build(name, parts.place, spec, [spec.x, ...lines.map(([, line]) => padded(line, spec.x.length))],
      lines.map(([key, line]) => lineSeries(key, line, marks)),
      { point, draw: (u) => upright(u, spec.target, ink("--soft")) });
    point(plot);
    return [plot];
  };
  const focus = (u, lines, key) => {
    lines.forEach(([owner], place) => { u.series[place + 1].alpha = key === null || owner === key ? 1 : 0.15; });
    u.redraw(false);
  };

  const panels = (name, spec, parts) => {
    const plots = [];
    const point = (u) => {
      const place = u.cursor.idx ?? spec.x.length - 1;
      parts.readout.replaceChildren(
        node("tr", {}, node("th", { scope: "col" }, `at ε = ${spec.x[place]}`), ...spec.panels.map((panel) => node("th", { scope: "col" }, panel.title))),
        ...models.filter((model) => shown(model.key) && spec.panels.some((panel) => panel.models.some((item) => item.key === model.key)))
          .map((model) => node("tr", {}, node("th", { scope: "row" }, ...named(model.key)), ...spec.panels.map((panel) => {
            const line = panel.models.find((item) => item.key === model.key)?.lines[0];
            return node("td", {}, line ? percent(line.counts[place], line.n, false) : "–");
          }))),
      );
    };
    parts.place.className = "panels";
    const places = spec.panels.map((panel) => {
      const place = node("div", { class: "chart" });
      parts.place.append(node("div", {}, node("h4", {}, panel.title), place));
      return place;
    });
    for (const [number, panel] of spec.panels.entries()) {
      const place = places[number];
      const lines = curvesOf(panel.models);
      plots.push(build(name, place, spec, [spec.x, ...lines.map(([, line]) => padded(line, spec.x.length))],
        lines.map(([key, line]) => lineSeries(key, line)), { point, height: 220 }));
    }
    if (plots.length) point(plots[0]);
    return plots;
  };

  const scatter = (name, spec, parts) => {
    const visible = spec.models.filter((model) => shown(model.key));
    const all = visible.flatMap((model) => model.points.map(([x, y, image]) => ({ key: model.key, x, y, image })));
    all.sort((one, other) => one.x - other.x || one.y - other.y);
    const top = 1.05 * Math.max(0.1, ...all.map((item) => Math.max(item.x, item.y)));
    const data = [all.map((item) => item.x), ...visible.map((model) => all.map((item) => (item.key === model.key ? item.y : null)))];
    const tell = (item) => {
      parts.readout.replaceChildren(node("tr", {}, node("th", { scope: "row" }, ...named(item.key)),
        node("td", {}, `image ${item.image}`), node("td", {}, `radius ${item.x}`), node("td", {}, `distance ${item.y}`)));
    };
    const point = (u) => {
      const { left, top: high } = u.cursor;
      if (left === undefined || left < 0 || !all.length) return;
      let best = null, least = Infinity;
      for (const item of all) {
        const away = Math.hypot(u.valToPos(item.x, "x") - left, u.byKey ? 0 : u.valToPos(item.y, "y") - high);
        if (away < least) { least = away; best = item; }
      }
      tell(best);
    };
    const diagonal = (u) => {
      const { ctx } = u, [low, high] = [u.scales.x.min, u.scales.x.max];
      ctx.save();
      ctx.beginPath();
      ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      ctx.clip();
      ctx.strokeStyle = ink("--bad"); ctx.beginPath();
      ctx.moveTo(u.valToPos(low, "x", true), u.valToPos(low, "y", true));
      ctx.lineTo(u.valToPos(high, "x", true), u.valToPos(high, "y", true));
      ctx.stroke();
      ctx.restore();
    };
    const plot = build(name, parts.place, { ...spec, x: [0, top] }, data,
      visible.map((model) => ({ stroke: colour(model.key), paths: () => null, points: { show: true, size: 4, stroke: colour(model.key), fill: colour(model.key) } })),
      { point, draw: diagonal, y: () => [0, top], range: [0, top] });
    parts.readout.replaceChildren(...visible.map((model) => node("tr", {}, node("th", { scope: "row" }, ...named(model.key)), node("td", {}, `${model.points.length} points`))));
    return [plot];
  };

  const passes = (name, spec, parts) => {
    const visible = spec.models.filter((model) => shown(model.key));
    const data = uPlot.join(visible.length ? visible.map((model) => [model.x, model.counts.map((count) => (100 * count) / model.n)]) : [[[0], [null]]]);
    const point = (u) => {
      const x = u.cursor.idx === null || u.cursor.idx === undefined ? Infinity : data[0][u.cursor.idx];
      parts.readout.replaceChildren(
        node("tr", {}, ...["", "so far", "passes an image", "accuracy %"].map((text) => node("th", { scope: "col" }, text))),
        ...visible.map((model) => {
          const place = Math.max(0, model.x.filter((item) => item <= x).length - 1);
          return node("tr", {}, node("th", { scope: "row" }, ...named(model.key)), node("td", {}, model.stages[place]),
            node("td", {}, String(model.x[place])), node("td", {}, percent(model.counts[place], model.n, false)));
        }),
      );
    };
    const last = 1.04 * Math.max(1, ...visible.map((model) => model.x.at(-1)));
    const plot = build(name, parts.place, { ...spec, x: [0, last] }, data,
      visible.map((model) => ({ stroke: colour(model.key), width: 2, spanGaps: true, points: { show: true, size: 7, fill: colour(model.key) } })),
      { point, range: [0, last] });
    point(plot);
    return [plot];
  };

  /* ---- one image ---- */
  const setUpImages = (figure, name, spec) => {
    const pick = node("select", { id: `pick-${name}` }), table = node("table", { class: "strip" });
    const names = [...new Set(spec.models.flatMap((model) => model.rows))];
    for (const index of spec.index) pick.append(node("option", { value: index }, `image ${index}`));
    const draw = () => {
      pick.value = state.image.get(name) ?? spec.index[0];
      const body = node("tbody");
      for (const model of spec.models) {
        const column = model.index.indexOf(Number(pick.value));
        if (!shown(model.key) || column < 0) continue;
        const row = node("tr", {}, node("th", { scope: "row" }, ...named(model.key), node("br"), node("small", {}, model.facts[column])));
        for (const kind of names) {
          const line = model.rows.indexOf(kind), caption = line < 0 ? null : model.captions[line][column];
          const cell = node("td");
          if (caption === null) cell.append("none found");
          else {
            const image = node("span", { class: `cell strip-${model.key}`, role: "img", "aria-label": kind });
            image.style.setProperty("--c", column);
            image.style.setProperty("--r", line);
            cell.append(image, caption);
          }
          row.append(cell);
        }
        body.append(row);
      }
      table.replaceChildren(node("thead", {}, node("tr", {}, ...["model", ...names].map((text) => node("th", { scope: "col" }, text)))), body);
    };
    const go = (index) => { state.image.set(name, Number(index)); draw(); write(); };
    const step = (way) => go(spec.index[(spec.index.indexOf(Number(pick.value)) + way + spec.index.length) % spec.index.length]);
    const button = (text, way) => {
      const made = node("button", { type: "button", class: "plain" }, text);
      made.addEventListener("click", () => step(way));
      return made;
    };
    pick.addEventListener("change", () => go(pick.value));
    figure.prepend(
      node("div", { class: "one" }, node("label", { for: pick.id }, "Image"), pick, button("previous", -1), button("next", 1)),
      node("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "One image under every model" }, table));
    drawn.set(name, { figure, spec, plots: [], draw });
  };

  const kinds = { curves, panels, scatter, passes };
  const setUp = (figure) => {
    const name = figure.dataset.chart, spec = charts[name];
    if (spec.kind === "images") return setUpImages(figure, name, spec);
    const image = figure.querySelector("img");
    const label = `${image ? image.alt : figure.querySelector("figcaption").textContent} Arrow keys move, plus and minus zoom, Escape shows all.`;
    const area = node("div", { class: "chart", tabindex: "0", role: "group", "aria-label": label });
    const place = node("div", {}), readout = node("table", { class: "readout" });
    const scroll = node("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Values" }, readout);
    area.append(place);
    figure.prepend(area, node("p", { class: "hint" }, "Drag to zoom, double-click to see all. With the keyboard: arrows, +, −, Escape."), scroll);
    drawn.set(name, { figure, spec, parts: { area, place, readout }, plots: [] });
    area.addEventListener("keydown", (event) => keys(event, name));
  };
  const keys = (event, name) => {
    const { plots: [u], parts } = drawn.get(name);
    if (!u || event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = [u.scales.x.min, u.scales.x.max], middle = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : (low + high) / 2;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const x = u.data[0], visible = [...x.keys()].filter((place) => x[place] >= low && x[place] <= high);
      const at = u.cursor.idx === null || u.cursor.idx === undefined || u.cursor.left < 0 ? (step > 0 ? -1 : visible.length) : visible.indexOf(u.cursor.idx);
      const next = visible[Math.max(0, Math.min(visible.length - 1, at + step))];
      if (next === undefined) return;
      u.byKey = true;
      u.setCursor({ left: u.valToPos(x[next], "x"), top: 1 });
      u.byKey = false;
      say([...parts.readout.rows].map((row) => [...row.cells].map((cell) => cell.textContent).join(" ")).join("; "));
    } else if (event.key === "+" || event.key === "=") zoom(name, middle - (middle - low) / 2, middle + (high - middle) / 2);
    else if (event.key === "-") {
      const wide = [Math.max(u.full[0], middle - 2 * (middle - low)), Math.min(u.full[1], middle + 2 * (high - middle))];
      wide[0] <= u.full[0] && wide[1] >= u.full[1] ? zoom(name) : zoom(name, ...wide);
    } else if (event.key === "Escape" || event.key === "0") zoom(name);
    else return;
    event.preventDefault();
  };
  const redraw = (name) => {
    const chart = drawn.get(name);
    if (chart.draw) return chart.draw();
    for (const plot of chart.plots) plot.destroy();
    chart.plots = [];
    chart.parts.place.replaceChildren();
    if (chart.figure.clientWidth) chart.plots = kinds[chart.spec.kind](name, chart.spec, chart.parts);
  };
  const redrawAll = () => { for (const name of drawn.keys()) redraw(name); };

  /* ---- controls ---- */
  const themes = { "": "colours: as the system", light: "colours: light", dark: "colours: dark" };
  const theme = node("button", { type: "button", class: "plain", id: "theme" });
  const paint = () => {
    if (state.theme) root.dataset.theme = state.theme;
    else delete root.dataset.theme;
    theme.textContent = themes[state.theme];
    for (const swatch of document.querySelectorAll("[data-swatch]")) swatch.style.background = colour(swatch.dataset.swatch);
  };
  const controls = document.getElementById("controls");
  const list = node("div", { class: "models" });
  for (const model of models) {
    const box = node("input", { type: "checkbox", value: model.key });
    const swatch = node("i", { class: "swatch", "data-swatch": model.key, "aria-hidden": "true" });
    list.append(node("label", { title: model.name }, box, swatch, node("bdi", {}, model.name)));
    box.addEventListener("change", () => {
      if (box.checked) state.hidden.delete(model.key);
      else state.hidden.add(model.key);
      hide();
      redrawAll();
      write();
    });
  }
  const all = node("button", { type: "button", class: "plain", id: "all" }, "all models");
  all.addEventListener("click", () => { state.hidden.clear(); hide(); redrawAll(); write(); });
  theme.addEventListener("click", () => {
    const order = ["", "light", "dark"];
    state.theme = order[(order.indexOf(state.theme) + 1) % 3];
    paint();
    redrawAll();
    write();
  });
  controls.append(all, list);
  controls.hidden = models.length < 2;
  document.getElementById("colours").append(theme);

  const apply = () => {
    paint();
    hide();
    for (const table of sortable) sort(table);
    redrawAll();
  };
  for (const part of document.querySelectorAll("details.part")) {
    if (part.open) part.setAttribute("data-first", "");
    part.addEventListener("toggle", () => {
      for (const [name, chart] of drawn) if (part.contains(chart.figure) && part.open && !chart.plots.length) redraw(name);
      write();
    });
  }
  for (const figure of document.querySelectorAll("figure[data-chart]")) setUp(figure);
  read();
  apply();
  const follow = () => {
    if (location.hash.includes("=")) { read(); apply(); return; }
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) {
      reveal(target);
      if (target.matches("details")) target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", follow);
  if (location.hash && !location.hash.includes("=")) follow();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); redrawAll(); });
  let wide = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== wide) { wide = innerWidth; redrawAll(); } });
})();
