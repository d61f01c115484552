package chappe

import (
	"net/url"
	"slices"
	"time"
)

// Pace of reconnecting (CLIENTS §4). The window is what keeps a wave of
// lost clients from arriving at once; the backoff is for what comes after.
const (
	backoffBase = 500 * time.Millisecond
	backoffCap  = 30 * time.Second
	stable      = 30 * time.Second // a connection that lived this long clears the failures before it
	flap        = time.Second      // a drain sooner than this after the welcome is no plan but a fault
)

// pacer decides when and where to connect. It belongs to the run goroutine.
type pacer struct {
	rand     func(time.Duration) time.Duration // uniform in [0, d)
	home     []string                          // as configured, in order
	round    []string                          // the relays of this round, best first
	at       int                               // index of the present one
	window   time.Duration
	failures int
}

func newPacer(home []string, random func(time.Duration) time.Duration) *pacer {
	return &pacer{rand: random, home: home, round: home}
}

func (p *pacer) target() string { return p.round[p.at] }

// welcomed records the advice of a relay that accepted us.
func (p *pacer) welcomed(window time.Duration, alternatives []string) {
	p.window = window
	p.begin(p.target(), alternatives)
}

// begin makes a new round: first, then the told alternatives, then home.
func (p *pacer) begin(first string, told []string) {
	round := []string{first}
	for _, u := range slices.Concat(acceptable(first, told), p.home) {
		if !slices.Contains(round, u) {
			round = append(round, u)
		}
	}
	p.round, p.at = round, 0
}

// next returns how long to wait before the next attempt. lived is how long the
// connection was live; 0 for an attempt that never was.
func (p *pacer) next(l loss, lived time.Duration) time.Duration {
	live := lived > 0
	if lived >= stable {
		p.failures = 0
	}
	if l.drained && lived >= flap {
		here := p.target()
		if told := acceptable(here, l.moved); len(told) > 0 {
			p.begin(told[0], append(told, here))
		}
		return 0
	}
	if !live && !l.auth {
		p.at = (p.at + 1) % len(p.round)
	}
	ceiling := min(backoffCap, backoffBase<<min(p.failures, 10))
	if live && p.window > 0 {
		// The first attempt makes the peak of a storm: the window, not the backoff, spreads it.
		if p.failures == 0 {
			ceiling = p.window
		}
		ceiling = max(ceiling, p.window)
	}
	p.failures++
	if l.delay > 0 {
		return l.delay
	}
	return p.rand(ceiling)
}

// acceptable returns the told URLs that may get our credentials: absolute, of
// a scheme we speak, and not in the clear where the one who told them was not.
func acceptable(from string, told []string) []string {
	var ok []string
	for _, t := range told {
		u, err := parseBase(t)
		if err != nil || u.Scheme == "http" && !isPlain(from) {
			continue
		}
		ok = append(ok, u.String())
	}
	return ok
}

func isPlain(base string) bool {
	u, err := url.Parse(base)
	return err == nil && u.Scheme == "http"
}
