package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

var errOld = errors.New("not newer than what is here")

// peer is another node. Guarded by Store.mu.
type peer struct {
	origin position.Origin
	heard  time.Time
	began  time.Time // when we last sent it our sums, or our sum
}

// note is what travels, as JSON.
type note struct {
	Root    string            `json:"root,omitempty"`    // sum over all records: do ours differ?
	Sums    []string          `json:"sums,omitempty"`    // of all buckets: which differ?
	Heads   map[string][]head `json:"heads,omitempty"`   // all records of some buckets: which do you lack, or have newer?
	Want    []string          `json:"want,omitempty"`    // names of records: send them
	Records []*Record         `json:"records,omitempty"` // they are
}

// head is a record without its value. Numbers of 64 bits are strings: JSON's are not.
type head struct {
	Name    string `json:"n"`
	Sum     string `json:"s"`
	Version uint64 `json:"v"`
	Writer  string `json:"w"`
}

func hex(n uint64) string { return strconv.FormatUint(n, 16) }

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 16, 64) // what is none is the number of nothing
	return n
}

// Tick tells the other nodes our sum, now and then, and keeps what they told. The
// owner calls it ten times a second or more, from one goroutine.
func (s *Store) Tick() {
	now := s.cfg.Now()
	s.mu.Lock()
	s.lapseLocked(now)
	if s.cfg.Bus != nil && now.Sub(s.rooted) >= rootEvery {
		s.rooted = now
		s.sendLocked(0, &note{Root: hex(s.rootLocked())})
	}
	s.mu.Unlock()
	s.save(now)
}

func (s *Store) rootLocked() (h uint64) {
	for i, sum := range s.sums {
		h = mix(h ^ sum + uint64(i))
	}
	return h
}

// sendLocked sends a note to a node, or to all.
func (s *Store) sendLocked(to position.Origin, n *note) {
	if s.cfg.Bus == nil {
		return
	}
	body, err := json.Marshal(n)
	if err != nil {
		return // strings and numbers of ours
	}
	ok := false
	if to == 0 {
		ok = s.cfg.Bus.Note(body)
	} else {
		ok = s.cfg.Bus.NoteTo(to, body)
	}
	if !ok {
		s.counts.Dropped++
	}
}

// tellLocked sends records, in notes of a bounded size. to nil: to all nodes; else
// as many as one answer has room for, and the next round brings the rest.
func (s *Store) tellLocked(all []*Record, to *peer) {
	var node position.Origin
	if to != nil {
		node = to.origin
	}
	for total := 0; len(all) > 0 && (to == nil || total < maxGiven); {
		n, size := 0, 0
		for n < len(all) && (n == 0 || size < maxNote) {
			size += len(all[n].Value) + len(all[n].Key) + 100
			n++
		}
		s.sendLocked(node, &note{Records: all[:n]})
		if to != nil {
			s.counts.Sent += uint64(n)
		}
		all, total = all[n:], total+size
	}
}

// Receive takes in what the store of another node sent: that of a region, by its
// name there, which is reached by an origin. The error is for a note that cannot
// be read.
func (s *Store) Receive(region, name string, origin position.Origin, body []byte) error {
	var n note
	if err := json.Unmarshal(body, &n); err != nil {
		return fmt.Errorf("control: note: %w", err)
	}
	now := s.cfg.Now()
	s.mu.Lock()
	p := s.peers[region+"."+name]
	if p == nil {
		p = &peer{}
		s.peers[region+"."+name] = p
	}
	if p.origin != origin || now.Sub(p.heard) >= cutAfter {
		s.rooted = time.Time{} // it need not wait to hear of us
	}
	p.origin, p.heard = origin, now
	if s.cfg.Matters(region) {
		s.cut.touch(now)
	}
	var taken []Record
	switch {
	case n.Root != "":
		s.comparedLocked(p, region+"."+name, number(n.Root), now)
	case n.Sums != nil:
		s.headsLocked(p, n.Sums)
	case n.Heads != nil:
		s.missingLocked(p, n.Heads)
	case n.Want != nil:
		var all []*Record
		asked := make(map[uint64]bool)
		for _, text := range n.Want[:min(len(n.Want), maxKind)] {
			name := number(text)
			if r := s.records[name]; r != nil && !asked[name] {
				all = append(all, r)
			}
			asked[name] = true
		}
		s.tellLocked(all, p)
	case n.Records != nil:
		taken = s.takeLocked(n.Records, region, now)
	}
	s.mu.Unlock()
	if len(taken) > 0 && s.cfg.Changed != nil {
		s.cfg.Changed(taken)
	}
	return nil
}

// comparedLocked begins an exchange with a node whose sum differs: of two nodes,
// the one with the smaller name does.
func (s *Store) comparedLocked(p *peer, name string, root uint64, now time.Time) {
	own := s.rootLocked()
	if own == root {
		s.damaged = nil
		return
	}
	if now.Sub(p.began) < answerEvery {
		return
	}
	p.began = now
	if name < s.cfg.Writer {
		s.sendLocked(p.origin, &note{Root: hex(own)})
		return
	}
	s.counts.Rounds++
	n := &note{}
	for _, sum := range s.sums {
		n.Sums = append(n.Sums, hex(sum))
	}
	s.sendLocked(p.origin, n)
}

// headsLocked answers with the heads of the buckets that differ.
func (s *Store) headsLocked(p *peer, sums []string) {
	if len(sums) != buckets {
		return
	}
	all := make(map[string][]head)
	for i := range sums {
		if number(sums[i]) != s.sums[i] {
			all[strconv.Itoa(i)] = []head{}
		}
	}
	for name, r := range s.records {
		if i := strconv.Itoa(int(name % buckets)); all[i] != nil {
			all[i] = append(all[i], head{hex(name), hex(r.sum()), r.Version, r.Writer})
		}
	}
	n, size, notes := &note{Heads: make(map[string][]head)}, 0, 0
	for i, heads := range all {
		n.Heads[i] = heads
		if size += len(heads)*80 + 10; size >= maxNote {
			s.sendLocked(p.origin, n)
			n, size = &note{Heads: make(map[string][]head)}, 0
			if notes++; notes == maxNotes {
				return // the next round brings the rest
			}
		}
	}
	if len(n.Heads) > 0 {
		s.sendLocked(p.origin, n)
	}
}

// missingLocked compares heads with what is here: it sends what the other lacks,
// and asks for what we do.
func (s *Store) missingLocked(p *peer, theirs map[string][]head) {
	listed := make(map[uint64]bool)
	var want []string
	var give []*Record
	for _, heads := range theirs {
		for _, h := range heads {
			name := number(h.Name)
			if listed[name] {
				continue
			}
			listed[name] = true
			r := s.records[name]
			switch {
			case r != nil && hex(r.sum()) == h.Sum:
			case r == nil, h.Version > r.Version, h.Version == r.Version && h.Writer >= r.Writer:
				if _, refused := s.refused[name]; !refused {
					want = append(want, h.Name)
				}
				if r != nil && h.Version == r.Version && h.Writer == r.Writer {
					give = append(give, r) // which of the two stands, their values say
				}
			default:
				give = append(give, r)
			}
		}
	}
	for name, r := range s.records {
		if _, asked := theirs[strconv.Itoa(int(name%buckets))]; asked && !listed[name] {
			give = append(give, r)
		}
	}
	s.tellLocked(give, p)
	for some := range slices.Chunk(want, maxNote/20) {
		s.sendLocked(p.origin, &note{Want: some})
	}
}

// takeLocked merges records, and returns those that stand.
func (s *Store) takeLocked(all []*Record, region string, now time.Time) (taken []Record) {
	for _, r := range all {
		if r == nil || !r.valid() || r.Version > uint64(now.Add(maxCount).UnixMilli()) {
			s.counts.Refused++
			continue
		}
		if r.lapsed(now) {
			continue
		}
		if r.Stamp > now.Add(maxAhead).UnixMilli() {
			s.aheadLocked(r, region, now)
			continue
		}
		switch s.mergeLocked(r) {
		case nil:
			s.counts.Received++
			s.dirty[r.Kind] = true
			taken = append(taken, *r)
		case ErrFull:
			s.counts.Refused++
			s.refuseLocked(r, now.Add(10*time.Minute).UnixMilli())
			s.cfg.Logger.Error("control: no room for a record of another node", "code", CodeFull, "kind", r.Kind, "key", r.Key, "writer", r.Writer)
		}
	}
	return taken
}

// aheadLocked refuses a record from the future: with it, a clock that runs ahead
// would decide for as long as it does. It is taken when its time has come.
func (s *Store) aheadLocked(r *Record, region string, now time.Time) {
	s.counts.Clock++
	if _, known := s.refused[r.name()]; !known {
		s.cfg.Logger.Error("control: a record from the future is refused; do the clocks agree?", "code", CodeClock,
			"kind", r.Kind, "key", r.Key, "writer", r.Writer, "from", region, "ahead", time.UnixMilli(r.Stamp).Sub(now).Round(time.Second))
	}
	s.refuseLocked(r, r.Stamp)
}

// refuseLocked lets nobody ask for a record before a time.
func (s *Store) refuseLocked(r *Record, until int64) {
	if len(s.refused) < maxKind {
		s.refused[r.name()] = until
	}
}
