//go:build !linux

package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
)

func run(_ context.Context, _ []string, _, stderr io.Writer) int {
	fmt.Fprintf(stderr, "chappe-bench: the client is epoll and the figures come from /proc: it runs on Linux, not on %s\n", runtime.GOOS)
	return 2
}
