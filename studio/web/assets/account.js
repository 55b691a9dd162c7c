// The forms about one's account: sent to the REST routes, their faults told at the field. Nothing
// typed is lost by a fault, and nothing is sent twice.
(() => {
  const { base, next } = document.body.dataset;
  const words = JSON.parse(document.getElementById("words").textContent);
  const way = (path) => new URL(base + path, location.href);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "onclick") element.addEventListener("click", value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const day = (text) => new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium" }).format(new Date(text));

  // --- the language: as on the studio's page, where the browser may know better than a cookie ------
  const spoken = document.querySelector("[data-language]").lang === "en" ? "zh-TW" : "en";
  const chosen = window.studioLanguage.now;
  if (chosen !== spoken) {
    if (document.cookie.includes(`studio_lang=${chosen}`)) { location.reload(); return; }
    document.documentElement.lang = spoken;
  }
  document.querySelector("[data-language]").addEventListener("click", (event) => {
    window.studioLanguage.keep(event.currentTarget.dataset.language);
    const url = new URL(location.href);
    url.searchParams.delete("lang");
    if (url.href === location.href) location.reload(); else location.replace(url);
  });

  // --- asking ---------------------------------------------------------------------------------------
  const ask = async (method, path, body) => {
    let answer;
    try {
      answer = await fetch(way(path), {
        method, credentials: "same-origin", cache: "no-store",
        headers: { "Accept-Language": spoken, ...(body ? { "Content-Type": "application/json" } : {}) },
        body: body && JSON.stringify(body),
      });
    } catch { return { status: 0, error: { message: words.away } }; }
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) return { status: answer.status, said };
    return { status: answer.status, error: said.error || { message: words.odd } };
  };
  const go = (path) => {
    const url = way(path);
    location.assign(url.origin === location.origin ? url : way(""));
  };
  const sentence = (error) => [error.message, error.hint].filter(Boolean).join(" ");

  // A draft of the studio's forms stays in this tab for who comes back, and for nobody else.
  const forget = () => {
    try {
      for (const key of Object.keys(sessionStorage)) if (key.startsWith("studio:")) sessionStorage.removeItem(key);
    } catch { /* no storage, no draft */ }
  };
  const came = (me) => {
    try {
      const was = sessionStorage.getItem("studio:account");
      if (was && was !== me.person) forget();
    } catch { /* as above */ }
    go(next || "");
  };

  // --- telling --------------------------------------------------------------------------------------
  const calm = (form) => {
    for (const place of form.querySelectorAll(".fault, .done")) place.replaceChildren();
    for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  };
  const blame = (input, text) => {
    input.setAttribute("aria-invalid", "true");
    document.getElementById(`${input.id}-fault`).textContent = text;
    input.focus();
  };
  const tell = (form, error) => {
    const place = form.querySelector("[data-fault]");
    const input = error.field && [...form.elements].find((one) => (one.dataset.error || one.name) === error.field && one.type !== "radio");
    if (input) { blame(input, error.code === "field_required" ? words.fill_in : sentence(error)); return; }
    const password = form.querySelector("[autocomplete=current-password]");
    if (error.code === "login_failed" && form.dataset.refused && password) { blame(password, form.dataset.refused); return; }
    place.textContent = error.code === "login_failed" ? error.message : sentence(error);
    if (["login_needed", "login_ended", "person_unknown", "session_needed"].includes(error.code)) {
      place.append(" ", make("a", { href: `${base}account/login?said=ended&next=/account` }, words.login));
    }
    if (error.code === "login_failed" && password) { password.focus(); password.select(); }
  };
  const reveal = (name, secret) => {
    const place = document.querySelector(`[data-once=${name}]`);
    place.hidden = false;
    place.querySelector("input").value = secret;
    return place;
  };
  const done = (form) => { form.querySelector("[data-done]").textContent = form.dataset.doneWords || ""; };

  // --- what each form does --------------------------------------------------------------------------
  const acts = {
    login: async (form, said) => {
      const answer = await ask("POST", "api/login", said);
      if (answer.error) tell(form, answer.error); else came(answer.said);
      return !answer.error;
    },
    register: async (form, said) => {
      const made = await ask("POST", "api/register", said);
      if (made.error) { tell(form, made.error); return false; }
      const answer = await ask("POST", "api/login", { email: said.email, password: said.password });
      if (!answer.error) { came(answer.said); return true; }
      const place = form.querySelector("[data-fault]");
      place.append(words.register_neutral, " ", make("a", { href: `${base}account/login${location.search}` }, words.login));
      return false;
    },
    profile: async (form, said) => {
      const email = form.elements.email;
      const body = email.value === email.defaultValue ? { name: said.name } : said;
      const answer = await ask("PUT", "api/user/profile", body);
      if (answer.error) { tell(form, answer.error); return false; }
      form.elements.name.value = form.elements.name.defaultValue = answer.said.name;
      email.value = email.defaultValue = answer.said.email;
      // The password to be sure, and the word to type, are about the address as it is now.
      if (body === said) { location.reload(); return true; }
      done(form);
      return false;
    },
    password: async (form, said) => {
      const answer = await ask("PUT", "api/user/password", { old_password: said.old_password, new_password: said.new_password });
      if (answer.error) { tell(form, answer.error); return false; }
      form.reset();
      done(form);
      return false;
    },
    token: async (form, said) => {
      const scopes = said.scope === "read" ? ["read"] : ["read", "write"];
      const answer = await ask("POST", "api/tokens", { name: said.name, scopes });
      if (answer.error) { tell(form, answer.error); return false; }
      const shown = reveal("token", answer.said.token);
      form.reset();
      await lists.tokens();
      shown.querySelector("button").focus();
      return false;
    },
    leave: async (form, said) => {
      if (said.sure.trim() !== form.dataset.word) { blame(form.elements.sure, form.dataset.mismatch); return false; }
      const answer = await ask("DELETE", "api/user/delete", { password: said.password || "" });
      if (answer.error) { tell(form, answer.error); return false; }
      forget();
      go("account/login?said=deleted");
      return true;
    },
  };

  for (const form of document.querySelectorAll("form[data-act]")) {
    const button = form.querySelector("[type=submit]");
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      calm(form);
      button.disabled = true;
      form.setAttribute("aria-busy", "true");
      let left = false;
      try {
        left = await acts[form.dataset.act](form, Object.fromEntries(new FormData(form)));
      } finally {
        // What leads to another page stays as it is until that is there.
        if (!left) { button.disabled = false; form.removeAttribute("aria-busy"); }
      }
    });
    for (const part of form.querySelectorAll("[data-if-changed]")) {
      const input = form.elements[part.dataset.ifChanged];
      input.addEventListener("input", () => { part.hidden = input.value === input.defaultValue; });
    }
  }
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  const out = document.querySelector("[data-act=logout]");
  if (out) out.addEventListener("click", async () => {
    out.disabled = true;
    const answer = await ask("POST", "api/logout");
    if (answer.error) { out.disabled = false; return; }
    forget();
    go("account/login?said=out");
  });

  const hook = document.querySelector("[data-act=hook]");
  if (hook) hook.addEventListener("click", async () => {
    const answer = await ask("POST", "api/webhooks/secret");
    if (answer.error) { hook.closest(".card").querySelector("[data-fault]").textContent = sentence(answer.error); return; }
    hook.hidden = true;
    reveal("hook", answer.said.secret).querySelector("button").focus();
    renew.hidden = false;
  });
  const renew = document.querySelector("[data-act=renew]");
  if (renew) renew.addEventListener("click", async () => {
    const told = document.querySelector("[data-renewed]");
    const answer = await ask("POST", "api/webhooks/secret/renew");
    told.textContent = answer.error ? sentence(answer.error) : told.dataset.renewed;
    if (!answer.error) reveal("hook", answer.said.secret);
  });

  // --- lists ----------------------------------------------------------------------------------------
  const copy = async (input, button) => {
    input.select();
    try { await navigator.clipboard.writeText(input.value); } catch { document.execCommand("copy"); }
    button.textContent = words.copied;
    setTimeout(() => { button.textContent = words.copy; }, 2000);
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copy(document.getElementById(button.dataset.copy), button));
  }
  const show = (list, rows, none) => list.replaceChildren(...(rows.length ? rows : [make("li", { class: "none" }, none)]));
  const end = (path, card, again) => async (event) => {
    event.currentTarget.disabled = true;
    const answer = await ask("DELETE", path);
    const place = card.querySelector("[data-fault]");
    place.textContent = answer.error ? sentence(answer.error) : "";
    await again();
  };
  const lists = {
    tokens: async () => {
      const list = document.querySelector("[data-list=tokens]");
      if (!list) return;
      const { said, error } = await ask("GET", "api/tokens");
      const card = list.closest(".card");
      if (error) { card.querySelector("[data-fault]").textContent = sentence(error); return; }
      show(list, said.tokens.map((token) => make("li", {},
        make("span", { class: "what" }, make("b", {}, token.name), make("small", {}, [
          words[token.scopes.includes("write") ? "token_write" : "token_read"],
          fill(words.token_made, { day: day(token.created_at) }),
          token.last_used_at ? fill(words.token_used, { day: day(token.last_used_at) }) : words.token_unused,
        ].join(" · "))),
        make("button", {
          type: "button", class: "plain", "aria-label": `${words.revoke}: ${token.name}`,
          onclick: end(`api/tokens/${encodeURIComponent(token.id)}`, card, lists.tokens),
        }, words.revoke))), words.tokens_none);
    },
    links: async () => {
      const card = document.querySelector("[data-links]");
      const { said, error } = await ask("GET", "api/shares");
      if (!card || error) return;
      card.hidden = false;
      const shown = said.shares.filter((one) => one.state === "active" || one.state === "hidden");
      show(card.querySelector("[data-list]"), shown.map((link) => {
        const input = make("input", { class: "away", readonly: "", tabindex: "-1", "aria-hidden": "true", value: link.url || "" });
        const button = make("button", { type: "button", class: "plain", onclick: () => copy(input, button) }, words.copy);
        return make("li", {},
          make("img", { src: way(`thumbnails/${encodeURIComponent(link.job_id)}/${encodeURIComponent(link.name)}`).href, alt: "", loading: "lazy" }),
          make("span", { class: "what" }, make("b", {}, link.url ? make("a", { href: link.url, target: "_blank", rel: "noopener" }, link.name) : link.name),
            make("small", {}, link.state === "hidden" ? words.link_hidden : fill(words.link_until, { day: day(link.expires_at) }))),
          ...(link.url ? [input, button] : []),
          make("button", {
            type: "button", class: "plain", "aria-label": `${words.link_end}: ${link.name}`,
            onclick: end(`api/shares/${encodeURIComponent(link.id)}`, card, lists.links),
          }, words.link_end));
      }), words.links_none);
    },
  };
  if (document.querySelector("[data-list]")) { lists.tokens(); lists.links(); }
})();
