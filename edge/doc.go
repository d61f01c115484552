// Package edge is the process that an operator runs: a relay with listeners, an
// admin port, metrics and an orderly end. Package config says how it is set up;
// the binary is cmd/chappe.
package edge
