
"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const findings = report.findings;
  const byId = new Map(findings.map((finding) => [finding.id, finding]));
  const $ = (id) => document.getElementById(id);
  const SLICE = 60, NUM_PARTS = 72, NUM_BINS = 20;

  const storage = {
    read(key) { try { return localStorage.getItem(key); } catch { return null; } },
    write(key, value) { try { localStorage.setItem(key, value); } catch { /* full or forbidden: decisions live as long as the page */ } },
  };
  const storageKey = `galley decisions ${report.run} ${report.digest}`;
  const decisions = readDecisions();
  const history = [];
  const view = { query: "", categories: new Set(), document: "", state: "", sort: "position", confidence: 0 };
  let shown = [];
  let cards = [];
  let current = -1;

  findings.forEach((finding, position) => {
    finding.position = position;
    finding.haystack = [finding.original, finding.replacement, finding.before + finding.original + finding.after, finding.message,
      finding.chapter || "", finding.proposers.join(" ")].join("\n").toLowerCase();
  });
  const REACH = findings.reduce((longest, finding) => Math.max(longest, finding.end - finding.start), 0);
  const offsets = [];
  let numChars = 0;
  for (const each of report.documents) { offsets.push(numChars); numChars += each.chars; }

  function readDecisions() {
    const kept = new Map();
    try {
      const saved = JSON.parse(storage.read(storageKey) || "{}");
      for (const [id, decision] of Object.entries(saved)) if (byId.has(id)) kept.set(id, decision);
    } catch { /* not ours */ }
    return kept;
  }

  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") element.className = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function draw(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const band = (confidence) => confidence >= 0.8 ? "sure" : confidence >= 0.5 ? "likely" : "unsure";
  const nameOf = (index) => report.documents[index].title || report.documents[index].name;
  const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

  // Changes of spaces, line ends and invisible characters would be seen by nobody
  function show(element, text) {
    if (text.length <= 2 && !/[\p{L}\p{N}]/u.test(text)) element.className = "small";
    const isBlank = /^\s+$/.test(text);
    for (const piece of text.split(/(\s{2,}|[\r\n\t\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff])/u)) {
      if (!piece) continue;
      if (isBlank || /^(\s{2,}|[\r\n\t])$/.test(piece)) {
        element.append(piece.replace(/\r\n|\r|\n/g, "↵").replace(/\t/g, "⇥").replace(/[^↵⇥]/g, "·"));
      } else if (/^[\u00a0\u00ad\u200b\u200e\u200f\u2028-\u202f\u2060-\u206f\ufeff]$/.test(piece)) {
        const code = piece.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
        element.append(make("span", { class: "code" }, `U+${code}`));
      } else element.append(piece);
    }
    return element;
  }

  function change(finding, own) {
    const pieces = [make("span", { class: "vh" }, " [change ")];
    if (finding.original) pieces.push(show(make("del"), finding.original));
    pieces.push(make("span", { class: "vh" }, finding.original ? " to " : "insert "));
    const replacement = own === undefined ? finding.replacement : own;
    if (replacement) pieces.push(show(make("ins"), replacement));
    pieces.push(make("span", { class: "vh" }, replacement ? "] " : "nothing] "));
    return pieces;
  }

  const ownWords = (finding) => {
    const decision = decisions.get(finding.id);
    return decision && typeof decision === "object" ? decision.replace : undefined;
  };

  function fillProse(prose, finding) {
    prose.replaceChildren(make("span", { class: "context" }, finding.before), ...change(finding, ownWords(finding)),
      make("span", { class: "context" }, finding.after));
  }

  function makeCard(finding, index) {
    const place = [`line ${finding.line.toLocaleString("en")}`];
    if (view.sort !== "position") {
      if (finding.chapter) place.unshift(finding.chapter);
      if (report.documents.length > 1) place.unshift(nameOf(finding.document));
    }
    const gauge = draw("svg", { viewBox: "0 0 46 5", "aria-hidden": "true", preserveAspectRatio: "none" },
      draw("rect", { width: 46, height: 5, rx: 2.5, class: "rest" }),
      draw("rect", { width: Math.max(2, 46 * finding.confidence), height: 5, rx: 2.5, class: band(finding.confidence) }));
    const card = make("li", { class: `card ${band(finding.confidence)}`, tabindex: "-1", "data-id": finding.id });
    const meta = make("div", { class: "meta" }, make("span", { class: "kind" }, report.categories[finding.category]),
      make("span", { class: "gauge", title: "Confidence" }, gauge, finding.confidence.toFixed(2)),
      make("bdi", {}, place.join(" · ")));
    if (finding.status === "conflict") {
      meta.append(make("span", { class: "conflict", title: "Overlaps a surer finding; only one of them can be applied" }, "conflict"));
    }
    meta.append(make("span", { class: "verdict" }));
    const prose = make("p", { class: "prose", dir: "auto" });
    fillProse(prose, finding);
    const why = make("div", { class: "why" });
    if (finding.message) why.append(make("bdi", { class: "message" }, finding.message), " ");
    why.append(make("bdi", {}, finding.proposers.join(", ")));
    const dispute = [];
    if (finding.dissenters.length) dispute.push(`${finding.dissenters.join(", ")}: something else here`);
    if (finding.silent.length) dispute.push(`${finding.silent.join(", ")}: nothing here`);
    if (dispute.length) why.append(make("bdi", { class: "votes" }, dispute.join(" · ")));
    const button = (name, label, action) => make("button", { type: "button", class: name, "aria-pressed": "false", onclick: (event) => {
      event.stopPropagation();
      select(index, false);
      action();
    } }, label);
    card.append(meta, prose, make("div", { class: "foot" }, why, make("div", { class: "actions" },
      button("accept", "Accept", () => decide([finding], toggled(finding, "accept"))),
      button("edit", "Edit", () => openEditor(card, finding)),
      button("reject", "Reject", () => decide([finding], toggled(finding, "reject"))))));
    card.addEventListener("click", () => { if (current !== index && !getSelection().toString()) select(index, false); });
    paint(card, finding);
    return card;
  }

  const toggled = (finding, decision) => decisions.get(finding.id) === decision ? undefined : decision;

  function paint(card, finding) {
    const decision = decisions.get(finding.id);
    const isOwn = typeof decision === "object";
    card.classList.toggle("is-accept", decision === "accept");
    card.classList.toggle("is-reject", decision === "reject");
    card.classList.toggle("is-own", isOwn);
    card.querySelector(".verdict").textContent = isOwn ? "✓ your words" : { accept: "✓ accepted", reject: "✕ rejected" }[decision] || "";
    card.querySelector(".accept").setAttribute("aria-pressed", decision === "accept");
    card.querySelector(".reject").setAttribute("aria-pressed", decision === "reject");
    card.querySelector(".edit").setAttribute("aria-pressed", isOwn);
    fillProse(card.querySelector(".prose"), finding);
  }

  function openEditor(card, finding) {
    if (card.querySelector(".own")) return card.querySelector("textarea").focus();
    const field = make("textarea", { rows: "1", "aria-label": "Your correction", spellcheck: "true", dir: "auto" });
    field.value = ownWords(finding) ?? finding.replacement;
    const close = () => { form.remove(); card.focus({ preventScroll: true }); };
    const form = make("form", { class: "own", onsubmit: (event) => {
      event.preventDefault();
      close();
      decide([finding], field.value === finding.replacement ? "accept" : field.value === finding.original ? "reject" : { replace: field.value });
    } }, field, make("button", { class: "primary" }, "Use this"), make("button", { type: "button", class: "quiet", onclick: close }, "Cancel"));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
      if (event.key === "Escape") { event.stopPropagation(); close(); }
    });
    card.querySelector(".prose").after(form);
    field.focus();
    field.select();
  }

  const hasOverlap = (one, other) => one.start === one.end || other.start === other.end
    ? one.start <= other.end && other.start <= one.end : one.start < other.end && other.start < one.end;

  // Of findings that overlap only one can be applied: the one accepted last
  function findRivals(chosen) {
    const rivals = [];
    for (const finding of chosen) {
      for (const direction of [-1, 1]) {
        for (let at = finding.position + direction; at >= 0 && at < findings.length; at += direction) {
          const other = findings[at];
          if (other.document !== finding.document || Math.abs(other.start - finding.start) > REACH) break;
          if (hasOverlap(finding, other) && stateOf(other) === "accept") rivals.push(other);
        }
      }
    }
    return rivals;
  }

  function decide(chosen, decision) {
    const isAccepting = decision !== undefined && decision !== "reject";
    const rivals = isAccepting ? findRivals(chosen) : [];
    history.push([...chosen, ...rivals].map((finding) => [finding.id, decisions.get(finding.id)]));
    for (const finding of chosen) put(finding.id, decision);
    for (const rival of rivals) put(rival.id, "reject");
    settle([...chosen, ...rivals]);
    announce(decision === undefined ? "Undecided" : isAccepting ? "Accepted" : "Rejected");
  }

  function decideRest(decision) {
    const rest = shown.filter((finding) => !decisions.has(finding.id) && (decision === "reject" || finding.status !== "conflict"));
    if (rest.length) decide(rest, decision);
  }

  function undo() {
    const last = history.pop();
    if (!last) return;
    for (const [id, decision] of last) put(id, decision);
    settle(last.map(([id]) => byId.get(id)));
    const index = shown.indexOf(byId.get(last[0][0]));
    if (index >= 0) select(index, true);
    announce("Undone");
  }

  function put(id, decision) {
    if (decision === undefined) decisions.delete(id);
    else decisions.set(id, decision);
  }

  function settle(changed) {
    for (const finding of changed) if (finding.card) paint(finding.card, finding);
    storage.write(storageKey, JSON.stringify(Object.fromEntries(decisions)));
    showProgress();
  }

  function showProgress() {
    $("progress-text").textContent = `${decisions.size.toLocaleString("en")} of ${findings.length.toLocaleString("en")} decided`;
    $("progress-bar").style.width = findings.length ? `${100 * decisions.size / findings.length}%` : "0";
    $("undo").disabled = !history.length;
  }

  function announce(what) { $("live").textContent = `${what}. ${$("progress-text").textContent}.`; }

  function save() {
    const chosen = {};
    for (const finding of findings) if (decisions.has(finding.id)) chosen[finding.id] = decisions.get(finding.id);
    const text = JSON.stringify({ run: report.run, decisions: chosen }, null, 1) + "\n";
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = make("a", { href: url, download: "decisions.json" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    announce("Saved decisions.json");
  }

  const fits = (finding, ignored) =>
    (ignored === "confidence" || finding.confidence * 100 >= view.confidence - 1e-9) &&
    (ignored === "categories" || !view.categories.size || view.categories.has(finding.category)) &&
    (view.document === "" || finding.document === Number(view.document)) &&
    (!view.query || finding.haystack.includes(view.query)) &&
    (!view.state || (view.state === "conflict" ? finding.status === "conflict" : view.state === "disputed" ? isDisputed(finding)
      : view.state === stateOf(finding)));

  // Of the models that looked at the place themselves some want this, and others nothing or something else
  const isDisputed = (finding) => finding.dissenters.length > 0 || (finding.silent.length > 0 && finding.proposers.some(isVoter));
  const isVoter = (proposer) => /\/(edits|rewrite)$/.test(proposer);

  function stateOf(finding) {
    const decision = decisions.get(finding.id);
    return decision === undefined ? "undecided" : decision === "reject" ? "reject" : "accept";
  }

  const ORDERS = {
    position: (one, other) => one.position - other.position,
    confidence: (one, other) => other.confidence - one.confidence || one.position - other.position,
    doubt: (one, other) => one.confidence - other.confidence || one.position - other.position,
  };

  function refresh() {
    const kept = shown[current];
    for (const finding of findings) finding.card = null;
    shown = findings.filter((finding) => fits(finding)).sort(ORDERS[view.sort]);
    cards = [];
    current = -1;
    $("findings").replaceChildren();
    renderUntil(SLICE - 1);
    const isAll = shown.length === findings.length;
    $("shown").textContent = isAll ? plural(findings.length, "finding") : `${shown.length.toLocaleString("en")} of ${plural(findings.length, "finding")}`;
    $("empty").hidden = shown.length > 0;
    $("empty").firstChild.textContent = findings.length ? "No finding fits these filters. " : "Nothing was found. ";
    $("clear").hidden = !findings.length;
    $("accept-shown").disabled = $("reject-shown").disabled = !shown.length;
    drawChips();
    drawMap();
    drawHistogram();
    const index = shown.indexOf(kept);
    if (index >= 0 && index < SLICE) select(index, false);
  }

  function renderUntil(last) {
    const fragment = document.createDocumentFragment();
    for (let index = cards.length; index <= Math.min(last, shown.length - 1); index++) {
      const finding = shown[index], before = shown[index - 1];
      if (view.sort === "position") {
        const isNew = before?.document !== finding.document;
        if (isNew && report.documents.length > 1) fragment.append(make("li", { class: "document", dir: "auto" }, nameOf(finding.document)));
        if (finding.chapter && (isNew || before.chapter !== finding.chapter)) fragment.append(make("li", { class: "chapter", dir: "auto" }, finding.chapter));
      }
      finding.card = makeCard(finding, index);
      cards.push(finding.card);
      fragment.append(finding.card);
    }
    $("findings").append(fragment);
  }

  function select(index, isScrolled) {
    if (index < 0 || index >= shown.length) return;
    if (cards[current]) cards[current].removeAttribute("aria-current");
    if (index >= cards.length) renderUntil(index + SLICE);
    current = index;
    const card = cards[index];
    card.setAttribute("aria-current", "true");
    if (!isScrolled) return;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: "center" });
  }

  function drawChips() {
    const counts = new Map(Object.keys(report.categories).map((category) => [category, 0]));
    for (const finding of findings) if (fits(finding, "categories")) counts.set(finding.category, counts.get(finding.category) + 1);
    const focused = document.activeElement?.dataset?.category;
    $("chips").replaceChildren(...[...counts].map(([category, count]) => make("button", {
      type: "button", class: "chip", "data-category": category, "aria-pressed": view.categories.has(category), onclick: () => {
        if (!view.categories.delete(category)) view.categories.add(category);
        refresh();
      } }, report.categories[category], make("b", {}, count.toLocaleString("en")))));
    if (focused) $("chips").querySelector(`[data-category="${focused}"]`)?.focus();
  }

  function stack(svg, totals, counts, width, height, title) {
    const top = Math.max(1, ...totals);
    totals.forEach((total, index) => {
      const x = index * width + 0.5, inner = width - 1;
      let y = height;
      if (total) svg.append(draw("rect", { x, width: inner, y: height - height * total / top, height: height * total / top, class: "ghost" }));
      for (const name of ["sure", "likely", "unsure"]) {
        const size = height * counts[index][name] / top;
        y -= size;
        if (size) svg.append(draw("rect", { x, width: inner, y, height: size, class: name }));
      }
      if (total) svg.append(draw("rect", { x: index * width, width, y: 0, height, class: "hit", "data-part": index },
        draw("title", {}, title(index, total))));
    });
    svg.append(draw("line", { class: "base", x1: 0, x2: width * totals.length, y1: height, y2: height }));
    return svg;
  }

  const emptyCounts = (size) => Array.from({ length: size }, () => ({ sure: 0, likely: 0, unsure: 0 }));
  const partOf = (finding) =>
    Math.min(NUM_PARTS - 1, Math.floor(NUM_PARTS * (offsets[finding.document] + finding.start) / Math.max(1, numChars)));

  function drawMap() {
    const totals = Array(NUM_PARTS).fill(0), counts = emptyCounts(NUM_PARTS);
    for (const finding of findings) totals[partOf(finding)]++;
    for (const finding of shown) counts[partOf(finding)][band(finding.confidence)]++;
    const densest = totals.indexOf(Math.max(...totals));
    const svg = draw("svg", { viewBox: `0 0 ${NUM_PARTS * 10} 84`, preserveAspectRatio: "none", role: "img",
      "aria-label": `Findings along the text in ${NUM_PARTS} parts; most of them ${Math.round(100 * densest / NUM_PARTS)}% in` });
    stack(svg, totals, counts, 10, 84, (index, total) => `${plural(total, "finding")}, ${Math.round(100 * index / NUM_PARTS)}% in`);
    for (const offset of offsets.length <= 12 ? offsets.slice(1) : []) {
      const x = NUM_PARTS * 10 * offset / Math.max(1, numChars);
      svg.append(draw("line", { class: "seam", x1: x, x2: x, y1: -4, y2: 84 }));
    }
    svg.addEventListener("click", (event) => {
      const part = event.target.dataset.part;
      const index = part === undefined ? -1 : shown.findIndex((finding) => partOf(finding) === Number(part));
      if (index >= 0) select(index, true);
    });
    $("map").replaceChildren(svg);
  }

  function drawHistogram() {
    const binOf = (finding) => Math.min(NUM_BINS - 1, Math.floor(finding.confidence * NUM_BINS + 1e-9));
    const totals = Array(NUM_BINS).fill(0), counts = emptyCounts(NUM_BINS);
    for (const finding of findings) totals[binOf(finding)]++;
    for (const finding of shown) counts[binOf(finding)][band(finding.confidence)]++;
    const svg = draw("svg", { viewBox: `0 0 ${NUM_BINS * 10} 84`, preserveAspectRatio: "none", role: "img",
      "aria-label": `Findings by confidence; ${findings.filter((finding) => finding.confidence >= report.minAccept).length} at or above ${report.minAccept}` });
    stack(svg, totals, counts, 10, 84, (index, total) => `${plural(total, "finding")} from ${(index / NUM_BINS).toFixed(2)} to ${((index + 1) / NUM_BINS).toFixed(2)}`);
    const x = NUM_BINS * 10 * report.minAccept;
    svg.append(draw("line", { class: "threshold", x1: x, x2: x, y1: -4, y2: 84 }, draw("title", {}, `Applied from ${report.minAccept}`)));
    svg.addEventListener("click", (event) => {
      if (event.target.dataset.part === undefined) return;
      $("confidence").value = 100 * event.target.dataset.part / NUM_BINS;
      $("confidence").dispatchEvent(new Event("input"));
    });
    $("histogram").replaceChildren(svg);
  }

  function drawTruth() {
    if (!report.truth) return;
    const found = report.truth.filter((item) => item.isFound).length;
    const bar = make("div", { class: "ratio", "aria-hidden": "true" }, make("span"));
    bar.firstChild.style.width = `${report.truth.length ? 100 * found / report.truth.length : 0}%`;
    const list = make("ul");
    for (const item of [...report.truth].sort((one, other) => one.isFound - other.isFound)) {
      const place = report.documents.length > 1 ? `${nameOf(item.document)}, line ${item.line}` : `line ${item.line}`;
      list.append(make("li", { dir: "auto" }, make("small", {}, `${item.isFound ? "found" : "missed"} · ${report.categories[item.category]} · ${place}`),
        item.before, ...change(item), item.after));
    }
    $("truth").append(make("details", {}, make("summary", {},
      `Against a human’s corrections: ${found} of ${report.truth.length} found, ${report.truth.length - found} missed`), list), bar);
    $("truth").hidden = false;
  }

  function step(direction) { select(current < 0 ? 0 : current + direction, true); }

  function decideCurrent(decision) {
    if (current < 0) return select(0, true);
    decide([shown[current]], decision);
    step(1);
  }

  const KEYS = {
    j: () => step(1), ArrowDown: () => step(1), k: () => step(-1), ArrowUp: () => step(-1),
    a: () => decideCurrent("accept"), r: () => decideCurrent("reject"), u: undo, s: save,
    e: () => { if (current >= 0) openEditor(cards[current], shown[current]); },
    "/": () => { $("search").focus(); $("search").select(); }, "?": () => $("help").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("help").open) return;
    const target = event.target;
    if (event.key === "Escape" && target.matches("input, select")) {
      target.blur();
      if (current >= 0) cards[current].focus({ preventScroll: true });
      return;
    }
    if (target.matches("textarea, select, input")) return;
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  let searchTimer = 0;
  $("search").addEventListener("input", (event) => {
    clearTimeout(searchTimer);
    searchTimer = setTimeout(() => { view.query = event.target.value.trim().toLowerCase(); refresh(); }, 120);
  });
  for (const name of ["document", "state", "sort"]) $(name).addEventListener("change", (event) => { view[name] = event.target.value; refresh(); });
  $("confidence").addEventListener("input", (event) => {
    view.confidence = Number(event.target.value);
    $("confidence-out").textContent = view.confidence ? `${(view.confidence / 100).toFixed(2)} and over` : "all shown";
    refresh();
  });
  $("clear").addEventListener("click", () => {
    Object.assign(view, { query: "", document: "", state: "", confidence: 0 });
    view.categories.clear();
    for (const name of ["search", "document", "state"]) $(name).value = "";
    $("confidence").value = 0;
    $("confidence-out").textContent = "all shown";
    refresh();
  });
  $("save").addEventListener("click", save);
  $("undo").addEventListener("click", undo);
  $("accept-shown").addEventListener("click", () => decideRest("accept"));
  $("reject-shown").addEventListener("click", () => decideRest("reject"));
  $("help-open").addEventListener("click", () => $("help").showModal());

  const THEMES = ["auto", "light", "dark"];
  function setTheme(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").querySelector("span").textContent = theme;
    $("theme").setAttribute("aria-label", `Colours: ${theme === "auto" ? "as the system" : theme}`);
    storage.write("galley theme", theme);
  }
  $("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3]));
  const savedTheme = storage.read("galley theme");
  if (THEMES.includes(savedTheme) && savedTheme !== "auto") setTheme(savedTheme);

  if (report.documents.length > 1) {
    $("document").append(make("option", { value: "" }, `All ${report.documents.length} documents`),
      ...report.documents.map((each, index) => make("option", { value: index }, each.title || each.name)));
    $("document-pick").hidden = false;
  }
  new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting) && cards.length < shown.length) renderUntil(cards.length + SLICE - 1);
  }, { rootMargin: "1500px" }).observe($("more"));
  addEventListener("beforeprint", () => renderUntil(shown.length));
  drawTruth();
  refresh();
  showProgress();
})();
