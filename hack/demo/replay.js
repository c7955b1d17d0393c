// Plays answers of the demo at the times at which their tokens came, one pane for each side, with a reader at each.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("replay-data").textContent);
  if (!data.requests.length) return;
  // The virtual GPU makes no words. These stand in for them: one for each token.
  const WORDS = ("You asked a question, and somewhere a machine began to answer it. Read these words as they come. They are not " +
    "what it said; they came when its words came, one for each. A good answer starts before you wonder whether it will, and " +
    "then it flows a little faster than you read, so that there is always one more word and you never notice the machine at " +
    "all. A bad answer lets you wait at the start, or stops in the middle of a sentence while others are served, and you look " +
    "at the last word, and at the clock, and at the last word again. Tokens in a second do not tell the two apart. Only the " +
    "times do: when each word came, and whether you had read the one before. During the surge many people asked at once. Some " +
    "of them read on without a pause, and some of them sat where you sit now and looked at a word that did not come. Who had " +
    "to wait, and for how long, is what a scheduler decides; how many had to wait is what a scaler decides, half a minute " +
    "before. Both are on this page. Now go on to the other side, with the same question and the same second, and feel the " +
    "difference.").split(" ");
  const period = 1 / data.pace;
  const node = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const seconds = (value) => value.toFixed(1) + " s";

  // Of an answer: when each token came, and when the reader had read it (the reader of the measure of QoE).
  function timeline(request, side) {
    const came = [], read = [];
    let at = 0, done = data.expectedTTFT;
    for (const step of request.t[side] ? request.t[side].split(" ") : []) {
      at += Number(step);
      came.push(at / 1000);
      done = Math.max(at / 1000, done) + period;
      read.push(done);
    }
    const error = request.e ? request.e[side] : null;
    return { came, read, error, end: error ? request.d[side] / 1000 : came.length ? came[came.length - 1] : 0, qoe: request.q[side] };
  }

  function count(times, at) { // how many of the ascending times are at or before `at`
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] <= at) low = middle + 1; else high = middle;
    }
    return low;
  }

  // Seconds until `at` for which the reader had nothing to read, and whether that is so now.
  function waited(line, at) {
    let total = 0, dry = data.expectedTTFT;
    for (let k = 0; k <= line.came.length; k++) {
      const next = k < line.came.length ? line.came[k] : line.error ? line.end : dry;
      if (next > dry) total += Math.max(0, Math.min(at, next) - dry);
      if (next >= at) break;
      if (k < line.read.length) dry = line.read[k];
    }
    return total;
  }

  class Pane {
    constructor(side) {
      this.side = side;
      this.root = node("section", undefined, "pane");
      this.root.setAttribute("aria-label", "Answer of " + data.sides[side]);
      this.about = node("p", undefined, "about");
      this.state = node("p", undefined, "state");
      this.state.setAttribute("aria-live", "off");
      this.text = node("div", undefined, "answer");
      this.text.tabIndex = 0; // it scrolls, so that the keyboard must reach it
      this.text.setAttribute("role", "region");
      this.text.setAttribute("aria-label", "Words so far, " + data.sides[side]);
      this.text.setAttribute("aria-live", "off");
      this.root.append(node("h3", data.sides[side]), this.about, this.state, this.text);
    }

    show(request) {
      this.line = timeline(request, this.side);
      this.words = this.line.came.map((_, k) => node("span", WORDS[k % WORDS.length] + " "));
      this.text.replaceChildren(...this.words);
      const line = this.line, first = line.came.length ? "first word after " + seconds(line.came[0]) : "no word came";
      const how = line.error ? "; ended early: " + line.error : ", last after " + seconds(line.end);
      this.about.textContent = "QoE " + (line.qoe === null ? "unknown" : line.qoe.toFixed(2)) + "; " + first + how;
      this.end = Math.max(line.end, line.read.length ? line.read[line.read.length - 1] : 0, data.expectedTTFT);
    }

    draw(at) {
      const line = this.line, came = count(line.came, at), read = count(line.read, at);
      this.words.forEach((word, k) => {
        const kind = k >= came ? "coming" : k < read ? "read" : "";
        if (word.className !== kind) word.className = kind;
      });
      const over = came === line.came.length && (!line.error || at >= line.end);
      const total = waited(line, at);
      const late = " The reader has waited for " + seconds(total) + " in all.";
      let said, kind = "state";
      if (over && read === line.came.length) said = (line.error ? "Cut off." : "Read to the end.") + late;
      else if (came > read || at <= data.expectedTTFT) said = came + " of " + line.came.length + " words came, " + read + " read." + late;
      else { said = "The reader waits for a word." + late; kind = "state waits"; }
      this.state.textContent = said;
      this.state.className = kind;
      this.root.classList.toggle("dry", kind !== "state");
      const last = this.words[came - 1];
      if (last) this.text.scrollTop = last.offsetTop - this.text.clientHeight + 2 * last.offsetHeight;
      else this.text.scrollTop = 0;
    }
  }

  const panes = data.sides.map((_, side) => new Pane(side));
  document.getElementById("panes").append(...panes.map((pane) => pane.root));
  const [pick, other] = ["replay-request", "replay-other"].map((id) => document.getElementById(id));
  const apart = document.getElementById("replay-apart"), speed = document.getElementById("replay-speed");
  const play = document.getElementById("replay-play"), clock = document.getElementById("replay-clock");
  const slider = document.getElementById("replay-at");
  const two = data.sides.length > 1;

  const gain = (request) => two && request.q[0] !== null && request.q[1] !== null ? request.q[0] - request.q[1] : 0;
  const named = (request) => "second " + request.a.toFixed(1) + ": prompt " + request.p + ", answer " + request.w + " tokens; QoE " +
    request.q.map((value) => value === null ? "unknown" : value.toFixed(2)).join(two ? " and " : "");
  const group = (label, requests) => {
    const made = node("optgroup");
    made.label = label;
    for (const request of requests) {
      const option = node("option", named(request));
      option.value = String(request.n);
      made.append(option);
    }
    return made;
  };
  const byGain = [...data.requests].sort((a, b) => gain(b) - gain(a));
  const groups = () => two ? [
    group("Where " + data.sides[0] + " was better by most", byGain.filter((r) => gain(r) > 0).slice(0, 8)),
    group("Where " + data.sides[1] + " was better by most", byGain.filter((r) => gain(r) < 0).slice(-8).reverse()),
    group("All, as they came", data.requests),
  ] : [group("All, as they came", data.requests)];
  for (const select of [pick, other]) select.append(...groups());
  const widest = data.requests.reduce((a, b) => Math.abs(gain(b)) > Math.abs(gain(a)) ? b : a);
  const worst = data.requests.reduce((a, b) => (b.q[0] ?? 1) < (a.q[0] ?? 1) ? b : a);
  pick.value = other.value = String((two ? widest : worst).n);
  document.getElementById("replay-apart-row").hidden = !two;

  let at = 0, playing = false, before = null;
  const numbered = (select) => data.requests.find((request) => String(request.n) === select.value);
  const end = () => Math.max(...panes.map((pane) => pane.end)) + 0.5;

  function draw() {
    clock.textContent = seconds(at) + " of " + seconds(end());
    slider.value = String(at);
    panes.forEach((pane) => pane.draw(at));
  }
  function choose() {
    if (!apart.checked) other.value = pick.value;
    document.getElementById("replay-other-row").hidden = !apart.checked;
    panes.forEach((pane, side) => pane.show(numbered(side === 1 ? other : pick)));
    slider.max = end().toFixed(1);
    stop();
    at = 0;
    draw();
  }
  function stop() {
    playing = false;
    before = null;
    play.textContent = "Play";
  }
  function frame(now) {
    if (!playing) return;
    if (before !== null) at = Math.min(end(), at + (now - before) / 1000 * Number(speed.value));
    before = now;
    draw();
    if (at >= end()) stop(); else requestAnimationFrame(frame);
  }
  play.addEventListener("click", () => {
    if (playing) return stop();
    if (at >= end()) at = 0;
    playing = true;
    play.textContent = "Pause";
    requestAnimationFrame(frame);
  });
  document.getElementById("replay-start").addEventListener("click", () => { at = 0; draw(); });
  slider.addEventListener("input", () => { at = Number(slider.value); draw(); });
  for (const control of [pick, other, apart]) control.addEventListener("change", choose);
  document.getElementById("replay").hidden = false;
  choose();
})();
