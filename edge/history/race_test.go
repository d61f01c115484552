//go:build race

package history

// damages is how many stores are damaged: the race detector makes each slow.
const damages = 40
