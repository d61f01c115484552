// Package scenario is what the benchmarks do to a server: each scenario is one
// load, with its figures and its faults. bench/README.md says what each figure
// means. Linux only, as its client is.
package scenario
