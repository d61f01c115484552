/**
 * Reads the text/event-stream of a relay (PROTOCOL §1.4; WHATWG HTML §9.2.6),
 * whose lines end with LF, and whose data is one line. The result takes what
 * comes, in whatever pieces; block is handed what each block says: data, the
 * last id, and ms of the last retry field.
 */
export function eventReader(block: (data?: string, id?: string, retry?: number) => void): (chunk: string) => void {
  let rest = ''
  let id: string | undefined
  let retry: number | undefined
  return (chunk) => {
    const all = (rest + chunk).split('\n\n')
    rest = all.pop()!
    for (const text of all) {
      let data: string | undefined
      for (const line of text.split('\n')) {
        const [field, value = ''] = line.split(/: ?(.*)/s)
        if (field === 'data') data = value
        if (field === 'id') id = value
        if (field === 'retry') retry = +value
      }
      block(data, id, retry)
    }
  }
}
