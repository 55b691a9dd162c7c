// The field for one sound or film: upload or microphone, a player, and its length.
(() => {
  window.studioClip = (element, props, watch, upload, facts) => {
    const { make, language } = window.studio;
    const words = facts.words[language()] || facts.words.en;
    const sound = facts.kind === "audio";
    const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    const heardAt = new Map();
    let busy = false;
    let problem = "";
    let recorder = null;
    let began = 0;

    const set = (value) => { props.value = value; draw(); };
    const take = async (file) => {
      if (!file) return;
      busy = true;
      problem = "";
      draw();
      try {
        const { path, url } = await upload(file);
        heardAt.set(path, URL.createObjectURL(file));
        busy = false;
        set([{ path, url, name: file.name }]);
      } catch (error) {
        busy = false;
        problem = words.failed;
        console.warn("upload failed", error);
        draw();
      }
    };
    const record = async () => {
      problem = "";
      let stream;
      try { stream = await navigator.mediaDevices.getUserMedia({ audio: true }); } catch { problem = words.no_microphone; draw(); return; }
      const pieces = [];
      recorder = new MediaRecorder(stream);
      recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
      recorder.addEventListener("stop", () => {
        const kind = recorder.mimeType || "audio/webm";
        recorder = null;
        stream.getTracks().forEach((track) => track.stop());
        take(new File(pieces, `recording.${kind.includes("mp4") ? "m4a" : kind.includes("ogg") ? "ogg" : "webm"}`, { type: kind }));
      });
      began = Date.now();
      recorder.start();
      draw();
    };
    const input = make("input", { type: "file", hidden: true, accept: sound ? "audio/*,video/*" : "video/*",
      onchange: () => { take(input.files[0]); input.value = ""; } });

    const draw = () => {
      const box = element.querySelector(".studio-clip");
      if (!box) return;
      const [item] = props.value || [];
      const help = make("p", { class: "studio-help", text: facts.help[language()] || facts.help.en || "" });
      const rows = [input, ...(help.textContent ? [help] : [])];
      if (item) {
        const player = make(sound ? "audio" : "video", { controls: true, preload: "metadata", playsinline: true, src: heardAt.get(item.path) || item.url });
        rows.push(player, make("div", { class: "studio-clip-line" }, make("span", { text: item.name || "" }),
          make("button", { type: "button", class: "studio-act", text: words.remove, onclick: () => set([]) })));
      } else if (recorder) {
        const line = make("span", { text: fill(words.recording, { n: 0 }) });
        const ticking = setInterval(() => {
          if (!line.isConnected) clearInterval(ticking);
          line.textContent = fill(words.recording, { n: Math.round((Date.now() - began) / 1000) });
        }, 500);
        rows.push(make("div", { class: "studio-clip-line" }, line, make("button", { type: "button", class: "studio-act studio-strong", text: words.stop, onclick: () => recorder.stop() })));
      } else if (busy) {
        rows.push(make("div", { class: "studio-clip-wait studio-shimmer", text: words.uploading }));
      } else {
        const add = make("button", { type: "button", class: "studio-add", onclick: () => input.click() },
          make("i", { text: "+" }), make("strong", { text: words[`add_${facts.kind}`] }), make("span", { text: words.hint }));
        rows.push(add);
        if (sound && navigator.mediaDevices && window.MediaRecorder) {
          rows.push(make("button", { type: "button", class: "studio-act", text: `● ${words.record}`, onclick: record }));
        }
      }
      if (problem) rows.push(make("small", { class: "studio-bad", role: "alert", text: problem }));
      box.replaceChildren(...rows);
    };
    element.addEventListener("dragover", (event) => { event.preventDefault(); element.dataset.over = "1"; });
    element.addEventListener("dragleave", () => { delete element.dataset.over; });
    element.addEventListener("drop", (event) => { event.preventDefault(); delete element.dataset.over; take(event.dataTransfer.files[0]); });
    watch("value", draw);
    draw();
  };
})();
