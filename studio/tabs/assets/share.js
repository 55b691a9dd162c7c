// Sharing one result by a link: the dialog that makes it, shows it, and ends it. The work is done by
// the same REST routes that programs use, as the person whose page this is.
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

  const copied = async (input) => {
    try { await navigator.clipboard.writeText(input.value); } catch {
      input.select();  // where the page is not served safely, there is no clipboard of its own
      document.execCommand("copy");
    }
  };

  const open = (job, name, from) => {
    const { make, language } = window.studio;
    const words = window.studioWords[language()] || window.studioWords.en;
    const body = make("div", { class: "studio-share-body", "aria-live": "polite" }, make("p", { text: words.share_making }));
    const view = make("dialog", { class: "studio-share", "aria-labelledby": "studio-share-title",
      onclose: () => { view.remove(); if (from.isConnected) from.focus({ preventScroll: true }); } },
      make("h2", { id: "studio-share-title", text: words.share_title }), body,
      make("button", { type: "button", class: "studio-round", title: words.close, "aria-label": words.close, text: "✕", onclick: () => view.close() }));
    const failed = (error) => body.replaceChildren(make("p", { class: "studio-bad", role: "alert", text: error.message }));

    const show = (share) => {
      const day = new Date(share.expires_at).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });
      // As this browser reaches the page: a proxy may hide what the server takes for its address.
      const address = new URL(`shared/${share.url.split("/shared/").pop()}`, document.baseURI).href;
      const link = make("input", { type: "text", readonly: true, value: address, "aria-label": words.share_title, onfocus: () => link.select() });
      const copy = make("button", { type: "button", class: "studio-act studio-strong", text: words.share_copy,
        onclick: async () => { await copied(link); copy.textContent = words.share_copied; } });
      const stop = make("button", { type: "button", class: "studio-act", text: words.share_stop, onclick: async () => {
        stop.disabled = true;
        try { await ask("DELETE", `api/shares/${encodeURIComponent(share.id)}`); } catch (error) { failed(error); return; }
        body.replaceChildren(make("p", { role: "status", text: words.share_stopped }));
      } });
      body.replaceChildren(
        make("div", { class: "studio-share-link" }, link, copy),
        make("p", { text: words.share_until.replace("{day}", day) }),
        make("p", { text: words.share_what }),
        make("div", { class: "studio-actions" },
          make("a", { class: "studio-act", href: address, target: "_blank", rel: "noopener", text: words.share_open }), stop));
      copy.focus({ preventScroll: true });
    };

    view.addEventListener("click", (event) => { if (event.target === view) view.close(); });
    view.addEventListener("keydown", (event) => event.stopPropagation());  // arrows are not for the gallery behind
    (document.querySelector(".gradio-container") || document.body).append(view);
    view.showModal();
    ask("POST", "api/shares", { job_id: job, name }).then(show, failed);
  };

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-act='share']");
    if (button) open(button.dataset.job, button.dataset.of, button);
  });
})();
