package check

// Totals say how much there was to judge: a rule that had nothing to judge has
// shown nothing.
type Totals struct {
	Events, Publications, Clients, Deliveries int

	Owed      int // deliveries and histories that acknowledged messages had to be in
	Gaps      int // told
	Lost      int // deliveries that did not come, and were told
	Told      int // stamps that gaps told by number
	Counted   int // stamps that nodes counted so, in sessions that they saw end
	Copies    int // copies that came, and may
	Recovered int // subscriptions that were called recovered
	Refused   int // subscriptions that were refused
}

// Totals says how much there was to judge.
func (c *Checker) Totals() Totals {
	t := c.totals
	t.Clients = len(c.clients)
	return t
}
