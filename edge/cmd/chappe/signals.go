package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interrupts returns a context that ends with the first SIGINT or SIGTERM, and
// calls again at every later one. stop gives the signals back.
func interrupts(parent context.Context, again func()) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
			if ctx.Err() == nil {
				cancel()
			} else if again != nil {
				again()
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		<-done
		cancel()
	}
}

// hangups calls again at every SIGHUP, one at a time. stop gives the signal back.
func hangups(again func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	var run sync.WaitGroup
	run.Go(func() {
		for range signals {
			again()
		}
	})
	return func() {
		signal.Stop(signals)
		close(signals)
		run.Wait()
	}
}
