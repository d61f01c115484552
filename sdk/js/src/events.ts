/** Reads the text/event-stream of a relay (PROTOCOL §1.4; WHATWG HTML §9.2.6, lines end with LF). */
export class EventParser {
  /** ms of the last retry field; 0: none. */
  retry = 0
  private id = ''
  private text = ''

  /** Hands out the blocks that a chunk completes. data is undefined where a block only moves the id. */
  read(chunk: string, block: (data: string | undefined, id: string) => void): void {
    const all = (this.text + chunk).split('\n\n')
    this.text = all.pop()!
    for (const text of all) {
      let data: string | undefined
      for (const line of text.split('\n')) {
        const [, field, value = ''] = /^(\w+)(?:: ?(.*))?$/.exec(line) ?? []
        if (field === 'data') data = data === undefined ? value : `${data}\n${value}`
        if (field === 'id') this.id = value
        if (field === 'retry') this.retry = Number(value)
      }
      block(data, this.id)
    }
  }
}
