// Every run in a row: score, assumption, pictures; a click on the pictures opens the run's player under the table.

function render({ model, el }) {
  const fixed = model.get("static"), rows = model.get("rows"), runs = model.get("runs");
  const { width, height, count, items, channels } = fixed;
  const zoom = Math.max(1, Math.floor(42 / Math.max(width, height)));
  const root = make("div", "sepviz sepviz-leaderboard", { role: "group", "aria-label": "Leaderboard" });
  const stage = make("div", "sepviz-stage");
  let open = null;
  const watch = (i) => {
    if (open) open.view.close();
    for (const button of root.querySelectorAll(".sepviz-watch")) button.setAttribute("aria-expanded", button.dataset.run === String(i));
    if (open && open.i === i) { open = null; root.dataset.open = ""; return; }
    const view = new View(stage, { ...fixed, method: rows[i].name });
    view.setFrames(runs[i]);
    view.transport.go(view.frames.length - 1);
    view.root.scrollIntoView({ block: "nearest" });
    open = { i, view };
    root.dataset.open = rows[i].name;
  };
  const pictures = (run, i) => {
    const frames = new Frames(fixed);
    const last = frames.unpack(run).at(-1);
    const panels = items.map((item, place) => make("span", "sepviz-pair", {}, Array.from({ length: count }, (_, k) => {
      const panel = new Panel(width, height, zoom);
      panel.draw(frames.values(last, "estimate", k, place), channels, 0, 1);
      return panel.canvas;
    })));
    return make("button", "sepviz-watch", { type: "button", "aria-expanded": "false", "data-run": i, title: "Watch this run",
      "aria-label": `Watch ${rows[i].name}, step by step`, onclick: () => watch(i) }, panels);
  };
  const cell = (text, className = "") => make("td", className, { textContent: text });
  const head = ["", "method", "PSNR (dB)", "SSIM", "evaluations", "seconds", "it assumes", "what it finds: click to watch"];
  const body = rows.map((row, i) => {
    const line = make("tr", "", {}, [cell(`${i + 1}`), make("th", "", { scope: "row", textContent: row.name }), cell(row.psnr === null ? "n/a" : row.psnr.toFixed(1) + (row.interval === null ? "" : ` ± ${row.interval.toFixed(1)}`), "sepviz-number"),
      cell(row.ssim === null ? "n/a" : row.ssim.toFixed(3), "sepviz-number"), cell(String(Math.round(row.evaluations)), "sepviz-number"), cell(row.seconds.toFixed(1), "sepviz-number"), cell(row.assumes, "sepviz-assumes"),
      make("td", "", {}, [pictures(runs[i], i)])]);
    for (const canvas of line.querySelectorAll("canvas")) canvas.setAttribute("aria-hidden", "true"); // the button has the name
    return line;
  });
  root.append(make("div", "sepviz-scroll", { tabIndex: 0, role: "region", "aria-label": "Scores" }, [make("table", "sepviz-table", {}, [
    make("caption", "", { textContent: rows[0].n === 1 ? "one mixture" : `${rows[0].n} mixtures, mean PSNR with its 95% interval` }),
    make("thead", "", {}, [make("tr", "", {}, head.map((text) => (text ? make("th", "", { scope: "col", textContent: text }) : make("td"))))]), make("tbody", "", {}, body)])]), stage);
  el.append(shield(root));
  return () => {
    if (open) open.view.close();
    root.remove();
  };
}

export default { render };
