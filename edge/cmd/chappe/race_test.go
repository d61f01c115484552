//go:build race

package main

// racing is whether this program has the race detector in it.
const racing = true
