package presence

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Config of a Book.
type Config struct {
	Bus    Bus           // nil: there are no other nodes
	Window time.Duration // in which clients of this node come back
	Now    func() time.Time
	Epoch  uint64 // names this life of the node; 0: random
}

// Book is who is where. All methods may be called from many goroutines.
type Book struct {
	cfg  Config
	most int // maxMembers; a test has fewer

	mu     sync.Mutex
	own    *table
	seats  map[spot]*Seat
	due    []departure      // of own that are away, in order
	peers  map[uint64]*peer // by epoch
	users  map[uint64]int   // members that peers show, by channel and user
	lost   map[uint64][]string
	fresh  map[spot]*change // since the last turn
	unsent map[spot]struct{}
	sent   time.Time
	beat   time.Time
	counts Counts
}

// Seat is a member of this node: one or more sessions of one name in a channel.
type Seat struct {
	at   spot // guarded by Book.mu
	user string
	n    int // sessions
}

// change is a spot of which something may have to be told.
type change struct {
	was   state // when watchers were last told; 0: not there
	user  string
	next  state     // what would be told now
	until time.Time // it waits; zero: it does not
}

type departure struct {
	at  spot
	end time.Time
}

// New makes a book with nobody in it.
func New(c Config) *Book {
	if c.Now == nil {
		c.Now = time.Now
	}
	for c.Epoch == 0 {
		c.Epoch = rand.Uint64()
	}
	return &Book{cfg: c, most: maxMembers, own: newTable(), seats: make(map[spot]*Seat), peers: make(map[uint64]*peer), users: make(map[uint64]int),
		lost: make(map[uint64][]string), fresh: make(map[spot]*change), unsent: make(map[spot]struct{})}
}

// Expect says over which time clients of this node come back. Who was told of a
// longer one comes within that: it only grows.
func (b *Book) Expect(window time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cfg.Window = max(b.cfg.Window, window)
}

// Enter lists a member in a channel. m.Session is its name, m.User its user, ""
// for nobody's. It returns nil when most members of this node are listed already.
func (b *Book) Enter(channel string, m wire.Member, most int) *Seat {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := spot{channel, m.Session}
	if _, ok := b.findLocked(at); !ok {
		if id := b.claimLocked(channel, m.User); id != "" {
			at.id = id
		}
	}
	s := b.seats[at]
	if s == nil {
		if len(b.own.rooms[channel]) >= most || b.own.n >= b.most {
			return nil
		}
		s = &Seat{at: at, user: m.User}
		b.seats[at] = s
	}
	s.n++
	b.setLocked(at, member{s.user, here})
	return s
}

// Leave ends one session of a seat. back says that its client was sent to another
// node: it is away until it comes, or does not.
func (b *Book) Leave(s *Seat, back bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.n--; s.n > 0 {
		return
	}
	delete(b.seats, s.at)
	if !back || b.cfg.Bus == nil {
		b.setLocked(s.at, member{})
		return
	}
	b.setLocked(s.at, member{s.user, away})
	b.due = append(b.due, departure{s.at, b.cfg.Now().Add(b.cfg.Window + Grace)})
}

// setLocked changes a member of this node.
func (b *Book) setLocked(at spot, m member) {
	b.touchLocked(at)
	if b.own.put(at, m) && b.cfg.Bus != nil {
		b.unsent[at] = struct{}{}
	}
}

// touchLocked remembers what is about to change.
func (b *Book) touchLocked(at spot) {
	if b.fresh[at] == nil {
		m, _ := b.findLocked(at)
		b.fresh[at] = &change{was: m.state, user: m.user}
	}
}

// touchAllLocked does so for all that a node has.
func (b *Book) touchAllLocked(p *peer) {
	for at := range p.all {
		b.touchLocked(at)
	}
}

// findLocked returns the member of a spot: here if any node has it here. ok is
// false for who is not shown.
func (b *Book) findLocked(at spot) (m member, ok bool) {
	if m, ok = b.own.get(at); ok && m.state == here {
		return m, true
	}
	for _, p := range b.peers {
		if p.hidden {
			continue
		}
		if one, there := p.get(at); there && one.state != gone {
			if m, ok = one, true; p.up && one.state == here {
				return m, true
			}
			m.state = away
		}
	}
	return m, ok
}

// claimLocked finds the name of a member of a user that is away, "" for none.
func (b *Book) claimLocked(channel, user string) string {
	if user == "" || len(b.lost) == 0 {
		return ""
	}
	key := hash(channel, user)
	for len(b.lost[key]) > 0 {
		id := b.lost[key][0]
		b.lost[key] = b.lost[key][1:]
		if m, ok := b.findLocked(spot{channel, id}); ok && m.state == away && m.user == user {
			return id
		}
	}
	delete(b.lost, key)
	return ""
}

// List returns who is in a channel, in no order.
func (b *Book) List(channel string) []wire.Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]member)
	for id, m := range b.own.rooms[channel] {
		all[id] = m
	}
	for _, p := range b.peers {
		if p.hidden {
			continue
		}
		for id, m := range p.rooms[channel] {
			if m.state == gone || all[id].state == here {
				continue
			}
			if !p.up {
				m.state = away
			}
			all[id] = m
		}
	}
	out := make([]wire.Member, 0, len(all))
	for id, m := range all {
		one := wire.Member{Session: id, User: m.user}
		if m.state == away {
			one.State = wire.MemberAway
		}
		out = append(out, one)
	}
	return out
}

// Change is what watchers of a channel are told.
type Change struct {
	Channel    string
	Came, Went []wire.Member
	Away, Back []wire.Member // of those who are members all the while
}

func (c *Change) count() int { return len(c.Came) + len(c.Went) + len(c.Away) + len(c.Back) }

// Turn returns what has changed since the last turn: who came and went within it
// is not mentioned. Of much, a part: the rest has its turn, or is over by then. It
// also does what depends on time.
func (b *Book) Turn() []Change {
	now := b.cfg.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ageLocked(now)
	told := make(map[string]*Change)
	total := 0
	for at, c := range b.fresh {
		m, _ := b.findLocked(at)
		if m.state == c.was {
			delete(b.fresh, at)
			continue
		}
		if m.state != c.next {
			c.next, c.until = m.state, time.Time{}
		}
		r := told[at.channel]
		if r == nil {
			r = &Change{Channel: at.channel}
			told[at.channel] = r
		}
		if b.waitsLocked(at, c, &m, now) || r.count() >= pace {
			continue
		}
		r.add(at, c, m)
		delete(b.fresh, at)
		if total++; total >= paceAll {
			break
		}
	}
	out := make([]Change, 0, len(told))
	for _, c := range told {
		if c.count() > 0 {
			out = append(out, *c)
		}
	}
	return out
}

func (r *Change) add(at spot, c *change, m member) {
	one := wire.Member{Session: at.id, User: m.user}
	if m.state == away {
		one.State = wire.MemberAway
	}
	switch {
	case m.state == 0:
		one.User = c.user
		r.Went = append(r.Went, one)
	case c.was == 0:
		r.Came = append(r.Came, one)
	case m.state == away:
		r.Away = append(r.Away, one)
	default:
		r.Back = append(r.Back, one)
	}
}

// waitsLocked reports whether a change is to wait, from when it was first looked at:
// much of what happens is a client that moves.
func (b *Book) waitsLocked(at spot, c *change, m *member, now time.Time) bool {
	var wait time.Duration
	switch {
	case b.cfg.Bus == nil:
	case m.state == 0:
		wait = moving
	case m.state == away:
		wait = wavering
	case c.was == 0 && b.elsewhereLocked(at, m.user):
		wait = settle
	}
	if wait == 0 {
		return false
	}
	if c.until.IsZero() {
		c.until = now.Add(wait)
	}
	return now.Before(c.until)
}

// elsewhereLocked reports whether a user that came has another member in the
// channel, of another node than this.
func (b *Book) elsewhereLocked(at spot, user string) bool {
	if user == "" || len(b.users) == 0 {
		return false
	}
	n := b.users[hash(at.channel, user)]
	for _, p := range b.peers {
		if _, ok := p.get(at); ok && !p.hidden {
			n--
		}
	}
	return n > 0
}

// ageLocked removes who was away for too long, and finds nodes that are silent.
func (b *Book) ageLocked(now time.Time) {
	for len(b.due) > 0 && !now.Before(b.due[0].end) {
		at := b.due[0].at
		b.due = b.due[1:]
		if m, _ := b.own.get(at); m.state == away {
			b.setLocked(at, member{})
		}
	}
	for _, p := range b.peers {
		b.agePeerLocked(p, now)
	}
	b.forgetLocked(now)
}

// renameLocked gives the members that came with no ticket, and were not told yet,
// the names of those of their users that are away.
func (b *Book) renameLocked() {
	for at, c := range b.fresh {
		s := b.seats[at]
		if s == nil || c.was != 0 || s.user == "" {
			continue
		}
		id := b.claimLocked(at.channel, s.user)
		if id == "" || b.seats[spot{at.channel, id}] != nil {
			continue
		}
		b.setLocked(at, member{})
		delete(b.seats, at)
		s.at.id = id
		b.seats[s.at] = s
		b.setLocked(s.at, member{s.user, here})
	}
}

// Counts is what a book holds.
type Counts struct {
	Members int    // of this node
	Others  int    // of other nodes, as they are shown
	Nodes   int    // that are heard
	Asked   uint64 // questions to nodes whose sum differed
	Sent    uint64 // members sent in answer to such
	Dropped uint64 // notes that the bus did not take
	Refused uint64 // members of other nodes that were more than one node has
}

// Counts returns them.
func (b *Book) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counts
	c.Members = b.own.n
	for _, p := range b.peers {
		if !p.hidden {
			c.Others += p.n
		}
		if p.up {
			c.Nodes++
		}
	}
	return c
}

// origin is where a peer is reached.
type origin = position.Origin
