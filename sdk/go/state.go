package chappe

import "time"

// Phase is where a client stands. CLIENTS §1 draws how one follows another.
type Phase string

// Phases.
const (
	Idle       Phase = "idle"       // nothing to do: no connection is wanted
	Connecting Phase = "connecting" // on the way, until the welcome
	Live       Phase = "live"
	Waiting    Phase = "waiting" // the connection was lost or refused; State says why and until when
	Closed     Phase = "closed"  // for good
)

// State is a client's phase with what belongs to it.
type State struct {
	Phase     Phase
	URL       string    // Connecting, Live: of which relay
	Region    string    // Live: as the relay calls it
	Session   string    // Live: for support and logs
	Transport string    // Live: "wt", "ws", "sse" or "poll"
	Err       error     // Waiting, Closed: why
	Until     time.Time // Waiting: the next attempt
}

// State returns the present state.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// setState tells a change. Only the run goroutine and, when that has ended,
// Close call it: changes are told in order.
func (c *Client) setState(s State) {
	c.mu.Lock()
	still := c.state.Phase == s.Phase && (s.Phase == Idle || s.Phase == Closed)
	c.state = s
	c.mu.Unlock()
	if still {
		return
	}
	c.log.Debug("chappe: state", "phase", s.Phase, "url", s.URL, "session", s.Session, "err", s.Err)
	if c.o.OnState != nil {
		c.o.OnState(s)
	}
}
