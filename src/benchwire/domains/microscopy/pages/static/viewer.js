// Pictures that are made on request: one is fetched at a time and then the newest that was asked
// for, so that a slider may be dragged as fast as one likes.
window.microscopy = (() => {
  const viewers = new Map();

  class Viewer {
    constructor(root) {
      this.root = root;
      this.image = root.querySelector("img");
      this.ring = root.querySelector(".mc-ring");
      this.note = root.querySelector(".mc-note");
    }

    show(url, mark) {
      this.wanted = { url, mark };
      if (!this.isBusy) this.load();
    }

    async load() {
      this.isBusy = true;
      while (this.wanted) {
        const { url, mark } = this.wanted;
        this.wanted = null;
        this.root.dataset.state = "loading";
        if (url !== this.url && !(await this.fetch(url))) continue;
        this.url = url;
        this.place(mark);
        this.root.dataset.state = "shown";
      }
      this.isBusy = false;
    }

    async fetch(url) {
      let trouble = "The server cannot be reached.";
      try {
        const answer = await fetch(url);
        if (answer.ok) {
          const address = URL.createObjectURL(await answer.blob());
          const before = this.image.src;
          this.image.src = address;
          await this.image.decode();
          if (before.startsWith("blob:")) URL.revokeObjectURL(before);
          this.note.textContent = "";
          this.root.dataset.shown = url;
          return true;
        }
        trouble = (await answer.json()).error || `The server answered ${answer.status}.`;
      } catch (error) {
        if (error.name === "EncodingError") trouble = "The picture cannot be shown.";
      }
      this.url = null;
      this.place(null);
      this.note.textContent = trouble;
      this.root.dataset.state = "failed";
      return false;
    }

    close() {
      this.wanted = null;
      if (this.image.src.startsWith("blob:")) URL.revokeObjectURL(this.image.src);
    }

    // A ring around a point given in parts of the picture's width and height.
    place(mark) {
      if (!this.ring) return;
      this.ring.style.display = mark ? "block" : "none";
      if (!mark) return;
      for (const [side, part] of Object.entries(mark)) this.ring.style[side] = `${100 * part}%`;
    }
  }

  return {
    show(id, url, mark) {
      const root = document.getElementById(id);
      if (!root) return;
      for (const [key, viewer] of viewers) {
        if (!viewer.root.isConnected) {
          viewer.close();
          viewers.delete(key);
        }
      }
      if (!viewers.has(id)) viewers.set(id, new Viewer(root));
      viewers.get(id).show(url, mark);
    },
  };
})();
