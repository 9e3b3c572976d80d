"use strict";
// Draws one home at a time, sorts and filters the table, and shows values under the pointer.
// Text from outside reaches the page only as textContent.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SIDE = 1000;
  const byId = (id) => document.getElementById(id);
  const homes = data.homes;
  const perHour = 60 / data.minutes;
  const collator = new Intl.Collator("en", { numeric: true });
  document.documentElement.classList.add("script");

  // A home's series on the whole axis, in watts; certificates hold the event's intervals alone.
  const onAxis = (values) => data.offsets.map((_, n) => {
    const value = values ? values[n - data.first] : undefined;
    return value === undefined || value === null ? null : value * perHour;
  });
  const watts = (home) => ({
    usage: home.usage.map((wh) => (wh === null ? null : wh * perHour)),
    baseline: onAxis(home.baseline),
    unadjusted: onAxis(home.unadjusted || home.baseline),
  });
  const whole = { usage: data.whole[0], baseline: data.whole[1], unadjusted: data.whole[2] };

  const exact = (value, decimals) => {
    const sign = value < 0 ? "-" : "";
    const digits = String(Math.abs(value)).padStart(decimals + 1, "0");
    const units = digits.slice(0, digits.length - decimals).replace(/\B(?=(\d{3})+$)/g, ",");
    return sign + units + (decimals ? "." + digits.slice(-decimals) : "");
  };
  const roundStep = (span, most) => {
    for (let power = 1; ; power *= 10) {
      for (const digit of [1, 2, 5]) if (digit * power * most >= span) return digit * power;
    }
  };
  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const x = (minutes) => Math.round((SIDE * 10 * minutes) / data.length) / 10;
  const height = (value, top) => Math.round(SIDE * 10 - (SIDE * 10 * value) / top) / 10;
  const steps = (values, top) => {
    let path = "";
    let drawnTo = -1;
    values.forEach((value, n) => {
      if (value === null) return;
      const start = data.offsets[n];
      const y = height(value, top);
      path += (start === drawnTo ? `V${y}` : `M${x(start)},${y}`) + `H${x(start + data.minutes)}`;
      drawnTo = start + data.minutes;
    });
    return path;
  };
  const between = (above, below, top) => above.map((high, n) => {
    if (high === null || below[n] === null) return "";
    const start = data.offsets[n];
    return `M${x(start)},${height(high, top)}H${x(start + data.minutes)}V${height(below[n], top)}H${x(start)}Z`;
  }).join("");

  const draw = (plot, series) => {
    const known = [...series.usage, ...series.baseline, ...series.unadjusted].filter((value) => value !== null);
    const most = known.reduce((a, b) => Math.max(a, b), 1);
    const step = roundStep(most, 6);
    const top = step * Math.ceil(most / step);
    plot.querySelectorAll(".y .tick, .rule").forEach((old) => old.remove());
    for (let value = 0; value <= top; value += step) {
      const label = exact(value, 3).replace(/\.?0+$/, "");
      const at = `${(100 * value) / top}%`;
      const tick = element("span", label || "0", "tick");
      const rule = element("span", "", "rule");
      tick.style.bottom = rule.style.bottom = at;
      plot.querySelector(".y").append(tick);
      plot.querySelector(".rules").append(rule);
    }
    const set = (selector, path) => plot.querySelector(selector).setAttribute("d", path);
    const same = series.unadjusted.every((value, n) => value === series.baseline[n]);
    set("path.usage", steps(series.usage, top));
    set("path.baseline", steps(series.baseline, top));
    set("path.unadjusted", same ? "" : steps(series.unadjusted, top));
    set("path.reduction", between(series.baseline, series.usage, top));
  };

  const follow = (plot, seriesNow) => {
    const area = plot.querySelector(".area");
    const cursor = plot.querySelector(".cursor");
    const tip = plot.querySelector(".tip");
    const hide = () => { cursor.hidden = tip.hidden = true; };
    const show = (event) => {
      const box = area.getBoundingClientRect();
      const minute = ((event.clientX - box.left) / box.width) * data.length;
      const n = data.offsets.findIndex((start) => start <= minute && minute < start + data.minutes);
      if (n < 0) return hide();
      const series = seriesNow();
      const lines = [data.spans[n]];
      for (const [name, values] of [["baseline", series.baseline], ["before adjustment", series.unadjusted], ["usage", series.usage]]) {
        if (values[n] !== null && !(name === "before adjustment" && values[n] === series.baseline[n])) {
          lines.push(`${name} ${exact(values[n], 3)} kW`);
        } else if (name === "usage") lines.push("usage: no reading");
      }
      if (series.baseline[n] !== null && series.usage[n] !== null) {
        lines.push(`reduction ${exact(Math.round((series.baseline[n] - series.usage[n]) / perHour), 3)} kWh`);
      }
      tip.textContent = lines.join("\n");
      const share = (100 * data.offsets[n]) / data.length;
      cursor.style.left = `${share}%`;
      cursor.style.width = `${(100 * data.minutes) / data.length}%`;
      cursor.hidden = tip.hidden = false;
      const right = share > 50;
      tip.style.left = right ? "auto" : `calc(${share + (100 * data.minutes) / data.length}% + .5rem)`;
      tip.style.right = right ? `calc(${100 - share}% + .5rem)` : "auto";
    };
    area.addEventListener("pointermove", show);
    area.addEventListener("pointerdown", show);
    area.addEventListener("pointerleave", hide);
  };

  // One home
  const homePlot = document.querySelector('[data-series="home"]');
  const select = byId("home-select");
  const search = byId("home-search");
  let shown = null;
  let offered = [];
  const described = (home) => {
    if (home.certified) {
      return `Certified: reduced by ${exact(home.sums[2], 3)} kWh, from ${exact(home.sums[0], 3)} to ${exact(home.sums[1], 3)} kWh.`;
    }
    return "Not certified: " + home.findings.map((n) => data.findings[n][1]).join("; ") + ".";
  };
  const choose = (n) => {
    const home = homes[n];
    shown = watts(home);
    draw(homePlot, shown);
    byId("home-words").textContent = `${home.name}. ${described(home)}`;
    const details = byId("home-details");
    details.replaceChildren();
    for (const [name, value] of [
      ["Certificate", String(home.index)], ["Resource key", home.key], ["Wallet", home.wallet],
      ["Contracted", `${exact(home.contracted, 3)} kW`],
      ["Days in the baseline", home.days.map((day) => data.days[day]).join(", ") || "none"],
      ["Findings", home.findings.map((f) => `${data.findings[f][0]}: ${data.findings[f][1]}`).join("; ") || "none"],
    ]) {
      const row = element("div");
      row.append(element("dt", name), element("dd", value));
      details.append(row);
    }
    const rows = (home.baseline || []).map((baseline, event) => {
      const usage = home.usage[event + data.first];
      const row = element("tr");
      const head = element("th", data.spans[event + data.first]);
      head.scope = "row";
      row.append(head, element("td", exact((home.unadjusted || home.baseline)[event], 0)), element("td", exact(baseline, 0)),
        element("td", usage === null ? "no reading" : exact(usage, 0)), element("td", exact(usage === null ? 0 : baseline - usage, 0)));
      return row;
    });
    byId("home-rows").replaceChildren(...rows);
    select.value = String(n);
  };
  const offer = () => {
    const wanted = search.value.trim().toLowerCase();
    const current = select.value;
    offered = homes.map((_, n) => n).filter((n) => [homes[n].name, homes[n].key, homes[n].wallet]
      .some((text) => text.toLowerCase().includes(wanted)));
    select.replaceChildren(...offered.map((n) => {
      const option = element("option", homes[n].name + (homes[n].certified ? "" : " (not certified)"));
      option.value = String(n);
      return option;
    }));
    byId("home-found").textContent = wanted ? `${offered.length} of ${homes.length}` : "";
    if (offered.includes(Number(current)) && current !== "") select.value = current;
    else if (offered.length) choose(offered[0]);
  };
  const move = (by) => {
    if (!offered.length) return;
    const at = offered.indexOf(Number(select.value));
    choose(offered[(at + by + offered.length) % offered.length]);
  };
  if (homes.length) {
    follow(homePlot, () => shown);
    search.addEventListener("input", offer);
    select.addEventListener("change", () => choose(Number(select.value)));
    byId("home-previous").addEventListener("click", () => move(-1));
    byId("home-next").addEventListener("click", () => move(1));
    offer();
  }
  const wholePlot = document.querySelector('[data-series="whole"]');
  if (wholePlot) follow(wholePlot, () => whole);

  // The table of homes
  const body = byId("homes-table").tBodies[0];
  const rows = [...body.rows];
  const rowSearch = byId("row-search");
  const rowFilter = byId("row-filter");
  const none = -Infinity;
  const sortKeys = {
    name: (home) => home.name,
    certified: (home) => (home.certified ? 1 : 0),
    baseline: (home) => (home.sums ? home.sums[0] : none),
    usage: (home) => (home.sums ? home.sums[1] : none),
    reduction: (home) => (home.sums ? home.sums[2] : none),
    contracted: (home) => home.contracted,
    delivered: (home) => (home.sums && home.contracted ? home.sums[2] / home.contracted : none),
    payment: (home) => BigInt(home.payment),
    findings: (home) => home.findings.length,
  };
  const compare = (a, b) => (typeof a === "string" ? collator.compare(a, b) : a < b ? -1 : a > b ? 1 : 0);
  document.querySelectorAll("[data-sort]").forEach((button) => button.addEventListener("click", () => {
    const head = button.closest("th");
    const before = head.getAttribute("aria-sort");
    // Numbers are mostly looked at from the greatest down; names and status from the first.
    const starts = ["name", "certified"].includes(button.dataset.sort) ? "ascending" : "descending";
    const order = before === null ? starts : before === "ascending" ? "descending" : "ascending";
    head.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = sortKeys[button.dataset.sort];
    const keyed = rows.map((row) => [key(homes[Number(row.dataset.row)]), Number(row.dataset.row), row]);
    keyed.sort((a, b) => sign * compare(a[0], b[0]) || a[1] - b[1]);
    body.append(...keyed.map((entry) => entry[2]));
  }));
  const filter = () => {
    const wanted = rowSearch.value.trim().toLowerCase();
    const kind = rowFilter.value;
    let visible = 0;
    for (const row of rows) {
      const home = homes[Number(row.dataset.row)];
      const fits = { all: true, certified: home.certified, refused: !home.certified, found: home.findings.length > 0 }[kind]
        ?? home.findings.includes(Number(kind));
      row.hidden = !(fits && home.name.toLowerCase().includes(wanted));
      visible += row.hidden ? 0 : 1;
    }
    byId("row-found").textContent = `${visible} of ${rows.length} shown`;
  };
  rowSearch.addEventListener("input", filter);
  rowFilter.addEventListener("change", filter);
  filter();
  body.addEventListener("click", (event) => {
    const button = event.target.closest("[data-home]");
    if (!button) return;
    search.value = "";
    offer();
    choose(Number(button.dataset.home));
    byId("one").scrollIntoView();
    select.focus({ preventScroll: true });
  });

  // Copying, and a paper copy that hides nothing
  const copy = async (button) => {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      const code = button.parentElement.querySelector("code.full") || button.parentElement.querySelector("code");
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
  };
  document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button)));
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));
})();
