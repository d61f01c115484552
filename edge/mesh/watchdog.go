package mesh

import (
	"context"
	"time"
)

// watched is what the watchdog knows of the links to one region.
type watched struct {
	down      time.Time // since when there is none; zero: there is one
	acted     time.Time // when they were last made again
	pause     time.Duration
	recreated int
	shut      bool // taken down by us, and not yet up again
}

const (
	// watchEvery is how often links are looked at.
	watchEvery = time.Second
	// downTolerated is how long a region may be without a link before we no longer
	// trust the server's own attempts (nats-server #7615: one stopped for hours).
	downTolerated = 15 * time.Second
	// silenceTolerated is how long a link may stand and bring no announcement.
	silenceTolerated = 5 * time.Second
	maxPause         = 5 * time.Minute
)

// watchdog looks after links and subscriptions until ctx ends.
func (m *Mesh) watchdog(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			m.interest.sweep(now)
			m.look(now)
			m.report(now)
		}
	}
}

// look makes links again that stay down, or stay silent although they stand.
// Only the side that solicits can; the other's links are closed if silent.
func (m *Mesh) look(now time.Time) {
	standing := make(map[string]bool)
	for _, l := range m.leafs() {
		standing[l.Region] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reopenLocked()
	for _, p := range m.latest.Peers {
		w := m.watch[p.Region]
		if w == nil {
			w = &watched{down: now}
			m.watch[p.Region] = w
		}
		if !standing[p.Region] {
			if w.down.IsZero() {
				w.down = now
			}
			if m.latest.solicits(p) && now.Sub(w.down) > downTolerated {
				m.recreateLocked(p.Region, w, now, "down")
			}
			continue
		}
		if !w.down.IsZero() {
			w.down, w.acted = time.Time{}, now // give it time to say something
			continue
		}
		if heard := m.members.lastHeard(p.Region); now.Sub(heard) > silenceTolerated && now.Sub(w.acted) > silenceTolerated {
			m.recreateLocked(p.Region, w, now, "silent")
			continue
		}
		if now.Sub(w.acted) > maxPause {
			w.pause = 0
		}
	}
}

// recreateLocked takes the links to one region down and up again. Those to
// others are not touched.
func (m *Mesh) recreateLocked(region string, w *watched, now time.Time, why string) {
	if now.Sub(w.acted) < w.pause {
		return
	}
	w.acted, w.pause = now, min(maxPause, max(2*w.pause, downTolerated))
	w.recreated++
	m.counts.recreated.Add(1)
	m.cfg.Logger.Warn("mesh: links are made again", "region", region, "why", why)
	if p, ok := m.latest.peer(region); !ok || !m.latest.solicits(p) {
		m.cutLocked(region)
		return
	}
	if err := m.applyLocked(&m.latest, map[string]bool{region: true}); err != nil {
		m.cfg.Logger.Error("mesh: links could not be taken down", "region", region, "err", err)
		return
	}
	w.shut = true
	m.reopenLocked()
}

// reopenLocked takes up what was taken down. The server refuses while an attempt
// to connect is under way: then it is done the next time.
func (m *Mesh) reopenLocked() {
	var shut []*watched
	for _, w := range m.watch {
		if w.shut {
			shut = append(shut, w)
		}
	}
	if len(shut) == 0 {
		return
	}
	if err := m.applyLocked(&m.latest, nil); err != nil {
		m.cfg.Logger.Warn("mesh: links are not up yet", "err", err)
		return
	}
	for _, w := range shut {
		w.shut = false
	}
}

// cutLocked closes the links that a region made to us; it makes them again.
func (m *Mesh) cutLocked(region string) {
	z, err := m.server.Leafz(nil)
	if err != nil {
		return
	}
	for _, l := range z.Leafs {
		if r, _, ok := splitName(l.Name); ok && r == region {
			// It fails only if the link is gone already.
			_ = m.server.DisconnectClientByID(l.ID)
		}
	}
}
