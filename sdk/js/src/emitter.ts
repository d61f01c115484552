import type { Events } from './api.js'

type Handler = (v: any) => void

/** Calls what an application gave it, for each event of a name. */
export class Emitter<E> implements Events<E> {
  private readonly by: { [K in keyof E]?: Map<Handler, unknown> } = {} // true: once

  on<K extends keyof E>(what: K, f: E[K], once?: boolean): this {
    this.of(what).set(f as Handler, once)
    return this
  }

  once<K extends keyof E>(what: K, f: E[K]): this {
    return this.on(what, f, true)
  }

  off<K extends keyof E>(what: K, f: E[K]): this {
    this.of(what).delete(f as Handler)
    return this
  }

  private of(what: keyof E): Map<Handler, unknown> {
    return (this.by[what] ??= new Map())
  }

  hears(what: keyof E): number {
    return this.of(what).size
  }

  /** What handlers throw is reported as theirs, and stops nothing here. */
  emit(what: keyof E, v: unknown): void {
    const all = this.of(what)
    for (const [f, once] of [...all]) {
      if (once) all.delete(f)
      void (async () => f(v))() // at once; what it throws is a rejection that nobody handles
    }
  }
}
