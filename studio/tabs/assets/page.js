// What Gradio has no component for: the pictures field, the large view, several downloads at once,
// the language switch, and fields that survive a reload. No framework, nothing fetched.
(() => {
  const language = () => (window.studioLanguage && window.studioLanguage.now) || "en";
  const spoken = () => window.studioWords[language()] || window.studioWords.en;
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "text") element.textContent = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  // What this browser can draw: of an iPhone's HEIC most can nothing. Gives its local address.
  const showable = (file) => new Promise((done) => {
    if (file.type === "image/svg+xml") { done(""); return; }
    const address = URL.createObjectURL(file);
    const image = new Image();
    image.onload = () => done(address);
    image.onerror = () => { URL.revokeObjectURL(address); done(""); };
    image.src = address;
  });
  // What it cannot draw the studio turns into what it can, or says at once why not.
  const converted = async (file) => {
    const body = new FormData();
    body.append("file", file, file.name);
    const answer = await fetch("api/upload", { method: "POST", body });
    const said = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(said.error.code), { told: `${said.error.message} ${said.error.hint}`.trim() });
    return { ref: said.filename, url: `inputs/${said.filename}`, name: file.name };
  };

  // --- the pictures field ---------------------------------------------------------------------
  // The server knows a picture by path, ref or sample; the page shows it by a local address, so
  // that a thumbnail is there before the upload ends.
  const shownAt = new Map();

  const pictures = (element, props, watch, upload, facts, trigger) => {
    const words = facts.words[language()] || facts.words.en;
    const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    const input = make("input", {
      type: "file", multiple: facts.maximum > 1, hidden: true,
      accept: "image/*,.heic,.heif,.avif",
      onchange: () => { take([...input.files]); input.value = ""; },
    });
    let busy = 0;
    let failed = "";

    // Fields that count only with a picture here hear of it as of any other field's input.
    const set = (value) => { props.value = value; draw(); setTimeout(() => trigger("input"), 0); };
    // The picture a mask belongs to: shown in its own field of the same form.
    const below = () => facts.over && document.querySelector(`#${facts.over} .studio-upload img`);
    const keyOf = () => { const shown = below(); return shown ? shown.dataset.key : ""; };
    const paint = async () => {
      failed = "";
      const [item] = props.value || [];
      const shown = facts.over ? below() : null;
      if (facts.over && !shown) { failed = words.first; draw(); return; }
      const source = facts.over ? shown.src : item && (shownAt.get(item.path) || item.url);
      const opened = await window.studioPaint({ words, source, mask: Boolean(facts.over), done: painted });
      if (!opened) { failed = words.unshown; draw(); }
    };
    const painted = async (file) => {
      await take([file]);
      const [item] = props.value || [];
      if (facts.over && item && item.path) set([{ ...item, layers: [{ path: item.path }], of: keyOf() }]);
    };
    if (facts.over) {
      // A painted mask fits one picture only. After a reload the picture may come a moment later.
      let seen = false;
      new MutationObserver(() => {
        const [item] = props.value || [];
        const key = keyOf();
        seen = seen || key !== "";
        if (seen && item && item.of && item.of !== key) set([]);
      }).observe(document.querySelector("#studio-tabs"), { childList: true, subtree: true, attributeFilter: ["src"] });
    }
    const move = (from, to) => {
      const value = [...(props.value || [])];
      if (to < 0 || to >= value.length || from === to) return;
      value.splice(to, 0, value.splice(from, 1)[0]);
      set(value);
    };
    const take = async (files) => {
      const room = facts.maximum - (props.value || []).length;
      const chosen = facts.maximum === 1 ? files.slice(-1) : files.slice(0, Math.max(0, room));
      failed = "";
      busy += chosen.length;
      draw();
      for (const file of chosen) {
        try {
          const seen = await showable(file);
          const item = seen ? await kept(file, seen) : await converted(file);
          busy -= 1;
          set(facts.maximum === 1 ? [item] : [...(props.value || []), item].slice(0, facts.maximum));
        } catch (error) {
          busy -= 1;
          failed = error.told || words.failed;
          console.warn("upload failed", error);
          draw();
        }
      }
    };
    const kept = async (file, seen) => {
      const { path, url } = await upload(file);
      shownAt.set(path, seen);
      return { path, url, name: file.name };
    };

    const tile = (item, index, all) => {
      const key = item.path || item.ref || item.sample || `${item.job_id}/${item.name}`;
      const image = make("img", { src: shownAt.get(item.path) || item.url, alt: item.name || "", draggable: false, "data-key": key });
      image.addEventListener("error", () => image.replaceWith(make("span", { class: "studio-noshow", text: item.name || "?" })));
      const button = (word, glyph, act, off = false) => make("button", {
        type: "button", title: words[word], "aria-label": `${words[word]} ${index + 1}`, disabled: off, text: glyph,
        onclick: (event) => { event.stopPropagation(); act(); },
      });
      const figure = make("figure", { class: "studio-upload", draggable: all.length > 1 }, image,
        make("b", { text: String(index + 1), hidden: facts.maximum === 1 }),
        make("span", { class: "studio-tools" },
          ...(all.length > 1 ? [
            button("earlier", "‹", () => move(index, index - 1), index === 0),
            button("later", "›", () => move(index, index + 1), index === all.length - 1),
          ] : []),
          button("remove", "✕", () => set(all.filter((_, i) => i !== index)))));
      if (item.layers) { figure.dataset.painted = "1"; const shown = below(); if (shown) figure.style.backgroundImage = `url("${shown.src}")`; }
      figure.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/studio-index", String(index)));
      figure.addEventListener("dragover", (event) => event.preventDefault());
      figure.addEventListener("drop", (event) => {
        const from = event.dataTransfer.getData("text/studio-index");
        if (from === "") return;
        event.preventDefault();
        event.stopPropagation();
        move(Number(from), index);
      });
      return figure;
    };

    const draw = () => {
      const box = element.querySelector(".studio-pictures");
      if (!box) return;
      const value = props.value || [];
      const full = value.length + busy >= facts.maximum && facts.maximum > 1;
      const add = make("button", { type: "button", class: "studio-add", hidden: full, onclick: () => input.click() },
        make("i", { text: "+" }), make("strong", { text: words.add }), make("span", { text: words.hint }));
      const waiting = Array.from({ length: busy }, () =>
        make("figure", { class: "studio-upload studio-shimmer", title: words.uploading }));
      const help = make("p", { class: "studio-help", text: facts.help[language()] || facts.help.en || "" });
      box.replaceChildren(input, ...(help.textContent ? [help] : []), ...value.map(tile), ...waiting, add);
      box.dataset.count = String(value.length + busy);
      if (facts.draws) box.append(make("button", { type: "button", class: "studio-act studio-paint-open", text: `✎ ${words.draw}`, onclick: paint }));
      if (facts.maximum > 1) {
        box.append(make("small", { text: fill(words.count, { n: value.length, max: facts.maximum }) }));
      }
      if (failed) box.append(make("small", { class: "studio-bad", role: "alert", text: failed }));
    };

    element.addEventListener("dragover", (event) => { event.preventDefault(); element.dataset.over = "1"; });
    element.addEventListener("dragleave", () => { delete element.dataset.over; });
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      delete element.dataset.over;
      take([...event.dataTransfer.files].filter((file) => file.type.startsWith("image/") || /\.(hei[cf]|avif)$/i.test(file.name)));
    });
    element.tabIndex = 0;
    element.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (files.length) { event.preventDefault(); take(files); }
    });
    watch("value", draw);
    draw();
  };

  // --- the large view ---------------------------------------------------------------------------
  let view = null;
  const look = (picture) => {
    const all = [...picture.closest(".studio-stage").querySelectorAll("[data-full]")];
    let at = all.indexOf(picture);
    const say = spoken();
    const image = make("img", { alt: "" });
    const keep = make("a", { class: "studio-act studio-strong", text: say.download });
    const button = picture.closest(".studio-stage").querySelector("[data-act='share']");
    const share = button && button.cloneNode(true);
    const count = make("span");
    const step = (by) => { at = (at + by + all.length) % all.length; show(); };
    const round = (word, glyph, act) => make("button", { type: "button", class: "studio-round", "data-way": word, title: say[word], "aria-label": say[word], text: glyph, onclick: act });
    const show = () => {
      image.src = all[at].dataset.full;
      image.alt = all[at].alt;
      keep.href = `${all[at].dataset.keep}?download=1`;
      keep.download = all[at].dataset.name;
      if (share) share.dataset.of = all[at].dataset.of;
      count.textContent = all.length > 1 ? `${at + 1} / ${all.length}` : "";
    };
    view = make("dialog", { class: "studio-view", "aria-label": say.large, onclose: () => { view.remove(); view = null; picture.focus({ preventScroll: true }); } },
      image, make("div", { class: "studio-view-bar" }, count, keep, ...(share ? [share] : []), round("close", "✕", () => view.close())),
      ...(all.length > 1 ? [round("previous", "‹", () => step(-1)), round("next", "›", () => step(1))] : []));
    view.addEventListener("click", (event) => { if (event.target === view) view.close(); });
    view.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    let from = null;
    image.addEventListener("pointerdown", (event) => { from = event.clientX; });
    image.addEventListener("pointerup", (event) => {
      if (from !== null && all.length > 1 && Math.abs(event.clientX - from) > 48) step(event.clientX < from ? 1 : -1);
      from = null;
    });
    (document.querySelector(".gradio-container") || document.body).append(view);
    show();
    view.showModal();
  };

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    const picture = target.closest(".studio-stage [data-full]");
    if (picture) { look(picture); return; }
    const pressed = target.closest(".studio-generate, [data-act='retry'], [data-act='show']");
    if (pressed && matchMedia("(max-width: 820px)").matches) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      pressed.closest(".studio-work").querySelector(".studio-result")
        .scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
    }
    const switcher = target.closest("[data-language]");
    if (switcher) {
      window.studioLanguage.keep(switcher.dataset.language);
      const url = new URL(location.href);
      url.searchParams.delete("lang");
      if (url.href === location.href) location.reload(); else location.replace(url);
      return;
    }
    const kept = target.closest(".studio-downloads > a");
    if (kept && kept.parentElement.children.length > 1 && event.isTrusted) {
      event.preventDefault();
      [...kept.parentElement.children].forEach((link, index) => setTimeout(() => link.click(), 300 * index));
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]")) {
      const button = [...document.querySelectorAll(".studio-generate")].find((one) => one.offsetParent);
      if (button) { event.preventDefault(); button.click(); }
    }
    if ((event.key === "Enter" || event.key === " ") && event.target.matches && event.target.matches("[data-full]")) {
      event.preventDefault();
      look(event.target);
    }
  });

  // --- fields that survive a reload, in this browser tab only -----------------------------------
  const draft = () => `studio:${document.title}:${location.pathname}`;
  const keep = (stamp, held) => {
    try { sessionStorage.setItem(draft(), JSON.stringify({ stamp, held })); } catch { /* no storage, no draft */ }
    return [];
  };
  const restore = (stamp) => {
    try {
      const kept = JSON.parse(sessionStorage.getItem(draft()));
      return kept && kept.stamp === stamp ? kept.held : [];
    } catch { return []; }
  };

  // On a phone the strip of tabs scrolls: the open one is in sight, however it was opened.
  new MutationObserver((seen) => {
    const open = seen.map((one) => one.target).find((one) => one.getAttribute("aria-selected") === "true" && one.offsetParent && one.closest("#studio-tabs"));
    if (open) requestAnimationFrame(() => open.scrollIntoView({ block: "nearest", inline: "center" }));
  }).observe(document.documentElement, { subtree: true, attributeFilter: ["aria-selected"] });

  // Gradio names each choice of a field apart, and anew when another is chosen: a stop of Tab for
  // each, and arrows that do nothing.
  let naming = 0;
  const grouped = () => {
    naming = 0;
    for (const radio of document.querySelectorAll("#studio-tabs fieldset[id] input[type='radio']")) {
      const { id } = radio.closest("fieldset");
      if (radio.name !== id) radio.name = id;
    }
  };
  new MutationObserver(() => { naming = naming || requestAnimationFrame(grouped); })
    .observe(document.documentElement, { childList: true, subtree: true, attributeFilter: ["name"] });

  // Gradio opens a list anew as Tab leaves it, over the fields below; told once more, it closes.
  document.addEventListener("focusout", ({ target }) => {
    if (!(target instanceof Element) || !target.matches("#studio-tabs input[role='combobox']")) return;
    setTimeout(() => {
      if (document.activeElement !== target && target.getAttribute("aria-expanded") === "true") target.dispatchEvent(new FocusEvent("blur"));
    }, 120);
  });

  window.studio = { pictures, keep, restore, make, language };
  // Gradio's toasts are headed "Error" in every language; page.css puts our words there.
  document.addEventListener("DOMContentLoaded", () => {
    document.documentElement.style.setProperty("--studio-fault", JSON.stringify(spoken().fault));
  });
})();
