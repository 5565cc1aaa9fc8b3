"use strict";
// The map of a page. What to show stands in the page as JSON: #map-data.
//   { kind: "live" | "page" | "coverage", source, extent: [w, s, e, n], count, style, item, basemap, attribution, texts }
// live: the layer is asked again for the box in view; page: the source's features are shown once.

(function () {
  const holder = document.getElementById("map");
  if (!holder) return;
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const style = data.style;
  const note = document.getElementById("map-note");
  const colours = new Map(style.classes.map((each) => [each.value, each]));
  const MOST = 2000, LABELS_FROM = 18, MOST_LABELS = 400, SMALL = 6;

  const map = L.map(holder, { preferCanvas: true, zoomSnap: 0.25, maxZoom: 22 });
  map.attributionControl.setPrefix(false);
  if (data.basemap) L.tileLayer(data.basemap, { attribution: data.attribution, maxZoom: 22, maxNativeZoom: 19 }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  const ground = L.layerGroup().addTo(map);
  let shown = L.featureGroup().addTo(map);
  const spots = L.layerGroup().addTo(map);

  const [w, s, e, n] = data.extent;
  const whole = [[s, w], [n, e]];
  // A layer too large to be shown whole opens on its middle, with about as many features as can be shown.
  const part = data.kind === "live" && data.count > MOST ? Math.sqrt((MOST * 0.4) / data.count) : 1;
  const across = ((e - w) / 2) * part, up = ((n - s) / 2) * part;
  map.fitBounds([[(s + n) / 2 - up, (w + e) / 2 - across], [(s + n) / 2 + up, (w + e) / 2 + across]], { maxZoom: 19 });

  function say(text) { if (note) note.textContent = text; }

  function colourOf(feature) {
    const found = style.classify ? colours.get(String(feature.properties[style.classify])) : null;
    return found ? found.colour : style.fill;
  }

  // Outlines of small polygons hide them on a small scale, so they are drawn thinner there.
  function thinned(width) { return width * Math.min(1, Math.max(0.2, 2 ** ((map.getZoom() - 18) / 1.5))); }

  function look(feature) {
    const colour = colourOf(feature);
    const line = /Line/.test(style.shape || "");
    const point = /Point/.test(style.shape || "");
    return {
      color: line && style.classify ? colour : style.stroke, weight: line || point ? Math.max(style.width, 1.5) : thinned(style.width),
      fillColor: colour, fillOpacity: point ? 0.9 : style.opacity, radius: 5, fill: !line,
    };
  }

  function popup(feature) {
    const box = document.createElement("div");
    const name = style.label && feature.properties[style.label];
    const title = document.createElement("b");
    title.textContent = name ? name : feature.id;
    box.append(title, document.createElement("br"));
    const found = style.classify ? colours.get(String(feature.properties[style.classify])) : null;
    if (found) box.append(found.title, document.createElement("br"));
    const link = document.createElement("a");
    link.href = data.item.replace("{id}", encodeURIComponent(feature.id));
    link.textContent = data.texts.open;
    box.append(link);
    return box;
  }

  function draw(collection) {
    const labels = style.label && map.getZoom() >= LABELS_FROM && collection.features.length <= MOST_LABELS;
    const fresh = L.geoJSON(collection, {
      style: look,
      pointToLayer: (feature, place) => L.circleMarker(place, look(feature)),
      onEachFeature: (feature, layer) => {
        if (data.item) layer.bindPopup(() => popup(feature));
        const text = labels && feature.properties[style.label];
        if (text) {
          const tag = document.createElement("span");
          tag.textContent = text;
          layer.bindTooltip(tag, { permanent: true, direction: "center", className: "feature-label" });
        }
      },
    });
    shown.remove();
    shown = fresh.addTo(map);
    spot();
    describe(collection.features);
    holder.dataset.features = collection.features.length;
  }

  // A polygon of some pixels, or a sliver, is hardly seen: on this zoom a small circle stands over it.
  function spot() {
    spots.clearLayers();
    shown.eachLayer((each) => {
      if (!(each instanceof L.Polygon) || !each.getBounds().isValid() || !small(each)) return;
      const dot = L.circleMarker(each.getBounds().getCenter(), { ...look(each.feature), radius: SMALL / 2, weight: 0.5, fillOpacity: 0.9 });
      if (data.item) dot.bindPopup(() => popup(each.feature));
      dot.addTo(spots);
    });
    holder.dataset.spots = spots.getLayers().length;
  }

  function small(polygon) {
    const box = polygon.getBounds();
    const one = map.latLngToLayerPoint(box.getNorthWest()), other = map.latLngToLayerPoint(box.getSouthEast());
    const length = Math.max(other.x - one.x, other.y - one.y);
    if (length < SMALL || length >= 8 * SMALL) return length < SMALL;
    const outlines = polygon.getLatLngs().flat(Array.isArray(polygon.getLatLngs()[0][0]) ? 1 : 0);
    return outlines.reduce((sum, ring) => sum + pixels(ring), 0) < (SMALL * SMALL) / 2;
  }

  // How many a ring encloses (the shoelace formula).
  function pixels(ring) {
    const points = ring.map((place) => map.latLngToLayerPoint(place));
    return Math.abs(points.reduce((sum, point, at) => {
      const next = points[(at + 1) % points.length];
      return sum + point.x * next.y - next.x * point.y;
    }, 0)) / 2;
  }

  function describe(features) {
    const box = document.getElementById("map-legend");
    box.replaceChildren();
    if (!style.classify) return;
    const present = new Set(features.map((each) => String(each.properties[style.classify])));
    const rows = style.classes.filter((each) => present.has(each.value)).map((each) => [each.colour, each.title]);
    if (!rows.length) return;
    if ([...present].some((value) => !colours.has(value))) rows.push([style.fill, data.texts.other]);
    const title = document.createElement("b");
    title.textContent = data.texts.legend;
    box.append(title);
    for (const [colour, text] of rows) {
      const line = document.createElement("span");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour;
      line.append(swatch, text);
      box.append(line);
    }
  }

  // --- a graticule stands where there is no basemap ------------------------------------------------------------------
  function graticule() {
    ground.clearLayers();
    if (data.basemap) return;
    const view = map.getBounds(), span = view.getEast() - view.getWest();
    // At least 100 pixels between two lines, for what is written beside them.
    const least = span * Math.max(0.15, 100 / map.getSize().x);
    const step = [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
      .find((each) => each >= least) || 10;
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    const line = { color: "#b9c6c9", weight: 1, interactive: false };
    const put = (place, text, anchor) => L.marker(place, {
      interactive: false, keyboard: false, icon: L.divIcon({ className: "graticule", html: text, iconSize: [0, 0], iconAnchor: anchor }),
    }).addTo(ground);
    for (let x = Math.ceil(view.getWest() / step) * step; x < view.getEast(); x += step) {
      L.polyline([[view.getSouth(), x], [view.getNorth(), x]], line).addTo(ground);
      // Not under the buttons in the corner.
      if (map.latLngToContainerPoint([view.getNorth(), x]).x > 45) put([view.getNorth(), x], x.toFixed(digits) + "°", [-3, -2]);
    }
    for (let y = Math.ceil(view.getSouth() / step) * step; y < view.getNorth(); y += step) {
      L.polyline([[y, view.getWest()], [y, view.getEast()]], line).addTo(ground);
      if (map.latLngToContainerPoint([y, view.getEast()]).y > 40) put([y, view.getEast()], y.toFixed(digits) + "°", [52, 16]);
    }
    ground.eachLayer((each) => each.bringToBack && each.bringToBack());
  }

  map.on("zoomend", () => { shown.setStyle(look); spot(); });

  // --- features ------------------------------------------------------------------------------------------------------
  let running = null, first = true;
  async function fetchJson(address) {
    if (running) running.abort();
    running = new AbortController();
    const answer = await fetch(address, { signal: running.signal, headers: { Accept: "application/geo+json" } });
    if (!answer.ok) throw new Error((await answer.json()).detail || answer.status);
    return answer.json();
  }

  async function live() {
    const view = map.getBounds();
    const box = [view.getWest(), view.getSouth(), view.getEast(), view.getNorth()].map((each) => each.toFixed(7)).join(",");
    const wanted = [style.classify, style.label].filter(Boolean).join(",");
    const address = new URL(data.source, location.href);
    address.searchParams.set("f", "json");
    address.searchParams.set("bbox", box);
    address.searchParams.set("limit", MOST);
    address.searchParams.set("properties", wanted);
    try {
      const found = await fetchJson(address);
      if (first && !found.features.length && part < 1) map.fitBounds(whole);
      first = false;
      draw(found);
      const texts = data.texts;
      const exact = found.numberMatched !== undefined;
      const all = exact ? found.numberMatched : found.numberMatchedAtLeast;
      say((all > found.numberReturned ? texts.part : texts.all)
        .replace("{shown}", found.numberReturned.toLocaleString(data.language))
        .replace("{all}", (exact ? "" : "≥ ") + all.toLocaleString(data.language)));
    } catch (error) {
      if (error.name !== "AbortError") say(data.texts.failed);
    }
  }

  async function once() {
    try {
      const found = await fetchJson(data.source);
      draw(found.type === "Feature" ? { type: "FeatureCollection", features: [found] } : found);
      const bounds = shown.getBounds();
      if (bounds.isValid()) map.fitBounds(bounds.pad(0.05), { maxZoom: 20 });
    } catch (error) {
      say(data.texts.failed);
    }
  }

  // --- a coverage, from CoverageJSON, laid by its three corners ------------------------------------------------------
  const mercator = (lat) => Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));
  const latitude = (y) => (Math.atan(Math.exp(y)) * 360) / Math.PI - 90;

  async function coverage() {
    const found = await fetchJson(data.source);
    const range = Object.values(found.ranges)[0];
    const [rows, columns] = range.shape;
    const known = range.values.filter((each) => each !== null);
    const low = known.reduce((a, b) => Math.min(a, b), Infinity);
    const high = known.reduce((a, b) => Math.max(a, b), -Infinity);
    const [[x0, y0], [x1, y1], [x2, y2]] = data.corners; // top left, top right, bottom left: lon, lat
    const turn = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
    const canvas = document.createElement("canvas");
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(columns, rows);
    const ink = shade(style.fill);
    const top = mercator(n), bottom = mercator(s);
    for (let row = 0; row < rows; row++) {
      const lat = latitude(top + ((bottom - top) * (row + 0.5)) / rows);
      for (let column = 0; column < columns; column++) {
        const lon = w + ((e - w) * (column + 0.5)) / columns;
        const u = ((lon - x0) * (y2 - y0) - (x2 - x0) * (lat - y0)) / turn;
        const v = ((x1 - x0) * (lat - y0) - (lon - x0) * (y1 - y0)) / turn;
        const i = Math.floor(u * columns), j = Math.floor(v * rows);
        const value = i >= 0 && j >= 0 && i < columns && j < rows ? range.values[j * columns + i] : null;
        if (value === null) continue;
        const part = high > low ? (value - low) / (high - low) : 1;
        const at = (row * columns + column) * 4;
        for (let k = 0; k < 3; k++) picture.data[at + k] = Math.round(250 + (ink[k] - 250) * (0.08 + 0.92 * part));
        picture.data[at + 3] = 235;
      }
    }
    context.putImageData(picture, 0, 0);
    L.imageOverlay(canvas.toDataURL(), [[s, w], [n, e]]).addTo(map);
    const unit = Object.values(found.parameters)[0].unit.symbol.value;
    say(data.texts.values.replace("{low}", low.toLocaleString(data.language))
      .replace("{high}", `${high.toLocaleString(data.language)} ${unit}`));
    holder.dataset.cells = known.length;
  }

  function shade(colour) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data;
  }

  graticule();
  map.on("moveend", graticule);
  if (data.kind === "live") {
    let wait = null;
    map.on("moveend", () => { clearTimeout(wait); wait = setTimeout(live, 150); });
    live();
  } else if (data.kind === "coverage") {
    coverage().catch(() => say(data.texts.failed));
  } else {
    once();
  }
})();
