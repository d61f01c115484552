// Package engine runs guests: one wazero runtime for each version, its instances,
// and all that bounds them. It is the plugins.Loader of a node.
//
// Who owns what: a version has a few lanes, each with an instance and a lock; a
// channel belongs to one lane, so that its messages keep their order and find the
// state they left. Whoever asks runs the guest on his own goroutine, with the lane
// locked: no hand-over is paid for. Deliver runs on a goroutine that the version
// has only while somebody asks.
//
// What stops a guest: fuel, which instrumentation counts (plugins/instrument), and
// refill, which is asked after each slice of it: there the call's budget, its wall
// time and the version's end are looked at. A guest that is stopped or traps loses
// its instance. Instances are 20 microseconds for a small guest, made at once, and
// milliseconds for one in Go, made beside.
package engine
