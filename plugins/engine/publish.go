package engine

import (
	"sync"

	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// waiting is one message on its way through a lane.
type waiting struct {
	c      *policy.Client
	m      *wire.Pub
	commit func(*policy.Publication)
	err    *wire.Err
	done   bool
}

// queue holds the messages that wait for a lane whose guest takes batches: who
// gets the lane takes all of them with it.
type queue struct {
	mu   sync.Mutex
	list []*waiting
}

// maxBatch bounds the messages of one call.
const maxBatch = 64

var slips = sync.Pool{New: func() any { return new(waiting) }}

// Publish asks about a message. See plugins.Guest.
func (v *Version) Publish(c *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	kind, probe := v.enter()
	if kind != "" {
		var out policy.Publication // not the lane's: it may be long in use
		err := v.failedPub(&out, m, kind)
		if err == nil {
			commit(&out)
		}
		return err
	}
	defer v.leave()
	l := v.lane(m.Channel)
	if v.has(abi.PublishBatch) && !probe {
		return v.publishTogether(l, c, m, commit)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return v.publishOne(l, c, m, commit, probe)
}

// publishOne asks about one message, with the lane locked.
func (v *Version) publishOne(l *lane, c *policy.Client, m *wire.Pub, commit func(*policy.Publication), probe bool) *wire.Err {
	in := l.in
	if in == nil {
		v.missed(probe)
		return v.commit(l, m, kindBusy, nil, commit)
	}
	in.now = v.engine.millis()
	e := &l.event
	e.Flags, e.Now = 0, in.now
	fillPub(e, c, m)
	began := l.stats.begin()
	n, err := e.Encode(in.buffer(), abi.Publish)
	if err == nil {
		err = in.call(abi.Publish, n, 0)
	}
	v.called(l, abi.Publish, err, probe, began)
	if err != nil {
		return v.commit(l, m, in.kind(err), nil, commit)
	}
	return v.commit(l, m, "", &in.result, commit)
}

// commit hands on what became of a message.
func (v *Version) commit(l *lane, m *wire.Pub, kind string, r *abi.Result, commit func(*policy.Publication)) *wire.Err {
	var err *wire.Err
	if kind != "" {
		err = v.failedPub(&l.pub, m, kind)
	} else {
		err = publication(&l.pub, m, r)
	}
	if err == nil {
		commit(&l.pub)
	}
	return err
}

// publishTogether joins those who wait for the lane, and works for all of them if
// it gets it first.
func (v *Version) publishTogether(l *lane, c *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	w := slips.Get().(*waiting)
	*w = waiting{c: c, m: m, commit: commit}
	l.queue.mu.Lock()
	l.queue.list = append(l.queue.list, w)
	l.queue.mu.Unlock()
	l.mu.Lock()
	for !w.done {
		l.queue.mu.Lock()
		n := min(len(l.queue.list), maxBatch)
		list := l.queue.list[:n:n]
		l.queue.list = l.queue.list[n:]
		l.queue.mu.Unlock()
		v.publishList(l, list)
	}
	l.mu.Unlock()
	err := w.err
	*w = waiting{}
	slips.Put(w)
	return err
}

// publishList asks about messages in their order, several at a time where that is
// worth a frame of frames.
func (v *Version) publishList(l *lane, list []*waiting) {
	for len(list) > 0 {
		if len(list) == 1 || l.in == nil {
			w := list[0]
			w.err = v.publishOne(l, w.c, w.m, w.commit, false)
			w.done = true
			list = list[1:]
			continue
		}
		list = list[v.publishBatch(l, list):]
	}
}

// publishBatch makes one call for the first of list and returns for how many.
func (v *Version) publishBatch(l *lane, list []*waiting) (n int) {
	in := l.in
	in.now = v.engine.millis()
	var b abi.Batch
	b.Reset(in.buffer(), len(list))
	for n < len(list) {
		l.event.Flags, l.event.Now = 0, in.now
		fillPub(&l.event, list[n].c, list[n].m)
		if !b.Add(&l.event) {
			break
		}
		n++
	}
	if n < 2 {
		list[0].err = v.publishOne(l, list[0].c, list[0].m, list[0].commit, false)
		list[0].done = true
		return 1
	}
	began := l.stats.begin()
	size, err := b.Encode(in.now)
	var answers abi.Answers
	if err == nil {
		in.many = int64(n)
		err = in.call(abi.PublishBatch, size, n)
		in.many = 0
		if err == nil {
			err = answers.Parse(in.stack[0], in.output(), n)
		}
	}
	in.result.Verdict = abi.Allow
	v.called(l, abi.PublishBatch, err, false, began)
	if err != nil { // the batch is as one call that failed: all of it
		kind := in.kind(err)
		for _, w := range list[:n] {
			w.err = v.commit(l, w.m, kind, nil, w.commit)
			w.done = true
		}
		return n
	}
	for i := range answers.Len() {
		w := list[i]
		_, err := answers.Next(&in.result)
		if err != nil {
			l.stats.failed(abi.Publish, in.kind(err))
			w.err = v.commit(l, w.m, in.kind(err), nil, w.commit)
		} else {
			l.stats.hooks[abi.Publish].verdicts[in.result.Verdict]++
			w.err = v.commit(l, w.m, "", &in.result, w.commit)
		}
		w.done = true
	}
	return max(answers.Len(), 1)
}
