package presence

import (
	"slices"
	"time"
)

// peer is another node, in one of its lives. Guarded by Book.mu.
type peer struct {
	*table
	epoch    uint64
	region   string
	node     origin
	up       bool          // heard from, and not leaving
	left     bool          // it said that it leaves
	hears    []uint64      // the epochs of the nodes that it hears
	hidden   bool          // it was not for so long that its members have left
	heard    time.Time     // when
	since    time.Time     // when it was found not to be up
	window   time.Duration // in which its clients come back
	due      []departure   // of its members that it says are away
	asked    time.Time
	answered time.Time
}

// meetLocked returns the peer of an epoch, which it may make; nil refuses.
func (b *Book) meetLocked(epoch uint64, region string, node origin, now time.Time) *peer {
	if epoch == b.cfg.Epoch || epoch == 0 {
		return nil
	}
	p := b.peers[epoch]
	if p == nil {
		if len(b.peers) >= maxPeers {
			return nil
		}
		p = &peer{table: newTable(), epoch: epoch, region: region, since: now, window: b.cfg.Window}
		b.peers[epoch] = p
		b.beat = time.Time{} // it hears of us soon
	}
	if p.region != region {
		return nil
	}
	p.node = node
	return p
}

// beatLocked takes in a sign of life.
func (b *Book) beatLocked(p *peer, now time.Time, window time.Duration) {
	p.heard, p.window, p.left = now, window, false
	if p.up {
		return
	}
	if p.hidden {
		b.showLocked(p)
	} else {
		b.touchAllLocked(p)
	}
	p.up = true
}

// downLocked marks a node's members away.
func (b *Book) downLocked(p *peer, now time.Time) {
	if !p.up {
		return
	}
	b.touchAllLocked(p)
	p.up, p.since = false, now
	for at, m := range p.all {
		if m.user != "" && m.state != gone {
			key := hash(at.channel, m.user)
			b.lost[key] = append(b.lost[key], at.id)
		}
	}
	b.renameLocked()
}

func (b *Book) agePeerLocked(p *peer, now time.Time) {
	if p.up && now.Sub(p.heard) >= Silence {
		b.downLocked(p, now)
	}
	if silent := now.Sub(p.since); !p.up && !p.hidden && silent >= p.window+Grace && (silent >= ghost || !b.livesLocked(p)) {
		b.hideLocked(p)
	}
	for len(p.due) > 0 && !now.Before(p.due[0].end) {
		at := p.due[0].at
		p.due = p.due[1:]
		if m, _ := p.get(at); m.state == away {
			b.peerSetLocked(p, at, member{m.user, gone})
		}
	}
}

// livesLocked reports whether a node that we do not hear is known to live: another
// hears it, or we hear nobody and so are cut off ourselves.
func (b *Book) livesLocked(p *peer) bool {
	if p.left {
		return false
	}
	anybody := false
	var silent []string // regions
	for _, q := range b.peers {
		switch {
		case q.up && slices.Contains(q.hears, p.epoch):
			return true
		case q.up:
			anybody = true
		case !q.left && !q.hidden && !slices.Contains(silent, q.region):
			silent = append(silent, q.region)
		}
	}
	return !anybody && len(silent) > 1
}

// hideLocked removes what a silent node has from view.
func (b *Book) hideLocked(p *peer) {
	for at, m := range p.all {
		b.touchLocked(at)
		b.countLocked(at, m, -1)
	}
	p.hidden = true
}

func (b *Book) showLocked(p *peer) {
	for at, m := range p.all {
		b.touchLocked(at)
		b.countLocked(at, m, 1)
	}
	p.hidden = false
}

// forgetLocked drops the tables of nodes that have not been heard for long.
func (b *Book) forgetLocked(now time.Time) {
	ghosts, down := 0, 0
	var oldest *peer
	for epoch, p := range b.peers {
		if !p.hidden {
			if !p.up || len(p.due) > 0 {
				down++
			}
			continue
		}
		if p.n == 0 || now.Sub(p.since) >= ghost {
			delete(b.peers, epoch)
			continue
		}
		if ghosts++; oldest == nil || p.since.Before(oldest.since) {
			oldest = p
		}
	}
	if ghosts > maxGhosts {
		delete(b.peers, oldest.epoch)
	}
	if down == 0 && len(b.lost) > 0 {
		clear(b.lost)
	}
}

// peerSetLocked changes a member of another node.
func (b *Book) peerSetLocked(p *peer, at spot, m member) {
	old, was := p.get(at)
	switch {
	case old == m:
		return
	case m.state == away && old.state == gone && m.user == old.user:
		return // told again
	case !was && p.n >= b.most:
		b.counts.Refused++
		return
	}
	if !p.hidden {
		b.touchLocked(at)
		b.countLocked(at, old, -1)
		b.countLocked(at, m, 1)
	}
	p.put(at, m)
	if m.state == away {
		p.due = append(p.due, departure{at, b.cfg.Now().Add(p.window + Grace)})
		if m.user != "" {
			key := hash(at.channel, m.user)
			b.lost[key] = append(b.lost[key], at.id)
		}
	}
}

// countLocked keeps how many members of a user are shown for other nodes.
func (b *Book) countLocked(at spot, m member, n int) {
	if m.user == "" || m.state == gone {
		return
	}
	key := hash(at.channel, m.user)
	if b.users[key] += n; b.users[key] <= 0 {
		delete(b.users, key)
	}
}
