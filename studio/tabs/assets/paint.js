// Painting: a mask over a picture, or a sketch on paper, by mouse, pen or finger.
(() => {
  const LONGEST = 1536;
  const SHAPES = { "1:1": [1024, 1024], "3:2": [1216, 832], "2:3": [832, 1216], "16:9": [1344, 768] };
  const COLOURS = ["#111111", "#d4322c", "#2464d8", "#1d8a4a", "#e0a100", "#8a5a35"];
  const INK = "#7550fb";

  const picture = (source) => new Promise((found, failed) => {
    const image = new Image();
    image.onload = () => found(image);
    image.onerror = failed;
    image.src = source;
  });

  // `source`: the picture below, or null for empty paper. `mask`: what is painted comes alone, on
  // nothing. `done` takes a PNG.
  const paint = async ({ words, source, mask, done }) => {
    const { make } = window.studio;
    let below = null;
    if (source) { try { below = await picture(source); } catch { return false; } }
    const paper = make("canvas");
    const ink = make("canvas", { class: mask ? "studio-ink" : "", "aria-label": words.draw });
    const sheet = make("div", { class: "studio-sheet" }, paper, ink);
    let strokes = [];
    let colour = mask ? INK : COLOURS[0];
    let erasing = false;

    const shaped = (width, height) => {
      const scale = below ? Math.min(1, LONGEST / Math.max(width, height)) : 1;
      for (const canvas of [paper, ink]) {
        canvas.width = Math.max(1, Math.round(width * scale));
        canvas.height = Math.max(1, Math.round(height * scale));
      }
      const ground = paper.getContext("2d");
      ground.fillStyle = "#fff";
      ground.fillRect(0, 0, paper.width, paper.height);
      if (below) ground.drawImage(below, 0, 0, paper.width, paper.height);
      fit();
      redraw();
    };
    const fit = () => {
      const scale = Math.min((innerWidth - 24) / paper.width, (innerHeight - 176) / paper.height);
      for (const canvas of [paper, ink]) canvas.style.width = `${Math.max(1, Math.floor(paper.width * scale))}px`;
    };
    const line = (stroke, from) => {
      const brush = ink.getContext("2d");
      brush.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
      brush.strokeStyle = stroke.colour;
      brush.lineWidth = stroke.size;
      brush.lineCap = brush.lineJoin = "round";
      brush.beginPath();
      const [first, ...rest] = stroke.points.slice(Math.max(0, from));
      brush.moveTo(first[0], first[1]);
      for (const [x, y] of rest.length ? rest : [[first[0] + 0.01, first[1]]]) brush.lineTo(x, y);
      brush.stroke();
    };
    const redraw = () => {
      ink.getContext("2d").clearRect(0, 0, ink.width, ink.height);
      strokes.forEach((stroke) => line(stroke, 0));
    };
    const empty = () => {
      const { data } = ink.getContext("2d").getImageData(0, 0, ink.width, ink.height);
      for (let i = 3; i < data.length; i += 4) if (data[i] > 8) return false;
      return true;
    };

    const size = make("input", { type: "range", min: 1, max: 100, value: mask ? 40 : 8, "aria-label": words.size });
    const place = (event) => {
      const box = ink.getBoundingClientRect();
      return [(event.clientX - box.left) * ink.width / box.width, (event.clientY - box.top) * ink.height / box.height];
    };
    let now = null;
    ink.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || now) return;
      ink.setPointerCapture(event.pointerId);
      problem.textContent = "";
      now = { points: [place(event)], colour, erase: erasing, size: Number(size.value) * Math.max(ink.width, ink.height) / 500 };
      strokes.push(now);
      line(now, 0);
    });
    ink.addEventListener("pointermove", (event) => {
      if (!now) return;
      const from = now.points.length - 1;
      const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      now.points.push(...(all.length ? all : [event]).map(place));
      line(now, from);
    });
    for (const end of ["pointerup", "pointercancel"]) ink.addEventListener(end, () => { now = null; });

    const tool = (word, act) => make("button", { type: "button", class: "studio-act", text: words[word], onclick: act });
    const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));
    const brush = tool("brush", () => use(false)), rubber = tool("eraser", () => use(true));
    const use = (erase) => { erasing = erase; pressed(brush, !erase); pressed(rubber, erase); };
    const colours = COLOURS.map((one) => make("button", { type: "button", class: "studio-colour", style: `--colour:${one}`, title: one, "aria-label": `${words.colour} ${one}`,
      onclick: () => { colour = one; use(false); colours.forEach((each) => pressed(each, each.title === one)); } }));
    const shapes = make("select", { "aria-label": words.shape, onchange: () => shaped(...SHAPES[shapes.value]) },
      ...Object.keys(SHAPES).map((name) => make("option", { value: name, text: name })));
    const undo = () => { strokes.pop(); redraw(); };
    const problem = make("span", { class: "studio-paint-problem", role: "alert" });
    const finish = async () => {
      if (empty() && (mask || !below)) { problem.textContent = words.nothing; return; }
      const whole = mask ? ink : paper;
      if (!mask) paper.getContext("2d").drawImage(ink, 0, 0);
      const blob = await new Promise((made) => whole.toBlob(made, "image/png"));
      view.close();
      done(new File([blob], mask ? "mask.png" : "sketch.png", { type: "image/png" }));
    };
    const view = make("dialog", { class: "studio-paint", "aria-label": words.draw, onclose: () => { removeEventListener("resize", fit); view.remove(); } },
      make("div", { class: "studio-paint-tools" }, brush, rubber, ...(mask ? [] : colours), size,
        ...(mask || below ? [] : [shapes]), tool("undo", undo), tool("clear", () => { strokes = []; redraw(); })),
      sheet,
      make("div", { class: "studio-paint-tools" }, problem, tool("cancel", () => view.close()),
        make("button", { type: "button", class: "studio-act studio-strong", text: words.done, onclick: finish })));
    view.addEventListener("cancel", (event) => { if (strokes.length) event.preventDefault(); });
    view.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "z") { event.preventDefault(); undo(); }
    });
    addEventListener("resize", fit);
    use(false);
    if (!mask) pressed(colours[0], true);
    shaped(...(below ? [below.naturalWidth, below.naturalHeight] : SHAPES["1:1"]));
    (document.querySelector(".gradio-container") || document.body).append(view);
    view.showModal();
    return true;
  };

  window.studioPaint = paint;
})();
