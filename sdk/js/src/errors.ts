/** A refusal by the relay, or the end of what it concerned. */
export class ChappeError extends Error {
  constructor(
    /** Stable name: docs/protocol.md#codes lists them. `closed`: by the application. `''`: the connection ended without one. */
    readonly code: string,
    text = '',
    /** Milliseconds: the relay's advice not to ask sooner. 0: none. */
    readonly retryMs = 0,
  ) {
    super([code, text].filter(Boolean).join(': '))
    this.name = 'ChappeError'
  }
}

/** The application closed it. */
export const closed = () => new ChappeError('closed')
