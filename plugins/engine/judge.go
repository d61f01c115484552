package engine

import (
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// maxBeside bounds what waits to be told or judged: beyond, what is only told is
// dropped and counted.
const maxBeside = 4096

// Judge runs ask soon. See plugins.Guest.
func (v *Version) Judge(ask func(policy.Judge)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asks = append(v.asks, ask)
	v.workLocked()
}

// beside runs what nobody waits for.
func (v *Version) beside(do func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.asks) >= maxBeside || v.dead.Load() {
		v.shed.Add(1)
		return
	}
	v.asks = append(v.asks, func(policy.Judge) { do() })
	v.workLocked()
}

func (v *Version) workLocked() {
	if !v.judging {
		v.judging = true
		v.making.Add(1)
		go v.work()
	}
}

// work runs what was asked, in order, and ends when there is nothing more.
func (v *Version) work() {
	defer v.making.Done()
	for {
		v.mu.Lock()
		if len(v.asks) == 0 {
			v.asks, v.judging = nil, false
			v.mu.Unlock()
			return
		}
		ask := v.asks[0]
		v.asks = v.asks[1:]
		v.mu.Unlock()
		ask(v)
	}
}

// Deliver says who gets the messages of a run. See policy.Judge.
func (v *Version) Deliver(readers []*policy.Tags, run []policy.Question) {
	if len(run) == 0 || !v.has(abi.Deliver) {
		return
	}
	room := 0
	for i := range run {
		m := run[i].Msg
		room = max(room, len(m.Channel)+len(m.ID)+len(m.Key)+len(m.Event)+len(m.From)+len(m.Data))
	}
	l := v.lane(run[0].Msg.Channel)
	for first := 0; first < len(readers); {
		l.mu.Lock()
		n := v.deliver(l, readers[first:], first, run, room)
		l.mu.Unlock()
		first += n
	}
}

// deliver asks about the first of the readers, and returns how many those are.
// The lane is locked.
func (v *Version) deliver(l *lane, readers []*policy.Tags, first int, run []policy.Question, room int) int {
	n := min(len(readers), abi.MaxReaders)
	var of *instance // whose in-buffer holds the records
	for q := range run {
		kind, probe := v.enter()
		if kind == "" && l.in == nil {
			kind = kindBusy
			v.missed(probe)
			v.leave()
		}
		if kind != "" {
			l.stats.failed(abi.Deliver, kind)
			v.undecided(run[q].To, first, n)
			continue
		}
		in := l.in
		if of != in {
			k := seat(in, readers[:n], room)
			if k == 0 { // the message leaves no room for a record
				l.stats.failed(abi.Deliver, kindTooBig)
				v.undecided(run[q].To, first, n)
				v.leave()
				continue
			}
			n, of = k, in // the first time: the rest of the readers comes in another round
		}
		m := run[q].Msg
		in.now = run[q].Tick / 1000
		e := &l.event
		*e = abi.Event{Tick: run[q].Tick, Now: in.now, Channel: m.Channel, Name: m.Event, Key: m.Key, ID: m.ID, User: m.From, Payload: m.Data}
		began := l.stats.begin()
		size, err := in.readers.Encode(e)
		if err == nil {
			err = in.call(abi.Deliver, size, n)
		}
		v.called(l, abi.Deliver, err, probe, began)
		v.leave()
		switch {
		case err != nil:
			v.undecided(run[q].To, first, n)
		case in.result.Verdict == abi.Allow:
			abi.All(run[q].To, first, n)
		case in.result.Verdict == abi.Bitmap:
			abi.Spread(run[q].To, first, in.result.Bitmap, n)
		default:
			abi.Spread(run[q].To, first, nil, n)
		}
	}
	l.event = abi.Event{}
	return n
}

// seat writes the records of as many readers as fit.
func seat(in *instance, readers []*policy.Tags, room int) (n int) {
	in.readers.Reset(in.buffer(), len(readers), room)
	for n < len(readers) {
		r := readers[n]
		if !in.readers.Add(r.Bits, r.Level, r.Group, r.User, r.Ext) {
			break
		}
		n++
	}
	return n
}

// undecided is for readers of a message that the guest said nothing of.
func (v *Version) undecided(to []uint64, first, n int) {
	if f := v.spec.Failure(abi.Deliver); f == manifest.Pass || f == manifest.Ignore {
		abi.All(to, first, n)
		return
	}
	abi.Spread(to, first, nil, n)
}
