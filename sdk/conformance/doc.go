// Package conformance checks a client library against docs/clients.md: a
// scripted relay plays refusals, drains, gaps, cuts and silence, and judges by
// what it sees and by what a small driver of the library reports.
//
// README.md in this folder says how a driver speaks and how a library in another
// language is run. Comments cite docs/clients.md as CLIENTS and docs/protocol.md
// as PROTOCOL.
package conformance
