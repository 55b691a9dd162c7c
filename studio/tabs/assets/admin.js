// The admin's tab. It draws what the server answers, as text only; the server asks each time
// whether an admin asks.
(() => {
  let heard = () => {};

  const board = (element, trigger, facts) => {
    const { make, language } = window.studio;
    const words = facts.words[language()] || facts.words.en;
    const states = facts.states[language()] || facts.states.en;
    const limitWords = facts.limits[language()] || facts.limits.en;
    const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    const moment = (iso) => {
      if (!iso) return words.never;
      return new Date(iso).toLocaleString(language(), { dateStyle: "short", timeStyle: "short" });
    };
    const day = (iso) => (iso ? new Date(iso).toLocaleDateString(language()) : words.never);
    const bytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${(n / 1e6).toFixed(n >= 1e8 ? 0 : 1)} MB`);
    const number = (n) => n.toLocaleString(language());
    const guest = (person) => `${words.guest} ${person.split("-").pop().slice(0, 4).toUpperCase()}`;
    const button = (text, act, more = {}) => make("button", { type: "button", class: "studio-act", text, onclick: act, ...more });
    const badge = (text, tone) => make("span", { class: "studio-badge", "data-tone": tone, text });

    // What cannot be undone asks once more, in its own place, and forgets after four seconds.
    const twice = (text, act) => {
      let late = null;
      const one = button(text, () => {
        if (late === null) {
          one.textContent = words.sure;
          one.classList.add("studio-sure");
          late = setTimeout(() => { late = null; one.textContent = text; one.classList.remove("studio-sure"); }, 4000);
          return;
        }
        clearTimeout(late);
        late = null;
        one.textContent = text;
        one.classList.remove("studio-sure");
        act();
      });
      return one;
    };
    // A table on a desk; on a phone each row is a card, and each cell says what it is.
    const table = (columns, rows, more = "") => make("table", { class: `studio-table ${more}` },
      make("thead", {}, make("tr", {}, ...columns.map((name) => make("th", { scope: "col", text: name })))),
      make("tbody", {}, ...rows));
    const row = (columns, cells, attributes = {}) => make("tr", attributes, ...cells.map((cell, index) =>
      make("td", { "data-label": columns[index] }, ...[cell].flat().filter((one) => one !== "" && one !== null))));
    const section = (...parts) => make("section", { class: "studio-admin-part" }, ...parts);
    const nothing = () => make("p", { class: "studio-quiet", text: words.none });

    // --- which part is seen ---
    const parts = {};
    let seen = "people";
    const body = make("div", { class: "studio-admin-body" });
    const nav = make("nav", { class: "studio-admin-nav" });
    const show = (name) => {
      seen = name;
      for (const one of nav.children) one.setAttribute("aria-pressed", String(one.dataset.part === name));
      body.replaceChildren(parts[name].element);
      parts[name].look();
    };

    // Pages by key: the first one replaces, the next ones are added.
    const listed = (columns, draw, ask) => {
      let turn = 0, next = "", shown = [];
      const rows = make("div", { "aria-live": "off" });
      const more = button(words.more, () => { more.disabled = true; ask(String(turn), next); }, { hidden: true });
      const paint = () => rows.replaceChildren(shown.length ? table(columns, shown.map(draw)) : nothing());
      return {
        rows, more,
        look: () => { turn += 1; ask(String(turn), ""); },
        take: (answer) => {
          more.disabled = false;
          if (answer.turn !== String(turn)) return;
          shown = answer.more ? [...shown, ...answer.lines] : answer.lines;
          next = answer.next;
          more.hidden = !next;
          paint();
        },
        change: (line) => { shown = shown.map((one) => (one.job_id === line.job_id ? line : one)); paint(); },
      };
    };

    // --- people ---
    const peopleColumns = [words.person, words.since, words.seen, words.jobs_of, words.disk, ""];
    const search = make("input", { type: "search", placeholder: words.search, "aria-label": words.search, maxlength: 254,
      oninput: () => { clearTimeout(search.late); search.late = setTimeout(() => people.look(), 350); } });
    const called = (one) => [make("strong", { text: one.email || guest(one.person) }),
      one.name && one.email ? make("small", { text: one.name }) : make("small", { class: "studio-id", text: one.email ? "" : one.person })];
    const people = listed(peopleColumns, (one) => row(peopleColumns, [
      make("span", { class: "studio-who" }, ...called(one),
        ...(one.role === "admin" ? [badge(words.admin, "accent")] : []), ...(one.blocked ? [badge(words.blocked, "bad")] : [])),
      day(one.created_at), moment(one.last_seen_at),
      [make("span", { text: fill(words.many, { n: number(one.jobs) + (one.jobs_more ? "+" : "") }) }),
        ...(one.pending + one.processing ? [make("small", { text: fill(words.open_jobs, one) })] : [])],
      bytes(one.used_bytes),
      make("span", { class: "studio-acts" },
        one.blocked ? button(words.unblock, () => trigger("block", { person: one.person, on: false }))
          : one.person.startsWith("s-") ? make("small", { text: words.fleeting })
          : twice(words.block, () => trigger("block", { person: one.person, on: true })),
        ...(one.email ? [one.role === "admin" ? twice(words.make_member, () => trigger("role", { person: one.person, admin: false }))
          : twice(words.make_admin, () => trigger("role", { person: one.person, admin: true }))] : [])),
    ]), (turn, after) => trigger("people", { text: search.value.trim(), turn, after }));
    const days = make("select", { "aria-label": words.invite },
      ...[1, 7, 30].map((n) => make("option", { value: String(n), text: fill(words.invite_days, { n }), selected: n === 7 })));
    const invited = make("div", { class: "studio-invited", hidden: true });
    const invite = (answer) => {
      const link = new URL(answer.path, new URL(".", location.href)).href;
      const field = make("input", { type: "text", readonly: true, value: link, "aria-label": words.invite, onfocus: () => field.select() });
      const copy = button(words.copy, async () => {
        try { await navigator.clipboard.writeText(link); } catch { field.select(); document.execCommand("copy"); }
        copy.textContent = words.copied;
      });
      invited.replaceChildren(make("p", { text: fill(words.invite_made, { n: answer.days }) }), field, copy);
      invited.hidden = false;
    };
    parts.people = { look: people.look, element: section(
      make("div", { class: "studio-filters" }, search, days, button(words.invite, () => trigger("invite", { days: Number(days.value) }))),
      invited, people.rows, people.more) };

    // --- jobs ---
    const jobColumns = [words.state, words.workflow, words.person, words.ordered, words.server, ""];
    const state = make("select", { "aria-label": words.state, onchange: () => jobs.look() }, make("option", { value: "", text: words.all }),
      ...Object.entries(states).map(([value, text]) => make("option", { value, text })));
    const tones = { completed: "good", failed: "bad", processing: "accent" };
    const taken = (one) => {
      if (!one.started_at || !one.finished_at) return "";
      const s = (new Date(one.finished_at) - new Date(one.started_at)) / 1000;
      return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
    };
    const jobs = listed(jobColumns, (one) => row(jobColumns, [
      [badge(states[one.status], tones[one.status] || "quiet"),
        ...(one.priority > 0 && one.status === "pending" ? [make("small", { text: fill(words.priority, { n: one.priority }) })] : [])],
      [make("strong", { text: one.title }), make("small", { class: "studio-id", text: one.job_id.slice(0, 8), title: one.job_id }),
        ...(one.fault ? [make("small", { class: "studio-bad", text: one.fault, title: one.error })] : [])],
      button(one.email || guest(one.person), () => { search.value = one.email || one.person; show("people"); }, { class: "studio-link" }),
      [make("span", { text: moment(one.created_at) }), ...(taken(one) ? [make("small", { text: taken(one) })] : [])],
      one.server || "–",
      make("span", { class: "studio-acts" }, button(words.open, () => ask(one)),
        ...(["pending", "processing"].includes(one.status) ? [twice(words.cancel, () => trigger("cancel", { job: one.job_id }))] : []),
        ...(one.status === "pending" ? [button(words.first, () => trigger("first", { job: one.job_id }))] : [])),
    ]), (turn, after) => trigger("jobs", { state: state.value, turn, after }));
    parts.jobs = { look: jobs.look, element: section(
      make("div", { class: "studio-filters" }, state, button(words.refresh, () => jobs.look())), jobs.rows, jobs.more) };

    // --- one job in full ---
    let dialog = null;
    let whose = "";
    const window_ = (title, ...inside) => {
      if (dialog) dialog.close();
      const mine = make("dialog", { class: "studio-admin-dialog", "aria-label": title, onclose: () => { mine.remove(); if (dialog === mine) dialog = null; } },
        make("header", {}, make("h3", { text: title }), make("button", { type: "button", class: "studio-act", "aria-label": words.close, text: "✕", onclick: () => mine.close() })),
        ...inside);
      mine.addEventListener("click", (event) => { if (event.target === mine) mine.close(); });
      (element.closest(".gradio-container") || document.body).append(mine);
      dialog = mine;
      mine.showModal();
    };
    const ask = (one) => window_(words.open_title, make("p", { text: words.open_say }),
      make("div", { class: "studio-acts" }, button(words.open_do, () => { whose = one.email || guest(one.person); dialog.close(); trigger("open", { job: one.job_id }); }, { class: "studio-act studio-strong" }),
        button(words.close, () => dialog.close())));
    const picture = (one) => {
      const link = make("a", { href: one.url, target: "_blank", rel: "noopener" });
      if (one.kind === "image") link.append(make("img", { src: one.thumbnail_url || one.url, alt: one.name, loading: "lazy" }));
      else if (one.thumbnail_url) link.append(make("img", { src: one.thumbnail_url, alt: "", loading: "lazy" }), make("small", { text: one.name }));
      else link.append(make("span", { text: one.name }));
      return link;
    };
    const opened = ({ job }) => window_(job.title, make("p", { class: "studio-quiet", text: words.opened }),
      ...(job.error ? [make("p", { class: "studio-warn", text: `${job.error.message} ${job.error.hint}` })] : []),
      make("div", { class: "studio-admin-files" }, ...job.outputs.map(picture)),
      ...(job.given.length ? [make("h4", { text: words.given }), make("div", { class: "studio-admin-files studio-small" }, ...job.given.map(picture))] : []),
      make("dl", {}, ...[[words.state, states[job.status]], [words.person, whose], [words.ordered, moment(job.created_at)],
        ...(job.seconds === null ? [] : [[words.took, `${job.seconds.toFixed(1)} s`]]), ...(job.server ? [[words.server, job.server]] : []), ...job.settings]
        .map(([label, value]) => make("div", {}, make("dt", { text: label }), make("dd", { text: value })))));

    // --- the house ---
    const house = make("div", { class: "studio-admin-part" });
    const serverColumns = [words.name, words.state, words.address, words.version, words.queue];
    const workerColumns = [words.name, words.state, words.places, words.servers, words.heard];
    const standing = (one) => badge(one.online ? (one.practice ? words.practice : words.online) : words.offline, one.online ? "good" : "bad");
    const drawHouse = (answer) => house.replaceChildren(
      make("dl", { class: "studio-admin-sums" }, ...[[words.waiting, number(answer.waiting)], [words.running, number(answer.running)],
        [words.accepted, number(answer.accepted)], [words.free, bytes(answer.disk_free_bytes)]]
        .map(([label, value]) => make("div", {}, make("dt", { text: label }), make("dd", { text: value })))),
      make("h4", { text: words.servers }),
      answer.servers.length ? table(serverColumns, answer.servers.map((one) => row(serverColumns, [
        make("strong", { text: one.name }), [standing(one), ...(one.why ? [make("small", { text: one.why })] : [])],
        make("code", { text: one.url }), one.version || "–", number(one.queue_length)]))) : nothing(),
      make("h4", { text: words.workers }),
      answer.workers.length ? table(workerColumns, answer.workers.map((one) => row(workerColumns, [
        [make("strong", { text: one.host }), make("small", { class: "studio-id", text: one.name })], standing(one),
        `${one.running} / ${one.places}`, one.servers.join(", ") || "–", moment(one.last_seen_at)]))) : nothing());
    parts.house = { look: () => trigger("house"), element: section(
      make("div", { class: "studio-filters" }, button(words.refresh, () => trigger("house"))), house) };

    // --- limits ---
    const limits = make("div");
    const limitColumns = [words.limit, words.value, words.setting];
    const value = (name, set) => (set === 0 ? words.no_limit : typeof set === "number" ? number(set) : set);
    parts.limits = { look: () => trigger("limits"), element: section(limits) };
    const drawLimits = (answer) => limits.replaceChildren(table(limitColumns, Object.entries(answer.limits).map(([name, set]) =>
      row(limitColumns, [make("span", { text: limitWords[name] }), make("strong", { text: value(name, set) }), make("code", { text: name })])), "studio-short"));

    // --- what admins did ---
    const deeds = make("div");
    const deedColumns = [words.when, words.who, words.did, words.about];
    const person = (id, email) => email || (id === "host" ? words.host : /^[gsu]-/.test(id) ? guest(id) : id);
    parts.deeds = { look: () => trigger("deeds"), element: section(
      make("div", { class: "studio-filters" }, button(words.refresh, () => trigger("deeds"))), deeds) };
    const drawDeeds = (answer) => deeds.replaceChildren(answer.lines.length ? table(deedColumns, answer.lines.map((one) => row(deedColumns, [
      moment(one.at), person(one.admin, one.admin_email), words[`act_${one.act}`] || one.act,
      one.about ? make("span", { class: "studio-id", title: one.about, text: person(one.about, one.about_email) }) : "–"]))) : nothing());

    const takes = {
      people: people.take, jobs: jobs.take, house: drawHouse, limits: drawLimits, deeds: drawDeeds, invited: invite, opened,
      changed: (answer) => { if (answer.what === "jobs") jobs.change(answer.line); else people.look(); },
    };
    heard = (answer) => { if (answer && takes[answer.kind]) takes[answer.kind](answer); };

    nav.append(...["people", "jobs", "house", "limits", "deeds"].map((name) =>
      button(words[name], () => show(name), { "data-part": name, "aria-pressed": "false" })));
    element.querySelector(".studio-admin").replaceChildren(nav, body);
    // Asked for when it comes in sight, and again when one comes back to it.
    new IntersectionObserver((met) => { if (met.some((one) => one.isIntersecting)) show(seen); }).observe(nav);
    setInterval(() => {
      if (document.hidden || !nav.offsetParent || dialog) return;
      if (seen === "house") trigger("house");
    }, 5000);
  };

  window.studioAdmin = { board, answers: (props, watch) => watch("value", () => heard(props.value)) };
})();
