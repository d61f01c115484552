package mesh

import (
	"strconv"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// farewell is how long the last packets may take to reach the server.
const farewell = time.Second

// send does what is in the outbox, in order, until stop; then what is left.
func (m *Mesh) send(stop <-chan struct{}) {
	var history, ephemeral [position.Shards]string
	for i := range history {
		history[i] = shardSubject(m.cfg.Region, classHistory, uint8(i))
		ephemeral[i] = shardSubject(m.cfg.Region, classEphemeral, uint8(i))
	}
	all := allSubject(m.cfg.Region)
	work := func(c *chunk) {
		for i := range c.recs {
			r := &c.recs[i]
			packet := c.buf[r.off:r.end]
			switch r.do {
			case sendHistory:
				m.publish(history[r.shard], packet)
			case sendEphemeral:
				m.publish(ephemeral[r.shard], packet)
			case sendAll, sendTo:
				// A fetch must arrive behind the subscription it is about.
				if err := m.interest.settle(); err != nil {
					m.cfg.Logger.Warn("mesh", "err", err)
				}
				if r.do == sendAll {
					m.publish(all, packet)
				} else {
					m.publish(toSubject(m.cfg.Region, r.to), packet)
				}
			default:
				m.subscribe(r)
			}
		}
	}
	empty := func() {
		for _, c := range m.out.take() {
			work(c)
			m.out.give(c)
		}
	}
	for {
		select {
		case <-m.out.wake:
			empty()
		case <-stop:
			empty()
			if err := m.pub.FlushTimeout(farewell); err != nil {
				m.cfg.Logger.Warn("mesh: last packets", "err", err)
			}
			return
		}
	}
}

// publish fails only while the connection inside the process is being made again.
func (m *Mesh) publish(subject string, packet []byte) {
	if err := m.pub.Publish(subject, packet); err != nil {
		m.out.dropped.Add(1)
		return
	}
	m.counts.sent.Add(1)
}

func (m *Mesh) subscribe(r *record) {
	var err error
	switch r.do {
	case attach:
		err = m.interest.attach(r.shard)
	case detach:
		m.interest.detach(r.shard, time.Now().Add(m.cfg.Linger))
	case hear:
		err = m.interest.hear(r.to)
	}
	if err != nil {
		m.cfg.Logger.Error("mesh: this node will miss messages", "err", err, "shard", strconv.Itoa(int(r.shard)))
	}
}
