package position

import "slices"

// Recent is a publication with an id that a reader has just had. The node that
// stamped it may die before any other has heard of it, and its publisher publish
// it again elsewhere, under another stamp: by its bases and leads the reader has
// not had that one.
type Recent struct {
	Publication uint64 // 48 bits that stand for the id and whose it is
	Tick        uint64 // when the reader had it
}

// MaxRecent is how many a cursor carries, and recentAge for how long, in
// microseconds: between nodes a message takes milliseconds. A reader that comes back
// may be given its copy some time later, behind much else: what it had just before it
// went is remembered for returnAge.
const (
	MaxRecent = 16
	recentAge = 1_000_000
	returnAge = 10_000_000
)

// Publication makes the 48 bits of an id: the same on every node.
func Publication(scope, channel, id string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a, with lengths between
	for _, s := range [...]string{scope, channel, id} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ uint64(len(s))) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return (h ^ h>>32) & (1<<48 - 1)
}

// Had notes a publication at a tick.
func (p *Position) Had(publication, tick uint64) {
	p.Fade(tick)
	if len(p.recent) == 2*MaxRecent {
		oldest := 0
		for i, r := range p.recent {
			if r.Tick < p.recent[oldest].Tick {
				oldest = i
			}
		}
		p.recent = slices.Delete(p.recent, oldest, oldest+1)
	}
	p.recent = append(p.recent, Recent{publication, tick})
}

// Return begins the time at a tick in which a reader that comes back may be given
// copies of what it had before.
func (p *Position) Return(tick uint64) {
	for i := range p.recent {
		p.recent[i].Tick = tick + returnAge - recentAge
	}
}

// Fade forgets what is too old at a tick to be recent.
func (p *Position) Fade(tick uint64) {
	if len(p.recent) == 0 {
		return
	}
	p.recent = slices.DeleteFunc(p.recent, func(r Recent) bool { return r.Tick+recentAge < tick })
	if len(p.recent) == 0 {
		p.recent = nil
	}
}

// Knows reports whether a publication is among the recent ones.
func (p *Position) Knows(publication uint64) bool {
	return slices.ContainsFunc(p.recent, func(r Recent) bool { return r.Publication == publication })
}
