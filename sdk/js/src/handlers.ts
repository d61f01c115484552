/** What an application wants to hear. */
export class Handlers {
  private readonly by = new Map<string, Set<(v: any) => void>>()

  of(what: string): Set<(v: any) => void> {
    if (!this.by.has(what)) this.by.set(what, new Set())
    return this.by.get(what)!
  }

  /** What handlers throw is reported as theirs, and stops nothing here. */
  call(what: string, v: unknown): void {
    for (const f of [...this.of(what)]) {
      try {
        f(v)
      } catch (e) {
        queueMicrotask(() => {
          throw e
        })
      }
    }
  }
}
