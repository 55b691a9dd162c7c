// Whose page this is. When that ends or changes while the page is open (logged out in another tab,
// a new password elsewhere, blocked), nothing more is asked: one sentence and the way back stand
// before it. What is typed lies in this browser tab already, and is there after the login.
(() => {
  const { make, language } = window.studio;
  const say = () => window.studioWords[language()] || window.studioWords.en;
  const ENDED = ["login_ended", "login_needed"];
  let mine = null; // who the page was opened by
  let notice = null;

  const isAccount = (who) => who.kind === "member" || who.kind === "admin";
  const leave = () => {
    try {
      for (const key of Object.keys(sessionStorage)) if (key.startsWith("studio:")) sessionStorage.removeItem(key);
    } catch { /* no storage, no draft */ }
  };
  const remember = (who) => {
    mine = who;
    if (isAccount(who)) try { sessionStorage.setItem("studio:account", who.person); } catch { /* as above */ }
  };
  const show = (title, hint, ...ways) => {
    if (notice) notice.remove();
    window.studio.away = true;
    document.documentElement.dataset.away = "1"; // what else complains is hidden meanwhile
    notice = make("dialog", { class: "studio-notice", "aria-labelledby": "studio-notice", oncancel: (event) => event.preventDefault() },
      make("h2", { id: "studio-notice", text: title }), make("p", { text: hint }),
      make("div", { class: "studio-actions" }, ...ways));
    document.querySelector(".gradio-container").append(notice);
    notice.showModal();
  };
  const hide = () => {
    if (!notice) return;
    notice.close(); // first: what stood above it goes back where it was
    notice.remove();
    notice = null;
    window.studio.away = false;
    delete document.documentElement.dataset.away;
    window.studio.tick();
  };
  const ended = (guests) => {
    if (notice) return;
    const words = say();
    const next = encodeURIComponent(`/${location.search}`);
    show(words.ended, words.ended_hint,
      make("a", { class: "studio-act studio-strong", href: `account/login?next=${next}`, text: words.again }),
      ...(guests ? [make("button", { type: "button", class: "studio-act", text: words.as_guest, onclick: () => { leave(); location.reload(); } })] : []));
  };
  const changed = (name) => {
    const words = say();
    show(words.other, words.other_hint.replace("{name}", name),
      make("button", { type: "button", class: "studio-act studio-strong", text: words.reload, onclick: () => { if (isAccount(mine)) leave(); location.reload(); } }));
  };

  // The head says who asks each time it is drawn.
  const read = () => {
    const pill = document.querySelector("#studio-head .studio-person[data-person]");
    if (!pill) return;
    const now = { person: pill.dataset.person, kind: pill.dataset.kind };
    if (!mine || mine.person === now.person) remember(now);
    else if (isAccount(mine) && !isAccount(now)) ended(true);
    else if (!notice) changed(pill.dataset.name);
  };
  new MutationObserver(read).observe(document.documentElement, { childList: true, subtree: true });

  // While the notice stands, ask whether the person came back in another tab.
  const plain = window.fetch;
  const back = async () => {
    if (!notice || document.hidden) return;
    const answer = await plain("api/me", { cache: "no-store" }).catch(() => null);
    if (answer && answer.ok && mine && (await answer.json()).person === mine.person) hide();
  };
  setInterval(back, 5000);
  document.addEventListener("visibilitychange", back);

  window.fetch = async (...asked) => {
    const answer = await plain(...asked);
    if (answer.status === 401 && ENDED.includes(answer.headers.get("x-error-code"))) {
      ended(answer.headers.get("x-error-code") === "login_ended" && document.querySelector("#studio-head [data-guests]") !== null);
    }
    return answer;
  };
})();
