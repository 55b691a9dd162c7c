(() => {
  // Runs before Gradio reads navigator.language. The choice lives in a cookie, so that the server
  // speaks the same language, and in localStorage, for frames whose cookies the browser drops.
  const ours = (tag) => (/^zh/i.test(tag) ? "zh-TW" : /^en/i.test(tag) ? "en" : "");
  const kept = () => {
    try { return localStorage.getItem("studio_lang") || ""; } catch { return ""; }
  };
  const cookie = (document.cookie.match(/(?:^|; )studio_lang=([^;]*)/) || [])[1] || "";
  const asked = new URLSearchParams(location.search).get("lang") || "";
  const browser = (navigator.languages || [navigator.language]).map(ours).find(Boolean);
  const language = ours(asked) || ours(cookie) || ours(kept()) || browser ||
    window.studioDefault || document.documentElement.lang;
  const keep = (tag) => {
    try { localStorage.setItem("studio_lang", tag); } catch { /* storage is off: the cookie is enough */ }
    const framed = window.top !== window.self && location.protocol === "https:";
    document.cookie = `studio_lang=${tag}; path=/; max-age=34560000; ` +
      (framed ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax");
  };
  if (asked || language !== ours(cookie)) keep(language);
  Object.defineProperty(navigator, "language", { get: () => language, configurable: true });
  Object.defineProperty(navigator, "languages", { get: () => [language], configurable: true });
  document.documentElement.lang = language;
  window.studioLanguage = { now: language, keep };
})();
