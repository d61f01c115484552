//go:build race

package instrument

// raced says that tests run with the race detector, which makes them ten times
// slower and finds nothing here: the package starts no goroutines. So they do
// every sixth of what is many.
const raced = true
