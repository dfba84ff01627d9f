/**
 * Sound in, embeddings out, in the browser; nothing is sent anywhere.
 *
 *     const model = await ListenEmbed.load("listen-embed.wasm");
 *     for (const frame of model.push(samples)) console.log(frame.embedding);
 *
 * Samples are a Float32Array, mono, at model.sampleRate Hz, in blocks of any length.
 */
export class ListenEmbed {
  /** @param {string|URL|ArrayBuffer} source address or bytes of listen-embed.wasm */
  static async load(source) {
    const bytes = source instanceof ArrayBuffer ? source : await (await fetch(source)).arrayBuffer();
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return new ListenEmbed(instance.exports);
  }

  constructor(machine) {
    this.machine = machine;
    this.sampleRate = machine.rate();
    this.size = machine.size();
    this.hop = machine.hop();
    this.labels = machine.classes ? this.#labels() : [];
    this.reset();
  }

  /** Forget the sound so far. */
  reset() {
    this.machine.init();
  }

  /** Take samples; return the frames that they complete. */
  push(samples) {
    const frames = [];
    const block = this.machine.block();
    for (let begin = 0; begin < samples.length; begin += block) {
      const part = samples.subarray(begin, begin + block);
      this.#view(this.machine.samples(), part.length).set(part);
      if (this.machine.push(part.length)) frames.push(this.#frame());
    }
    return frames;
  }

  #frame() {
    const frame = { embedding: this.#view(this.machine.embedding(), this.size).slice() };
    if (this.machine.classify) {
      const best = this.machine.classify();
      frame.label = best < 0 ? "unknown" : this.labels[best];
      frame.probabilities = this.#view(this.machine.probabilities(), this.labels.length).slice();
    }
    if (this.machine.anomaly) frame.anomaly = this.machine.anomaly();
    return frame;
  }

  #view(address, length) {
    return new Float32Array(this.machine.memory.buffer, address, length);
  }

  #labels() {
    const bytes = new Uint8Array(this.machine.memory.buffer);
    return Array.from({ length: this.machine.classes() }, (_, i) => {
      const begin = this.machine.label(i);
      return new TextDecoder().decode(bytes.slice(begin, bytes.indexOf(0, begin)));
    });
  }
}
