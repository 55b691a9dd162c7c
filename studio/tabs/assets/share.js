// Sharing results by links: the dialog that makes them, shows those there are, and ends them. The
// work is done by the same REST routes that programs use, as the person whose page this is.
(() => {
  const ask = async (method, path, body) => {
    const answer = await fetch(path, {
      method, credentials: "same-origin", headers: { "Content-Type": "application/json", "Accept-Language": window.studio.language() },
      body: body && JSON.stringify(body),
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(said.error ? `${said.error.message} ${said.error.hint}` : answer.statusText);
    return said;
  };

  const copied = async (text, ground) => {
    try { await navigator.clipboard.writeText(text); } catch {
      // Where the page is not served safely, there is no clipboard of its own.
      const field = window.studio.make("textarea", { readonly: true, "aria-hidden": "true", class: "studio-share-copy" });
      field.value = text;
      ground.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };

  const open = (job, files, sight, from) => {
    const { make, language } = window.studio;
    const words = window.studioWords[language()] || window.studioWords.en;
    const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    const lasts = (days) => new Intl.NumberFormat(language(), { style: "unit", unit: "day", unitDisplay: "long" }).format(days);
    const number = (name) => files.findIndex(([own]) => own === name) + 1;
    const many = files.length > 1;
    const chosen = new Set(files.some(([name]) => name === sight) ? [sight] : files.map(([name]) => name));
    const links = new Map();  // the active link of a file, by the file's name
    let days = 0;

    const body = make("div", { class: "studio-share-body", "aria-busy": "true" });
    const status = make("p", { class: "studio-share-status", role: "status" });
    const say = (text, fault = false) => {
      status.className = `studio-share-status ${fault ? "studio-bad" : ""}`;
      status.textContent = text;
    };
    const view = make("dialog", { class: "studio-share", "aria-labelledby": "studio-share-title",
      onclose: () => { view.remove(); if (from.isConnected) from.focus({ preventScroll: true }); } },
      make("h2", { id: "studio-share-title", text: words.share_title }), body, status,
      make("button", { type: "button", class: "studio-round", title: words.close, "aria-label": words.close, text: "✕", onclick: () => view.close() }));

    // --- what, and for how long ---
    const go = make("button", { type: "button", class: "studio-act studio-strong", onclick: () => share() });
    const named = () => {
      const anew = [...chosen].every((name) => links.has(name));
      go.textContent = anew && chosen.size ? words.share_renew : chosen.size > 1 ? fill(words.share_makes, { n: chosen.size }) : words.share_make;
      go.disabled = chosen.size === 0;
    };
    const pick = ([name, small]) => {
      const label = fill(words.share_file, { n: number(name) });
      const button = make("button", { type: "button", "aria-pressed": String(chosen.has(name)), "aria-label": label, title: label, onclick: () => {
        if (!chosen.delete(name)) chosen.add(name);
        button.setAttribute("aria-pressed", String(chosen.has(name)));
        named();
      } }, make("img", { src: small, alt: "" }));
      return button;
    };
    const term = (one) => {
      const input = make("input", { type: "radio", name: "studio-share-days", value: String(one), onchange: () => { days = one; } });
      input.checked = one === days;
      return make("label", { class: "studio-share-term" }, input, make("span", { text: lasts(one) }));
    };
    const group = (label, kind, ...parts) => make("fieldset", {}, make("legend", { text: label }), make("div", { class: kind }, ...parts));
    const share = async () => {
      go.disabled = true;
      say(words.share_making);
      try {
        for (const [name] of files) {
          if (chosen.has(name)) links.set(name, await ask("POST", "api/shares", { job_id: job, name, days }));
        }
        say(words.share_made);
      } catch (error) { say(error.message, true); }
      list();
      const copy = held.querySelector(".studio-strong");
      if (copy) copy.focus({ preventScroll: true });
    };

    // --- the links there are ---
    const held = make("ul", { class: "studio-share-links" });
    const what = make("p", { text: words.share_what });
    // As this browser reaches the page: a proxy may hide what the server takes for its address.
    const address = (link) => new URL(`shared/${link.url.split("/shared/").pop()}`, document.baseURI).href;
    const copy = (text, label, strong) => {
      const button = make("button", { type: "button", class: `studio-act ${strong ? "studio-strong" : ""}`, text: label,
        onclick: async () => { await copied(text, view); button.textContent = words.share_copied; say(words.share_copied); } });
      return button;
    };
    const row = ([name, small]) => {
      const link = links.get(name);
      const day = new Date(link.expires_at).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });
      const label = many ? fill(words.share_file, { n: number(name) }) : words.share_title;
      const field = make("input", { type: "text", readonly: true, value: address(link), "aria-label": label, onfocus: () => field.select() });
      const stop = make("button", { type: "button", class: "studio-act", text: words.share_stop, onclick: async () => {
        stop.disabled = true;
        try {
          await ask("DELETE", `api/shares/${encodeURIComponent(link.id)}`);
          links.delete(name);
          say(words.share_stopped);
        } catch (error) { say(error.message, true); }
        list();
        go.focus({ preventScroll: true });
      } });
      return make("li", {}, ...(many ? [make("img", { src: small, alt: "" })] : []),
        make("div", {},
          make("div", { class: "studio-share-link" }, field, copy(address(link), words.share_copy, links.size === 1)),
          make("div", { class: "studio-share-end" }, make("span", { text: fill(words.share_until, { day }) }),
            make("a", { class: "studio-link", href: address(link), target: "_blank", rel: "noopener", text: words.share_open }), stop)));
    };
    const list = () => {
      const there = files.filter(([name]) => links.has(name));
      const all = () => there.map(([name]) => address(links.get(name))).join("\n");
      held.replaceChildren(...there.map(row),
        ...(there.length > 1 ? [make("li", { class: "studio-share-all" }, copy(all(), words.share_copy_all, true))] : []));
      held.hidden = there.length === 0;
      named();
    };

    const ready = (said) => {
      for (const link of said.shares) if (link.url && number(link.name)) links.set(link.name, link);
      days = said.days;
      const terms = [...new Set([days, 7, 30, said.max_days])].filter((one) => one <= said.max_days).sort((one, other) => one - other);
      body.replaceChildren(
        ...(many ? [group(words.share_which, "studio-picks", ...files.map(pick))] : []),
        ...(terms.length > 1 ? [group(words.share_term, "studio-share-terms", ...terms.map(term))] : []),
        make("div", { class: "studio-actions" }, go), held, what);
      body.removeAttribute("aria-busy");
      list();
      go.focus({ preventScroll: true });
    };

    view.addEventListener("click", (event) => { if (event.target === view) view.close(); });
    view.addEventListener("keydown", (event) => event.stopPropagation());  // arrows are not for the gallery behind
    (document.querySelector(".gradio-container") || document.body).append(view);
    view.showModal();
    ask("GET", `api/shares?job_id=${encodeURIComponent(job)}`).then(ready, (error) => say(error.message, true));
  };

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-act='share']");
    if (!button) return;
    const large = button.closest(".studio-large");
    const sight = large ? large.querySelector(".studio-file:not([hidden])").dataset.name : button.dataset.of;
    open(button.dataset.job, JSON.parse(button.dataset.files), sight, button);
  });
})();
