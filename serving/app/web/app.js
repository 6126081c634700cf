// The page's own behaviour: taking files in, showing outlines or heat maps, sorting the table. Gradio calls `intake` and `output` for its elements;
// COLOUR_STOPS stands before this file (see serving/app/page.py).

const PARALLEL_UPLOADS = 4;
const say = (text) => {
  const region = document.getElementById("announce");
  if (region && text) region.textContent = text;
};

// --- Files in: by dialogue (on phones also the camera roll), by drop, by paste, or as an example.

function intake(element, trigger, upload) {
  const zone = element.querySelector(".drop");
  const input = zone.querySelector("input");
  const note = element.querySelector(".note");
  let last = [];
  let sending = false;

  const send = async (files) => {
    if (sending || !files.length) return;
    sending = true;
    zone.classList.add("sending");
    last = files;
    const paths = new Array(files.length);
    let next = 0;
    let sent = 0;
    const work = async () => {
      for (let index = next++; index < files.length; index = next++) {
        paths[index] = (await upload(files[index])).path;
        note.textContent = files.length > 1 ? `Uploaded ${++sent} of ${files.length}` : "";
      }
    };
    try {
      note.textContent = files.length > 1 ? `Uploading ${files.length} files` : "Uploading";
      await Promise.all(Array.from({ length: Math.min(PARALLEL_UPLOADS, files.length) }, work));
      note.textContent = "";
      submit({ files: paths });
    } catch (error) {
      note.textContent = `Not uploaded: ${String(error?.message ?? error).replace(/^(Error: )?(HTTP \d+: )?/, "")}`;
    } finally {
      sending = false;
      zone.classList.remove("sending");
      input.value = "";
    }
  };
  const submit = (data) => trigger("submit", { plane: element.querySelector("[name=plane]:checked")?.value ?? null, ...data });
  const take = (list) => send(input.multiple ? [...list] : [...list].slice(0, 1));

  input.addEventListener("change", () => take(input.files));
  for (const [type, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
    zone.addEventListener(type, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", over);
    });
  }
  zone.addEventListener("drop", async (event) => take(await listDropped(event.dataTransfer)));
  for (const plane of element.querySelectorAll("[name=plane]")) plane.addEventListener("change", () => send(last));
  for (const button of element.querySelectorAll("[data-example]")) {
    button.addEventListener("click", () => submit({ example: button.dataset.example }));
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length && zone.offsetParent !== null) {
      event.preventDefault();
      take(files);
    }
  });
}

// Files of a drop; a folder counts as all the files in it.
async function listDropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return transfer.files;
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) return files.push(await new Promise((done, fail) => entry.file(done, fail)));
    const reader = entry.createReader();
    for (;;) {
      const found = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!found.length) return;
      for (const child of found) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}

// --- Answers out.

function output(element, props, watch) {
  const show = () => {
    element.innerHTML = props.value ?? "";
    for (const viewer of element.querySelectorAll(".viewer")) mountViewer(viewer);
    for (const table of element.querySelectorAll("table.answers")) mountTable(table);
    const announcement = element.querySelector("[data-announce]")?.dataset.announce;
    say(announcement);
    // On a phone the answer lies below what was tapped.
    if (announcement && element.getBoundingClientRect().top > window.innerHeight * 0.6) {
      const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      element.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
    }
  };
  watch("value", show);
  show();
}

function mountViewer(viewer) {
  const slices = JSON.parse(viewer.dataset.slices);
  // The layer over the picture is a heat map (canvas) or an outline (svg).
  const [image, layer] = [viewer.querySelector("img"), viewer.querySelector(".layer")];
  const [position, opacity] = [viewer.querySelector(".position"), viewer.querySelector(".opacity")];
  const outlined = viewer.querySelector(".outlined");
  const choices = [...viewer.querySelectorAll(".choices input")];

  const show = () => {
    const index = position ? Number(position.value) - 1 : 0;
    const slice = slices[index];
    const label = choices.find((choice) => choice.checked)?.value || slice.label;
    image.src = slice.image;
    image.alt = slice.caption ? `The slice. ${slice.caption}` : "The slice";
    if (layer instanceof HTMLCanvasElement) paint(layer, slice.heat[label]);
    else for (const path of layer.children) path.setAttribute("d", slice.outline);
    if (outlined) layer.style.visibility = outlined.checked ? "visible" : "hidden";
    if (position) {
      position.previousElementSibling.querySelector(".shown").textContent = `${index + 1} of ${slices.length}`;
      position.setAttribute("aria-valuetext", `${index + 1} of ${slices.length}. ${slice.caption}`);
      viewer.querySelector(".caption").textContent = slice.caption;
      for (const row of viewer.querySelectorAll(".strip, .profile")) {
        [...row.children].forEach((cell, at) => cell.classList.toggle("current", at === index));
      }
    }
    if (opacity) {
      layer.style.opacity = opacity.value / 100;
      opacity.previousElementSibling.querySelector(".shown").textContent = `${opacity.value} %`;
      opacity.setAttribute("aria-valuetext", `${opacity.value} percent`);
    }
  };

  if (position) {
    const [strip, profile] = [viewer.querySelector(".strip"), viewer.querySelector(".profile")];
    const largest = Math.max(...slices.map((slice) => slice.area));
    slices.forEach((slice, index) => {
      const title = `${index + 1}: ${slice.caption}`;
      const cell = document.createElement("i");
      cell.className = slice.tone ? `tone-${slice.tone}` : slice.kind;
      cell.title = title;
      strip.append(cell);
      if (profile) {
        const bar = document.createElement("i");
        // However little is outlined, it must not look like nothing.
        bar.style.setProperty("--share", slice.area ? Math.max(slice.area / largest, 0.06) : 0);
        bar.title = title;
        profile.append(bar);
      }
    });
    for (const row of [strip, profile].filter(Boolean)) {
      row.addEventListener("click", ({ target }) => {
        const index = [...row.children].indexOf(target);
        if (index >= 0) position.value = index + 1;
        show();
      });
    }
    // Turn the wheel over the picture to go through the slices, as in a viewer for radiologists.
    viewer.querySelector(".stage").addEventListener("wheel", (event) => {
      event.preventDefault();
      position.value = Number(position.value) + Math.sign(event.deltaY);
      show();
    }, { passive: false });
  }
  viewer.addEventListener("input", show);
  show();
}

// Colour a heat map, base64 of one byte a position; where there is no evidence the slice shows unchanged.
function paint(canvas, encoded) {
  const heat = encoded ? Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0)) : new Uint8Array(1);
  const side = Math.sqrt(heat.length);
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(side, side);
  heat.forEach((value, index) => {
    const at = (value / 255) * (COLOUR_STOPS.length - 1);
    const low = COLOUR_STOPS[Math.floor(at)];
    const high = COLOUR_STOPS[Math.ceil(at)];
    const colour = low.map((channel, number) => channel + (high[number] - channel) * (at % 1));
    pixels.data.set([...colour, value], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
}

// A row opens its slice below itself; only one row is open. Sort by a click on a column's head: first up, then down.
function mountTable(table) {
  const template = table.parentElement.querySelector("template");
  const close = () => {
    table.querySelector("tr.opened")?.remove();
    table.querySelector(".open[aria-expanded=true]")?.setAttribute("aria-expanded", "false");
  };
  for (const button of table.querySelectorAll(".open")) {
    button.addEventListener("click", () => {
      const wasOpen = button.getAttribute("aria-expanded") === "true";
      close();
      if (wasOpen) return;
      button.setAttribute("aria-expanded", "true");
      const row = button.closest("tr");
      const below = document.createElement("tr");
      below.className = "opened";
      const cell = below.insertCell();
      cell.colSpan = row.cells.length;
      cell.append(template.content.cloneNode(true));
      const viewer = cell.querySelector(".viewer");
      viewer.dataset.slices = `[${row.dataset.slice}]`;
      const { label } = JSON.parse(row.dataset.slice);
      for (const choice of viewer.querySelectorAll(".choices input")) choice.checked = choice.value === label;
      row.after(below);
      mountViewer(viewer);
    });
  }
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      close();
      const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.sort;
      const compare = new Intl.Collator("en", { numeric: true }).compare;
      const number = [...body.rows].every((row) => key(row) !== "" && !isNaN(key(row)));
      const rows = [...body.rows].sort((a, b) => direction * (number ? key(a) - key(b) : compare(key(a), key(b))));
      body.append(...rows);
    });
  });
}
