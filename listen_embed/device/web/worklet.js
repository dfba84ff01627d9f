/** Hands the microphone's samples to the page, a tenth of a second at a time. */
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.waiting = [];
    this.count = 0;
  }

  process([channels]) {
    if (!channels.length) return true;
    this.waiting.push(channels[0].slice());
    this.count += channels[0].length;
    if (this.count >= sampleRate / 10) this.#send();
    return true;
  }

  #send() {
    const block = new Float32Array(this.count);
    let place = 0;
    for (const part of this.waiting) {
      block.set(part, place);
      place += part.length;
    }
    this.port.postMessage(block, [block.buffer]);
    this.waiting = [];
    this.count = 0;
  }
}

registerProcessor("microphone", Microphone);
