//go:build !race

package history

// damages is how many stores are damaged.
const damages = 200
