package load

// Tally checks the sequence numbers that one subscriber of one channel receives.
type Tally struct {
	Next     uint32 // the sequence number expected; 0 until told or the first message
	Got      uint64 // messages, without repeats
	Lost     uint64 // sequence numbers jumped over
	Repeated uint64 // messages with a sequence number below Next
	Gaps     uint64 // gap frames
	Told     uint64 // messages that gap frames said were lost
	Foreign  uint64 // messages whose payload is not one of ours
}

func (t *Tally) message(seq uint32) {
	switch {
	case seq == t.Next:
	case t.Next == 0:
	case seq < t.Next:
		t.Repeated++
		return
	default:
		t.Lost += uint64(seq - t.Next)
	}
	t.Next = seq + 1
	t.Got++
}

// Add sums the counts of u into t.
func (t *Tally) Add(u *Tally) {
	t.Got += u.Got
	t.Lost += u.Lost
	t.Repeated += u.Repeated
	t.Gaps += u.Gaps
	t.Told += u.Told
	t.Foreign += u.Foreign
}

// Missing returns how many of the messages up to and including last did not
// come: jumped over, or not arrived at the end.
func (t *Tally) Missing(last uint32) uint64 {
	if t.Next <= last {
		return t.Lost + uint64(last-t.Next) + 1
	}
	return t.Lost
}
