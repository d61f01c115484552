package engine

import (
	"runtime"
	"time"

	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// Limits bound one version (ABI §9). A zero field takes its default.
type Limits struct {
	Fuel     [abi.Hooks]int64         // of one call; Init: of instantiation
	Wall     [abi.Hooks]time.Duration // a backstop behind the fuel
	Depth    int                      // of calls, as instrument.DefaultDepth counts
	Pages    uint32                   // of 64 KiB
	Inflight int                      // calls that run or wait
	Share    float64                  // of one core's time, over a second
	Lanes    int                      // instances
}

const (
	smallPages = 64
	goPages    = 256
	// perSecond is the fuel that a core burns in a second, roughly: between 350 and
	// 3000 million were measured, by what the guest does.
	perSecond = 700e6
)

// filled returns l with its defaults. Guests in Go need more memory, and may
// collect garbage in any call.
func (l Limits) filled(goGuest bool) Limits {
	fuel := [abi.Hooks]int64{
		abi.Init: 200e6, abi.Connect: 20e6, abi.Subscribe: 20e6, abi.History: 20e6, abi.Timer: 10e6,
		abi.Publish: 1.5e6, abi.PublishBatch: 1.5e6, abi.Deliver: 1.5e6, abi.Presence: 1.5e6, abi.Disconnect: 1.5e6,
	}
	for h := range l.Fuel {
		if goGuest {
			fuel[h] = max(fuel[h], 20e6)
		}
		if l.Fuel[h] <= 0 {
			l.Fuel[h] = fuel[h]
		}
		if l.Wall[h] <= 0 {
			switch abi.Hook(h) {
			case abi.Init:
				l.Wall[h] = 2 * time.Second
			case abi.Connect, abi.Subscribe, abi.History, abi.Timer:
				l.Wall[h] = 250 * time.Millisecond
			default:
				l.Wall[h] = 50 * time.Millisecond
			}
		}
	}
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.Depth, instrument.DefaultDepth)
	def(&l.Inflight, 256)
	def(&l.Lanes, min(runtime.GOMAXPROCS(0), 8))
	if l.Pages == 0 {
		l.Pages = smallPages
		if goGuest {
			l.Pages = goPages
		}
	}
	if l.Share <= 0 {
		l.Share = 0.5
	}
	return l
}

// wished takes over what a manifest wishes; the host has checked it against the
// operator's caps.
func (l Limits) wished(w *manifest.Limits) Limits {
	for name, n := range w.Fuel {
		if h, ok := abi.ParseHook(name); ok {
			l.Fuel[h] = int64(n)
		}
	}
	for name, ms := range w.Wall {
		if h, ok := abi.ParseHook(name); ok {
			l.Wall[h] = time.Duration(ms) * time.Millisecond
		}
	}
	if w.Memory > 0 {
		l.Pages = w.Memory
	}
	if w.Depth > 0 {
		l.Depth = int(w.Depth)
	}
	return l
}
