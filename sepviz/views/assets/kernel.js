// Where Python is gone (kernel restarted or stopped, notebook opened anew) the widget says so once
// and calls `stop`. JupyterLab marks views of dead models; a kernel that died only says so itself.

import { says } from "./dom.js";

const ENDS = ["restarting", "autorestarting", "terminating", "dead"];
const GONE = "The kernel was restarted or stopped: run this cell again.";

export function watchKernel(model, root, stop = () => {}) {
  if (model.offline) return () => {};
  const changed = model.widget_manager?.kernel?.statusChanged;
  const gone = () => {
    if (root.dataset.kernel === "gone") return;
    root.dataset.kernel = "gone";
    root.prepend(says("div", "sepviz-error", GONE, { role: "alert" }));
    stop();
  };
  const look = () => setTimeout(() => {
    if (root.closest(".jupyter-widgets-disconnected")) gone();
  }, 0);
  const status = (_, now) => { if (ENDS.includes(now)) gone(); };
  model.on("comm_live_update", look);
  changed?.connect(status);
  look();
  return () => {
    model.off("comm_live_update", look);
    changed?.disconnect(status);
  };
}
