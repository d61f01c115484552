package chappe

import (
	"net/url"
	"sync"
	"time"
)

// Pace of reconnecting (CLIENTS §4). The window is what keeps a wave of
// lost clients from arriving at once; the backoff is for what comes after.
const (
	backoffBase = 500 * time.Millisecond
	backoffCap  = 30 * time.Second
	stable      = 10 * time.Second // a connection that lived this long clears the failures before it
	flap        = time.Second      // a drain sooner than this after the welcome is no plan but a fault
)

// pacer decides when and where to connect.
type pacer struct {
	rand func(time.Duration) time.Duration // uniform in [0, d)

	mu       sync.Mutex
	home     []string // in order: as configured, or the nearest first
	round    []string // the relays of this round, best first
	at       int      // index of the present one
	window   time.Duration
	failures int // rounds in which no relay let us in, and losses soon after one did
}

func newPacer(home []string, random func(time.Duration) time.Duration) *pacer {
	return &pacer{rand: random, home: home, round: home}
}

func (p *pacer) target() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.round[p.at]
}

// others reports whether there is another relay to try.
func (p *pacer) others() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.round) > 1
}

// welcomed records that a relay accepted us, and its advice.
func (p *pacer) welcomed(base string, window time.Duration, alternatives []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.window = window
	p.begin(base, alternatives)
}

// prefer has those relays come before the others of home.
func (p *pacer) prefer(best []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.home = union(best, p.home)
	p.round = union(p.round[:1], p.home, p.round)
	p.at = 0
}

// begin makes a new round: first, then the told alternatives, then home.
func (p *pacer) begin(first string, told []string) {
	p.round, p.at = union([]string{first}, acceptable(first, told), p.home), 0
}

// next returns how long to wait before the next attempt. lived is how long the
// connection was live; 0 for an attempt that never was.
func (p *pacer) next(l loss, lived time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	live := lived > 0
	if lived >= stable {
		p.failures = 0
	}
	if l.drained && lived >= flap {
		here := p.round[p.at]
		if told := acceptable(here, l.moved); len(told) > 0 {
			p.begin(told[0], append(told, here))
		} else {
			p.at = (p.at + 1) % len(p.round)
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
	if live || p.at == 0 { // else there is one that this round has not asked
		p.failures++
	}
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
