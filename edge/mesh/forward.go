package mesh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// Errors of Forward.
var (
	ErrUnknown     = errors.New("no node is or was this origin")
	ErrUnreachable = errors.New("the node is not reachable")
	ErrBusy        = node.ErrBusy
	ErrTooLarge    = node.ErrTooLarge
	ErrTimeout     = node.ErrTimeout
)

const (
	// maxServing is how many requests are served at once; each may wait.
	maxServing = 256
	// forwardTimeout is what a request without a deadline has.
	forwardTimeout = 5 * time.Second
	// packetSpare is what a request or response may need beside its body.
	packetSpare = 256
)

type status uint8

const (
	statusOK     status = 0
	statusFailed status = 1 // the body says why
	statusBusy   status = 2
)

type response struct {
	status status
	body   []byte
}

// requests are those that wait for their response.
type requests struct {
	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan response
}

func (q *requests) init() {
	q.next = rand.Uint64()
	q.waiting = make(map[uint64]chan response)
}

func (q *requests) begin() (uint64, chan response) {
	c := make(chan response, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	q.waiting[q.next] = c
	return q.next, c
}

func (q *requests) end(id uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.waiting, id)
}

// answered takes in a response. One that nobody waits for came too late.
func (q *requests) answered(b []byte) error {
	r := reader{b: b}
	id, s := r.uint64(), status(r.byte())
	if r.err != nil {
		return fmt.Errorf("response: %w", r.err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if c := q.waiting[id]; c != nil {
		delete(q.waiting, id)
		c <- response{s, r.b}
	}
	return nil
}

// Forward gives a request to the node that is an origin, or was, and returns its
// answer: what Config.Serve there returned. It is sent once. The errors are those
// above, ctx's, or that of Serve as text. Without a deadline it waits 5 s.
func (m *Mesh) Forward(ctx context.Context, origin position.Origin, request []byte) ([]byte, error) {
	if len(request) > maxPayload-packetSpare {
		return nil, ErrTooLarge
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, forwardTimeout)
		defer cancel()
	}
	if m.isSelf(origin) {
		if m.cfg.Serve == nil {
			return nil, ErrUnreachable
		}
		return m.cfg.Serve(ctx, request)
	}
	to, ok := m.members.find(origin)
	if !ok {
		return nil, ErrUnknown
	}
	if !to.Up {
		return nil, ErrUnreachable
	}
	id, c := m.asking.begin()
	defer m.asking.end(id)
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline).Milliseconds()
	if left <= 0 {
		return nil, ErrTimeout
	}
	if !m.post(sendTo, origin, kindRequest, func(b []byte) []byte {
		return append(putUint(put64(b, id), uint64(left)), request...)
	}) {
		return nil, ErrBusy
	}
	select {
	case r := <-c:
		switch r.status {
		case statusOK:
			return r.body, nil
		case statusBusy:
			return nil, ErrBusy
		}
		return nil, fmt.Errorf("%s.%s: %s", to.Region, to.Node, r.body)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, ErrTimeout
		}
		return nil, ctx.Err()
	}
}

// serve answers another node's Forward, on a goroutine of its own.
func (m *Mesh) serve(ctx context.Context, from position.Origin, b []byte, work *sync.WaitGroup) error {
	r := reader{b: b}
	id, left := r.uint64(), r.uint()
	if r.err != nil {
		return fmt.Errorf("request: %w", r.err)
	}
	request := r.b
	if m.cfg.Serve == nil {
		m.respond(from, id, statusFailed, []byte("requests are not served here"))
		return nil
	}
	select {
	case m.serving <- struct{}{}:
	default:
		m.respond(from, id, statusBusy, nil)
		return nil
	}
	work.Go(func() {
		defer func() { <-m.serving }()
		ctx, cancel := context.WithTimeout(ctx, time.Duration(min(left, 60_000))*time.Millisecond)
		defer cancel()
		body, err := m.cfg.Serve(ctx, request)
		switch {
		case ctx.Err() != nil: // who asked has given up, and calls the outcome unknown
		case err != nil:
			m.respond(from, id, statusFailed, []byte(err.Error()))
		case len(body) > maxPayload-packetSpare:
			m.respond(from, id, statusFailed, []byte(ErrTooLarge.Error()))
		default:
			m.respond(from, id, statusOK, body)
		}
	})
	return nil
}

func (m *Mesh) respond(to position.Origin, id uint64, s status, body []byte) {
	m.post(sendTo, to, kindResponse, func(b []byte) []byte {
		return append(append(put64(b, id), byte(s)), body...)
	})
}
