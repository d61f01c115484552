package mesh

import "time"

// clock estimates how far another node's clock is from ours. Of the last few
// round trips the shortest is believed: it waited least in queues.
type clock struct {
	samples [16]trip
	n       int
}

type trip struct{ rtt, offset time.Duration }

// sample takes in that our time e.Sent came back e.Held later with the other's
// time there, and arrived now. Times are microseconds.
func (c *clock) sample(e echo, there, now int64) (rtt, offset time.Duration) {
	t := trip{rtt: time.Duration(now-e.Sent-e.Held) * time.Microsecond}
	if t.rtt >= 0 { // else a clock was set meanwhile
		t.offset = time.Duration(there-now)*time.Microsecond + t.rtt/2
		c.samples[c.n%len(c.samples)] = t
		c.n++
	}
	if c.n == 0 {
		return 0, 0
	}
	best := c.samples[0]
	for _, s := range c.samples[1:min(c.n, len(c.samples))] {
		if s.rtt < best.rtt {
			best = s
		}
	}
	return max(best.rtt, time.Microsecond), best.offset
}
