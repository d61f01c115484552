// Package conformance tests what runs plugins and what they are made with.
//
// [Run] tests a host: two small guests, written by hand (testdata/*.wat), answer
// and call whatever the cases say (testdata/host.jsonl, calls.jsonl), forged
// answers and pointers among it. It needs no toolchain.
//
// [RunGuest] tests a guest kit: a guest written with it, which behaves as
// guest.md says, is called with the fixtures of testdata/guest.jsonl.
//
// Both leave fuel, limits, pools and failure policies to the host's own tests.
package conformance
