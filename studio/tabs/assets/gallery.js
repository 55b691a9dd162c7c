// The gallery: filters, pages of tiles, selection, and the large view. The server sends tiles and
// views as HTML in which everything others said is escaped.
(() => {
  const tools = () => window.studio;
  let heard = () => {};
  let showed = () => {};

  const grid = (element, props, watch, trigger, facts) => {
    const { make, language, tell } = tools();
    const words = facts.words[language()] || facts.words.en;
    const local = (said) => said[language()] || said.en;
    const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    const chosen = new Set();
    let turn = 0;
    let shown = "";      // the filters whose tiles stand there
    let next = "";
    let paged = false;   // more than the first page stands there
    let selecting = false;
    let late = null;

    // --- filters ---
    const option = ([value, said]) => make("option", { value, text: local(said) });
    const select = (word, first, options) => make("select", { "aria-label": words[word], onchange: () => look() },
      make("option", { value: "", text: first }), ...options);
    // A tab of one workflow is one line; one of several is a group, with all of them first.
    const group = ([tab, said, workflows]) => workflows.length < 2
      ? option([`tab:${tab}`, said])
      : make("optgroup", { label: local(said) }, make("option", { value: `tab:${tab}`, text: fill(words.all_of, { tab: local(said) }) }), ...workflows.map(option));
    const text = make("input", { type: "search", placeholder: words.search, "aria-label": words.search, maxlength: 200,
      oninput: () => { clearTimeout(late); late = setTimeout(look, 350); } });
    const workflow = select("workflow", words.everything, facts.workflows.map(group));
    const state = select("state", words.all, facts.states.map(option));
    const day = (word) => make("input", { type: "date", "aria-label": words[word], onchange: () => look() });
    const since = day("since"), until = day("until");
    const heart = make("button", { type: "button", class: "studio-act", "aria-pressed": "false", text: `♥ ${words.favourites}`,
      onclick: () => { heart.setAttribute("aria-pressed", String(heart.getAttribute("aria-pressed") !== "true")); look(); } });
    const pick = make("button", { type: "button", class: "studio-act", "aria-pressed": "false", text: words.select, onclick: () => choosing(!selecting) });
    const clear = make("button", { type: "button", class: "studio-link", text: words.clear, hidden: true, onclick: () => {
      text.value = workflow.value = state.value = since.value = until.value = "";
      heart.setAttribute("aria-pressed", "false");
      look();
    } });
    const date = (word, input) => make("label", { class: "studio-date" }, make("span", { text: words[word] }), input);
    const bar = make("div", { class: "studio-filters" }, text, workflow, state, date("since", since), date("until", until), heart, pick);

    const midnight = (value, days) => {
      if (!value) return null;
      const [year, month, date_] = value.split("-").map(Number);
      return new Date(year, month - 1, date_ + days).getTime();
    };
    const filters = () => ({
      text: text.value.trim(),
      tab: workflow.value.startsWith("tab:") ? workflow.value.slice(4) : "",
      workflow: workflow.value.startsWith("tab:") ? "" : workflow.value,
      state: state.value, favourite: heart.getAttribute("aria-pressed") === "true",
      since_ms: midnight(since.value, 0), until_ms: midnight(until.value, 1),
    });
    const none = JSON.stringify(filters());

    // --- tiles ---
    const count = make("span", { role: "status" });
    const tiles = make("div", { class: "studio-pieces", "aria-busy": "true" });
    const nothing = make("p", { class: "studio-empty-gallery", hidden: true });
    const more = make("button", { type: "button", class: "studio-act studio-more-button", text: words.more, hidden: true, onclick: () => fetchMore() });
    const look = () => {
      turn += 1;
      clear.hidden = JSON.stringify(filters()) === none;
      if (JSON.stringify(filters()) !== shown) tiles.setAttribute("aria-busy", "true");
      trigger("look", { filters: filters(), turn: String(turn) });
    };
    let fetching = false;
    const fetchMore = () => {
      if (!next || fetching) return;
      fetching = true;
      more.disabled = true;
      trigger("more", { filters: filters(), after: next, turn: String(turn) });
    };
    // A tile far from sight is a shell of its size, without a picture: one may page through thousands.
    const looks = new WeakMap();
    const drawn = (html) => {
      const holder = make("template");
      holder.innerHTML = html;
      const tile = holder.content.firstElementChild;
      const box = tile.querySelector("input");
      box.checked = chosen.has(tile.dataset.job);
      box.addEventListener("change", () => {
        if (box.checked && chosen.size >= facts.most) { box.checked = false; tell(fill(words.most, { n: facts.most })); return; }
        if (box.checked) chosen.add(tile.dataset.job); else chosen.delete(tile.dataset.job);
        if (box.checked && !selecting) choosing(true);
        counted();
      });
      return tile;
    };
    const woken = (tile) => {
      if (!("asleep" in tile.dataset)) return;
      delete tile.dataset.asleep;
      tile.replaceChildren(...drawn(looks.get(tile)).children);
    };
    const near = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting, boundingClientRect } of seen) {
        if (isIntersecting) woken(target);
        else if (boundingClientRect.height && !target.contains(document.activeElement)) {
          target.dataset.asleep = "";
          target.replaceChildren();
        }
      }
    }, { rootMargin: "1500px 0px" });
    const made = (piece) => {
      const tile = drawn(piece.html);
      looks.set(tile, piece.html);
      near.observe(tile);
      return tile;
    };
    const find = (job) => tiles.querySelector(`[data-job="${CSS.escape(job)}"]`);
    const place = (pieces, merge) => {
      if (!merge) { tiles.replaceChildren(...pieces.map(made)); return; }
      let after = null;
      for (const piece of pieces) {
        const old = find(piece.job);
        if (old && looks.get(old) === piece.html) { after = old; continue; }
        const tile = made(piece);
        if (old) old.replaceWith(tile);
        else if (after) after.after(tile);
        else tiles.prepend(tile);
        after = tile;
      }
    };
    heard = (answer) => {
      if (!answer || answer.turn !== String(turn)) return;
      const now = JSON.stringify(filters());
      if (answer.kind === "look") {
        const merge = now === shown && paged;
        place(answer.tiles, merge);
        if (!merge) { next = answer.next; paged = false; }
        shown = now;
        tiles.removeAttribute("aria-busy");
        count.textContent = fill(answer.many ? words.count_more : answer.count === 1 ? words.count_one : words.count, { n: answer.count });
        nothing.hidden = tiles.childElementCount > 0;
        nothing.textContent = now === none ? words.nothing : words.none;
      } else if (answer.kind === "more") {
        const known = new Set([...tiles.children].map((tile) => tile.dataset.job));
        tiles.append(...answer.tiles.filter((piece) => !known.has(piece.job)).map(made));
        next = answer.next;
        paged = true;
        if (waiting) { waiting = false; step(1); }
      }
      fetching = false;
      more.disabled = false;
      more.hidden = !next;
      ahead.disconnect(); // so that it tells again of an end that is still near
      ahead.observe(more);
    };
    // Who scrolls down need not press for more.
    const ahead = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) fetchMore(); }, { rootMargin: "400px 0px" });

    // --- selection ---
    const amount = make("strong");
    // A form and not a link: an address has no room for hundreds of jobs. What comes back is a file
    // that is written as it comes; only a refusal is ever shown in the frame.
    const frame = make("iframe", { name: "studio-zip", hidden: true, title: words.zip, onload: () => refused() });
    const form = make("form", { method: "post", action: "outputs/zip", target: "studio-zip" });
    const pack = make("button", { type: "button", class: "studio-act studio-strong", text: words.zip, onclick: () => {
      form.replaceChildren(...packable().map((job) => make("input", { type: "hidden", name: "of", value: job })));
      form.submit();
    } });
    const every = make("button", { type: "button", class: "studio-act", text: words.select_all, onclick: () => {
      for (const tile of tiles.children) {
        if (chosen.size >= facts.most) { tell(fill(words.most, { n: facts.most })); break; }
        chosen.add(tile.dataset.job);
        tile.querySelectorAll("input").forEach((box) => { box.checked = true; });
      }
      counted();
    } });
    const drop = make("button", { type: "button", class: "studio-act", text: words.delete, onclick: () => remove([...chosen]) });
    const stop = make("button", { type: "button", class: "studio-act", text: words.close, onclick: () => choosing(false) });
    const held = make("div", { class: "studio-selected", hidden: true }, amount, every, pack, drop, stop, form, frame);
    const packable = () => [...chosen].filter((job) => { const tile = find(job); return tile && Number(tile.dataset.files) > 0; });
    const refused = () => {
      const said = frame.contentDocument && frame.contentDocument.body.textContent.trim();
      if (!said) return;
      try {
        const { message, hint } = JSON.parse(said).error;
        tell(`${message} ${hint || ""}`.trim(), { fault: true });
      } catch { tell(words.failed, { fault: true }); }
    };
    const counted = () => {
      amount.textContent = fill(words.selected, { n: chosen.size });
      pack.disabled = packable().length === 0;
      drop.disabled = chosen.size === 0;
    };
    const choosing = (on) => {
      selecting = on;
      pick.setAttribute("aria-pressed", String(on));
      root.toggleAttribute("data-selecting", on);
      held.hidden = !on;
      if (!on) { chosen.clear(); tiles.querySelectorAll("input").forEach((box) => { box.checked = false; }); }
      counted();
    };

    // --- deleting, with undo ---
    let view = null;
    const ground = () => element.closest(".gradio-container") || document.body;
    let back = [];
    const undo = (gone) => { back = gone; trigger("restore", { jobs: gone.map(([job]) => job) }); };
    const remove = (jobs) => { if (jobs.length) trigger("remove", { jobs }); };
    // The tabs show their last results, and one of them large: they hear of what came or went.
    const strips = (pairs) => {
      const shown = {};
      const tabs = [...new Set(pairs.map(([, tab]) => tab))];
      for (const tab of tabs) {
        const stage = document.querySelector(`#studio-${CSS.escape(tab)}-stage .studio-stage[data-job]`);
        if (stage) shown[tab] = stage.dataset.job;
      }
      if (tabs.length) trigger("changed", { tabs, shown });
    };

    tiles.addEventListener("click", (event) => {
      const button = event.target.closest("[data-act='open']");
      if (!button) return;
      const tile = button.closest("[data-job]");
      if (selecting) { const box = tile.querySelector("input"); box.checked = !box.checked; box.dispatchEvent(new Event("change")); return; }
      open(tile);
    });

    // --- the large view ---
    let at = "";
    let waiting = false;
    let body = null;
    let failed = false; // something was not as it is shown: it is looked up when the view closes
    document.addEventListener("studio-fault", () => {
      failed = view !== null;
      fetching = waiting = more.disabled = false;
      tiles.removeAttribute("aria-busy");
      if (body) body.removeAttribute("aria-busy");
    });
    const step = (by) => {
      const all = [...tiles.children];
      const index = all.findIndex((tile) => tile.dataset.job === at);
      const tile = all[index + by];
      if (tile) { open(tile); return; }
      if (by > 0 && next) { waiting = true; fetchMore(); }
    };
    const round = (word, glyph, act) => make("button", { type: "button", class: "studio-round", "data-way": word, title: words[word], "aria-label": words[word], text: glyph, onclick: act });
    const open = (tile) => {
      at = tile.dataset.job;
      if (!view) {
        body = make("div", { class: "studio-view-body" });
        view = make("dialog", { class: "studio-view studio-view-gallery", "aria-label": words.open, onclose: () => {
          const tile = find(at);
          view.remove();
          view = null;
          if (tile) { woken(tile); tile.querySelector("button").focus({ preventScroll: true }); }
          if (failed) { failed = paged = false; look(); }
        } }, body, round("close", "✕", () => view.close()), round("previous", "‹", () => step(-1)), round("next", "›", () => step(1)));
        view.addEventListener("keydown", (event) => {
          if (event.target.closest("video, audio, input")) return;
          if (event.key === "ArrowLeft") step(-1);
          if (event.key === "ArrowRight") step(1);
        });
        view.addEventListener("click", acted);
        swiped(view, step);
        ground().append(view);
        view.showModal();
      }
      body.setAttribute("aria-busy", "true");
      const all = [...tiles.children];
      view.querySelector("[data-way='previous']").disabled = all[0] === tile;
      view.querySelector("[data-way='next']").disabled = all[all.length - 1] === tile && !next;
      trigger("open", { job: at });
    };
    // Across the files: not where a player has its knobs, and not with two fingers.
    const swiped = (element_, step_) => {
      let from = null;
      element_.addEventListener("touchstart", (event) => {
        const [touch] = event.touches;
        const player = event.target.closest("video");
        const knobs = event.target.closest("audio, button") || (player && touch.clientY > player.getBoundingClientRect().bottom - 72);
        from = event.touches.length === 1 && event.target.closest(".studio-large-files") && !knobs ? touch : null;
      }, { passive: true });
      element_.addEventListener("touchend", (event) => {
        if (!from) return;
        const [to] = event.changedTouches;
        const across = to.clientX - from.clientX;
        if (Math.abs(across) > 56 && Math.abs(across) > 2 * Math.abs(to.clientY - from.clientY)) step_(across < 0 ? 1 : -1);
        from = null;
      }, { passive: true });
    };
    const acted = (event) => {
      if (event.target === view) { view.close(); return; }
      const button = event.target.closest("[data-act]");
      if (!button) return;
      const { act, tab, field, number, on } = button.dataset;
      if (act === "favourite") trigger("favourite", { job: at, on: on === "1" });
      if (act === "remove") { const job = at; view.close(); remove([job]); }
      if (act === "again") { const job = at; view.close(); trigger(`again_${tab}`, { job }); top_(); }
      if (act === "send") {
        const job = at, name = body.querySelector(".studio-file:not([hidden])").dataset.name;
        view.close();
        trigger(`send_${tab}`, { job, name, field });
        top_();
      }
      if (act === "file") file(Number(number));
    };
    const top_ = () => document.querySelector("#studio-tabs").scrollIntoView({ block: "start" });
    const file = (number) => {
      const files = [...body.querySelectorAll(".studio-file")];
      files.forEach((one, index) => {
        one.hidden = index !== number;
        if (one.hidden) one.querySelectorAll("video, audio").forEach((player) => player.pause());
      });
      body.querySelectorAll("[data-of]").forEach((link) => { link.hidden = link.dataset.of !== files[number].dataset.name; });
      body.querySelectorAll("[data-act='file']").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.number) === number)));
      body.querySelectorAll(".studio-menu").forEach((menu) => { menu.hidden = menu.dataset.kind !== files[number].dataset.kind; });
    };
    showed = (answer) => {
      if (!answer) return;
      if (answer.kind === "removed") {
        const gone = answer.jobs.map((job) => [job, (find(job) || { dataset: {} }).dataset.tab || ""]);
        answer.jobs.forEach((job) => { chosen.delete(job); const tile = find(job); if (tile) tile.remove(); });
        if (gone.length) tell(fill(words.deleted, { n: gone.length }), { act: { text: words.undo, done: () => undo(gone) } });
        if (selecting) choosing(false);
        strips(gone);
        look();
      } else if (answer.kind === "restored") {
        tell(words.restored);
        strips(back);
        paged = false;
        look();
      } else if (answer.kind === "open") {
        const tile = find(answer.job);
        if (tile) tile.replaceWith(made({ html: answer.tile }));
        if (!view || answer.job !== at) return;
        body.innerHTML = answer.html;
        body.removeAttribute("aria-busy");
        body.querySelectorAll("time[data-ms]").forEach((time) => {
          const moment = new Date(Number(time.dataset.ms));
          time.dateTime = moment.toISOString();
          time.textContent = moment.toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });
        });
        if (body.querySelector(".studio-file")) file(0);
      }
    };

    const root = make("div", { class: "studio-gallery-root" }, bar,
      make("div", { class: "studio-gallery-line" }, count, clear), tiles, nothing, more, held);
    element.querySelector(".studio-gallery").replaceChildren(root);
    new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) look(); }).observe(bar);
    setInterval(() => {
      if (!document.hidden && bar.offsetParent && tiles.querySelector("[data-state='pending'], [data-state='processing']")) look();
    }, 5000);
  };

  window.studioGallery = {
    grid,
    pages: (props, watch) => watch("value", () => heard(props.value)),
    details: (props, watch) => watch("value", () => showed(props.value)),
  };
})();
