/* What is alive on the local pages. Without it everything works too: pages then refresh themselves. ES5, no text of its own. */
(function () {
  "use strict";
  var body = document.body, source = null, shown = 0, dirty = false, leaving = false;
  function by(id) { return document.getElementById(id); }
  function show(id, on) { var e = by(id); if (e) { e.hidden = !on; } }

  function news() {
    var field = document.activeElement, typing = field && /^(INPUT|SELECT|TEXTAREA)$/.test(field.tagName) && field.type !== "hidden";
    if (leaving) { return; } /* the answer of a form is on its way: a reload would lose it */
    if (body.hasAttribute("data-live") && !dirty && !typing) { location.reload(); } else { show("news", true); }
  }
  function progress(work) {
    var mine = by("work");
    if (!mine || mine.getAttribute("data-work") !== work.id) {
      if (!work.finished && !mine) { news(); }
      return;
    }
    if (work.finished) { return; }
    by("work-text").textContent = work[body.getAttribute("data-lang")] || work.zh;
    by("work-percent").textContent = work.percent === null ? (work.done ? String(work.done) : "") : work.percent + " %";
    if (work.percent !== null) { by("work-bar").value = work.percent; }
  }
  function listen() {
    if (source || !window.EventSource || body.className === "bare") { return; }
    source = new EventSource("/events");
    source.addEventListener("hello", function (e) {
      var facts = JSON.parse(e.data), mine = by("work");
      show("lost", false);
      if (facts.boot !== body.getAttribute("data-boot")) { news(); return; }
      if (mine && (!facts.work || facts.work.id !== mine.getAttribute("data-work"))) { location.reload(); return; }
      if (facts.work) { progress(facts.work); }
    });
    source.addEventListener("work", function (e) { progress(JSON.parse(e.data)); });
    source.addEventListener("changed", function () {
      if (by("work") && !leaving) { location.reload(); } else { news(); }
    });
    source.addEventListener("bye", function () { source.close(); source = null; });
    source.onerror = function () {
      shown += 1;
      show("lost", true);
      if (source && source.readyState === 2) { source = null; setTimeout(listen, 3000); }
    };
  }

  document.addEventListener("visibilitychange", function () { if (!document.hidden) { listen(); } });
  document.addEventListener("input", function () { dirty = true; });
  document.addEventListener("submit", function (e) {
    var buttons = e.target.querySelectorAll("button"), i;
    dirty = false;
    leaving = true;
    if (e.target.getAttribute("data-sent")) { e.preventDefault(); return; }
    if ((e.target.method || "").toLowerCase() === "post") {
      e.target.setAttribute("data-sent", "1");
      for (i = 0; i < buttons.length; i += 1) { buttons[i].setAttribute("aria-disabled", "true"); }
    }
  });
  window.addEventListener("pageshow", function () {
    var forms = document.querySelectorAll("form[data-sent]"), i;
    leaving = false;
    for (i = 0; i < forms.length; i += 1) { forms[i].removeAttribute("data-sent"); }
  });
  document.addEventListener("click", function (e) {
    var button = e.target, id = button.getAttribute && button.getAttribute("data-copy"), range;
    if (button.getAttribute && button.hasAttribute("data-print")) { window.print(); return; }
    if (!id) { return; }
    range = document.createRange();
    range.selectNodeContents(by(id));
    window.getSelection().removeAllRanges();
    window.getSelection().addRange(range);
    if (document.execCommand("copy")) { button.textContent = button.getAttribute("data-copied"); }
  });
  var hidden = document.querySelectorAll("[data-copy][hidden], [data-print][hidden]"), i;
  for (i = 0; i < hidden.length; i += 1) { hidden[i].hidden = false; }
  listen();
}());
