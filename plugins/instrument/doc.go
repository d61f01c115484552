// Package instrument reads an uploaded WebAssembly module, refuses what a plugin
// may not contain, and writes it anew with a fuel counter and a call depth in it,
// so that a host can stop it and count what it does.
//
// It is the security boundary of plugins. Three things make it one:
//
//   - Nothing is copied but names, data and float constants. The module is taken
//     apart and encoded anew, in the shortest form of each number, so that the
//     engine cannot read the result in another way than this package did.
//   - Every index is checked against what the upload itself defines, so that no
//     code of it can name what instrumentation adds.
//   - Nothing is allocated by a count of the upload before that count was
//     compared with its cap and with the bytes that are left.
//
// Types of operands are not checked: the engine does that with the result, and
// instrumentation keeps a module valid or invalid as it was.
//
// # What is added
//
// An import chappe.__refill of type ()->(), the last imported function; the
// mutable globals __chappe_fuel (i64) and __chappe_depth (i32), the last two,
// exported by these names; and code.
//
// Fuel: each stretch of code that runs as a whole takes its cost (cost.go) from
// the counter when it is entered. At the entry of a function, at the head of a
// loop and before a bulk operation the counter is compared with 0, and refill is
// called if it is below. Refill adds to the counter and returns, or stops the
// guest with a panic. It should add, not set, because what was charged beyond the
// slice is below 0; if the counter is still below 0 when it returns, it is soon
// called again. The counter starts at 0, so that a start function asks at once.
// Fuel bounds time but for waiting on memory (cost.go), so refill also looks at a
// clock, and slices are small: 100 000 units are 0.1 ms, and at the very worst 3.5.
// A page that is added costs 1024 units, which does not pay for copying the memory:
// a host allocates it such that it grows in place.
//
// Where a function has a loop that calls nothing, it keeps the counter in a local
// and writes it back before it calls and returns; after a trap in such a function
// the counter may be higher than what was used, by at most a slice.
//
// Depth: a function that calls others takes its weight from the counter while it
// runs, and traps with "unreachable" if that leaves less than 0, which the host
// then finds in the counter. The weight is 1 and one more for each 512 bytes that
// the frame might need, so [DefaultDepth] bounds the bytes of the stack: twice
// that while it grows. The host sets the counter before each call; it starts at DefaultDepth for a start
// function. After any trap the counter is off and the instance is to be discarded.
//
// # Rules
//
// A [Refusal] names one of these rules; see the constants Rule*.
package instrument
