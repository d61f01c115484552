package presence

// state of a member, as its node tells it; gone is what the others make of it.
type state uint8

const (
	here state = 1
	away state = 2 // its node is closing: expected elsewhere
	gone state = 3 // was away for too long; only in the tables of others
)

// states is what sums are made of.
var states = [...]string{here: "h", away: "a"}

type member struct {
	user  string
	state state
}

// spot is a member's place.
type spot struct{ channel, id string }

// buckets of a table, by hash of the spot: what differs is sent by bucket.
const buckets = 256

// table is what one node has, with a sum of each bucket.
type table struct {
	rooms map[string]map[string]member
	sums  [buckets]uint64
	n     int
}

func newTable() *table { return &table{rooms: make(map[string]map[string]member)} }

func (t *table) get(at spot) (member, bool) {
	m, ok := t.rooms[at.channel][at.id]
	return m, ok
}

// put sets a member, or with the zero member removes it. It reports whether
// anything changed.
func (t *table) put(at spot, m member) bool {
	room := t.rooms[at.channel]
	old, was := room[at.id]
	if old == m {
		return false
	}
	b := bucket(at)
	if was {
		t.sums[b] ^= sum(at, old)
		t.n--
	}
	if m == (member{}) {
		delete(room, at.id)
		if len(room) == 0 {
			delete(t.rooms, at.channel)
		}
		return true
	}
	if room == nil {
		room = make(map[string]member)
		t.rooms[at.channel] = room
	}
	room[at.id] = m
	t.sums[b] ^= sum(at, m)
	t.n++
	return true
}

// root is the sum over everything.
func (t *table) root() uint64 {
	var h uint64
	for i, s := range t.sums {
		h = mix(h ^ s + uint64(i))
	}
	return h
}

// all calls yield with every member.
func (t *table) all(yield func(spot, member) bool) {
	for channel, room := range t.rooms {
		for id, m := range room {
			if !yield(spot{channel, id}, m) {
				return
			}
		}
	}
}

func sum(at spot, m member) uint64 {
	if m.state == gone { // the owner still has it away
		m.state = away
	}
	return hash(at.channel, at.id, m.user, states[m.state])
}

func bucket(at spot) uint8 { return uint8(hash(at.channel, at.id)) }

// hash is the same on every node. It need not withstand an attacker: names of
// members are random, and chosen by nodes.
func hash(parts ...string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h *= 1099511628211 // a zero byte between
	}
	return mix(h)
}

// mix spreads bits (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
