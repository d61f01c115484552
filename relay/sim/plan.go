package sim

import (
	"math/rand/v2"
	"time"
)

// Plan is one run. Every choice is derived from Seed.
type Plan struct {
	Seed     uint64
	Relays   int
	Clients  int
	Messages int
	For      time.Duration // of publishing and faults; then all is healed
	Loss     float64       // share of bus packets lost while faults last
	Cuts     bool          // partitions between relays
	Slow     bool          // small logs and readers that dawdle
	Grace    time.Duration // after which a silent relay is given up
	Lull     time.Duration // after which its silence is told where there is no history; 0: that of the product
	Forsaken bool          // one relay dies and does not come back, long before it is given up
	Forged   bool          // cursors that name origins which never were
	Kills    bool          // relays die without a word and come back as new origins, with their stores
	Torn     bool          // and what was on its way to the disk is gone
	Fleeting bool          // channels without history: shards are followed when they are needed
	Brief    bool          // a window of seconds: logs and shards come and go
	Apart    bool          // clocks that differ by more than the window
	Again    bool          // some publishers do not hear the answer, and publish again elsewhere
	Tight    bool          // little memory: what is not in it is read back from the store
}

// kinds is how many mixtures of faults there are.
const kinds = 12

// PlanOf derives a plan from a seed: calm ones, lossy ones, partitioned ones,
// slow ones, and all at once.
func PlanOf(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := Plan{Seed: seed, Relays: 3, Clients: 6 + r.IntN(8), Messages: 200 + r.IntN(400), For: 10 * time.Second, Grace: 30 * time.Second}
	kind := seed % kinds
	faults := kind >= 5 && kind <= 7
	if kind == 1 || faults || kind == 10 {
		p.Loss = []float64{0.01, 0.05, 0.3}[r.IntN(3)]
	}
	if kind == 2 || faults || kind == 11 {
		p.Cuts = true
	}
	if p.Kills, p.Torn = kind >= 8, kind >= 9; p.Kills {
		p.Grace = 6 * time.Second
	}
	p.Again = seed%3 == 0
	if p.Fleeting = seed%5 < 2; p.Fleeting && p.Kills {
		p.Cuts = false
	}
	p.Brief = p.Fleeting && seed%7 < 3
	p.Apart = seed%7 > 4
	p.Tight = !p.Fleeting && seed%7 > 3
	p.Forged = seed%2 == 0
	if p.Forsaken = p.Fleeting && seed%3 == 1; p.Forsaken {
		p.Kills, p.Torn = false, false
		p.Grace, p.Lull = time.Hour, 2*time.Second
	}
	if kind == 3 || kind == 6 {
		p.Slow = true
	}
	if kind == 7 {
		p.Grace = 1500 * time.Millisecond // partitions outlast it: relays give each other up
	}
	return p
}

// Calm reports whether nothing in the plan can lose a message.
func (p Plan) Calm() bool {
	return p.Loss == 0 && !p.Cuts && !p.Slow && !p.Kills && !p.Brief && !p.Forsaken && !p.Tight
}

// Durable reports whether every message of the plan must arrive: relays die, but
// the network and the disks are whole. What is told as lost must come all the same.
func (p Plan) Durable() bool {
	return p.Kills && p.Loss == 0 && !p.Cuts && !p.Slow && !p.Torn && !p.Fleeting && !p.Apart && !p.Tight
}

// Window is the age up to which history goes.
func (p Plan) Window() time.Duration {
	switch {
	case p.Brief:
		return 3 * time.Second
	case p.Apart:
		return 2 * time.Minute
	}
	return time.Hour
}
