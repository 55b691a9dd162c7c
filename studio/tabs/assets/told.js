// One sentence at the page's lower edge, above whatever is open; and what a failing event says.
// Gradio 6 shows no fault of an event that goes past its queue: its client leaves out of such a
// status that it is to be seen. So the page reads those answers itself.
(() => {
  const { make } = window.studio;
  const SHOWN_MS = 12000;
  let toast = null;
  let fading = null;

  // An open dialog lies above all else, and what is outside of it cannot be pressed.
  const ground = () => [...document.querySelectorAll("dialog[open]")].pop() || document.querySelector(".gradio-container") || document.body;
  const tell = (said, { act = null, fault = false } = {}) => {
    clearTimeout(fading);
    if (toast) toast.remove();
    const mine = make("div", { class: "studio-toast", role: fault ? "alert" : "status", "data-fault": fault }, make("span", { text: said }),
      ...(act ? [make("button", { type: "button", text: act.text, onclick: () => { mine.remove(); act.done(); } })] : []));
    toast = mine;
    ground().append(toast);
    fading = setTimeout(() => mine.remove(), SHOWN_MS);
  };
  // Gradio's own notices, such as the fault of a queued event, lie in one element that its Svelte
  // keeps: it goes as a whole to where they can be read and pressed, and back again.
  const notices = document.getElementsByClassName("toast-wrap");
  let wrap = null;
  let home = null;
  const lift = () => {
    const found = notices[0] || wrap;
    if (!found || !found.parentElement) return;
    if (found !== wrap) { wrap = found; home = found.parentElement; }
    const place = [...document.querySelectorAll("dialog[open]")].pop() || home;
    if (wrap.parentElement !== place) place.append(wrap);
  };
  // A dialog that opens or closes meanwhile takes nothing away.
  new MutationObserver(() => {
    if (toast && toast.isConnected && toast.parentElement !== ground()) ground().append(toast);
    lift();
  }).observe(document.documentElement, { subtree: true, attributeFilter: ["open"] });

  // Gradio writes HTML, the page text. A title has only what was said to a person.
  const text = (said) => new DOMParser().parseFromString(said, "text/html").body.textContent;
  const heard = ({ error, title }) => {
    if (typeof error !== "string" || !title) return;
    tell(text(error), { fault: true });
    document.dispatchEvent(new CustomEvent("studio-fault"));
  };
  const plain = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await plain(...asked);
    if (!answer.ok && /\/gradio_api\/run\//.test(answer.url)) answer.clone().json().then(heard, () => {});
    return answer;
  };

  window.studio.tell = tell;
})();
