// Package report turns the runs of scenarios into tables and JSON, with the
// machine they ran on.
package report
