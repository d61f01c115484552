package relay

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/httpapi"
	"github.com/chappe-relay/chappe/relay/session"
)

// Neighbour is another node that clients may go to, as it told of itself.
type Neighbour struct {
	Region    string
	URL       string        // where clients reach it; "": nowhere that is known
	Load      float64       // 0 to 1
	Clients   int           // that it has
	Admission int           // sessions that it lets in within a second; 0: none now
	RTT       time.Duration // from here
}

// around is what a node's clients are told of the others: where to go, and over
// which time to come there. It implements session.Elsewhere.
type around struct {
	region     string
	configured []string // win over what is heard
	now        atomic.Pointer[vicinity]
}

// vicinity is the others at a moment.
type vicinity struct {
	window    time.Duration
	near, far []Neighbour // that let clients in: of this region, and of others
}

const (
	// widest is the longest window: as long as one that is refused is told to wait.
	widest = 30 * time.Second
	// targets is how many a client is told of.
	targets = 8
	// crowded is the load from which a node is offered to nobody.
	crowded = 0.9
	// distance is added to round trips, so that of two that are near the nearer does
	// not get all.
	distance = 20 * time.Millisecond
)

func newAround(cfg *Config) *around {
	a := &around{region: cfg.Region, configured: cfg.Alternatives}
	a.now.Store(&vicinity{window: cfg.Limits.Reconnect})
	return a
}

// look takes in what the others told, and how many clients this node has.
func (a *around) look(others []Neighbour, clients int, l *session.Limits) {
	v := &vicinity{}
	region, near, far := clients, 0, 0
	for _, n := range others {
		if n.Region == a.region {
			region += n.Clients
		}
		switch {
		case n.Admission <= 0 || n.URL == "" || n.Load >= crowded:
		case n.Region == a.region:
			near += n.Admission
			v.near = append(v.near, n)
		default:
			far += n.Admission
			v.far = append(v.far, n)
		}
	}
	// If this node is lost its clients go to the others, or wait for it; if the
	// region is, all of the region's go to the other regions.
	node := near + far
	if node == 0 {
		node = l.Admission
	}
	v.window = max(l.Reconnect, over(clients, node))
	if far > 0 {
		v.window = max(v.window, over(region, far))
	}
	v.window = min(v.window, max(l.Reconnect, widest))
	for _, list := range [][]Neighbour{v.near, v.far} {
		slices.SortStableFunc(list, func(a, b Neighbour) int { return cmp.Compare(a.Load, b.Load) })
	}
	a.now.Store(v)
}

// over is how long it takes to let so many in.
func over(clients, perSecond int) time.Duration {
	if perSecond <= 0 {
		return 0
	}
	return time.Duration(float64(clients) / float64(perSecond) * float64(time.Second))
}

// Window is over which clients spread their return. See session.Elsewhere.
func (a *around) Window() time.Duration { return a.now.Load().window }

// Targets are where one client should go: first the nodes of this region, then
// those of others, each drawn the more often the more it lets in, the idler and the
// nearer it is, so that all together do not go to the best. See session.Elsewhere.
func (a *around) Targets() []string {
	if len(a.configured) > 0 {
		return a.configured
	}
	v := a.now.Load()
	out := make([]string, 0, min(targets, len(v.near)+len(v.far)))
	for _, list := range [][]Neighbour{v.near, v.far} {
		for _, n := range draw(list) {
			if len(out) < targets {
				out = append(out, n.URL)
			}
		}
	}
	return out
}

// draw shuffles by weight: who has twice the weight of another stands before it
// twice as often (Efraimidis and Spirakis, 2006).
func draw(list []Neighbour) []Neighbour {
	type drawn struct {
		Neighbour
		key float64
	}
	all := make([]drawn, len(list))
	for i, n := range list {
		weight := float64(n.Admission) * (1 - n.Load) / (n.RTT + distance).Seconds()
		all[i] = drawn{n, -math.Log(1-rand.Float64()) / weight}
	}
	slices.SortFunc(all, func(a, b drawn) int { return cmp.Compare(a.key, b.key) })
	out := make([]Neighbour, len(all))
	for i := range all {
		out[i] = all[i].Neighbour
	}
	return out
}

// others are where clients may go besides here, the best first.
func (a *around) others() (out []httpapi.Entrance) {
	v := a.now.Load()
	heard := append(v.near[:len(v.near):len(v.near)], v.far...)
	if len(a.configured) == 0 {
		for _, n := range heard {
			out = append(out, httpapi.Entrance{Region: n.Region, URL: n.URL, Load: &n.Load})
		}
		return out
	}
	for _, u := range a.configured {
		e := httpapi.Entrance{URL: u}
		if i := slices.IndexFunc(heard, func(n Neighbour) bool { return n.URL == u }); i >= 0 {
			e.Region, e.Load = heard[i].Region, &heard[i].Load
		}
		out = append(out, e)
	}
	return out
}
