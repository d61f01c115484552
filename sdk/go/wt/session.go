package wt

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

const (
	maxFrame   = 16 << 20        // of a message, as on a WebSocket
	farewell   = 1 * time.Second // the reason for a close comes behind the end of the stream
	streamType = 0x41            // of a bidirectional stream of a session (draft-ietf-webtrans-http3 §4.3)
)

// session is one connection to a relay. A goroutine per stream reads whole
// messages and hands them to the client's reader, one at a time: what waits for a
// packet on one stream holds up nobody else.
type session struct {
	// Immutable after begin.
	heard   func()
	dialer  *Dialer
	quic    *quic.Conn
	control *quic.Stream
	ctx     context.Context // until the session is over
	cancel  context.CancelFunc

	in    chan message
	done  chan struct{} // closed when err is set: the control stream has ended
	err   error
	tasks sync.WaitGroup
	once  sync.Once

	up  chan struct{} // closed when wt or bad is set: the relay has answered
	wt  *webtransport.Session
	bad error

	mu    sync.Mutex
	paths []*path // the last one is in use
	over  bool

	first []byte // what was said early; it is said again to a relay that did not take it
	out   []byte // scratch of the writer; not nil when the control stream has begun
}

type message struct {
	data []byte
	way  carrier.Way
}

// path is a socket that the connection uses, or used.
type path struct {
	*quic.Transport
	socket held
}

func newSession(d *Dialer, heard func()) *session {
	s := &session{heard: heard, dialer: d, in: make(chan message), done: make(chan struct{}), up: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// open adds a socket, which is held.
func (s *session) open() (*path, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || len(s.paths) == maxPaths {
		return nil, errors.New("no further socket for this connection")
	}
	pc, err := s.dialer.Listen()
	if err != nil {
		return nil, fmt.Errorf("socket for WebTransport: %w", err)
	}
	h := hold(pc)
	p := &path{&quic.Transport{Conn: h}, h}
	s.paths = append(s.paths, p)
	return p, nil
}

// The first two streams of a connection.
const (
	controlID = 0
	connectID = 4 // and so the session's (draft-ietf-webtrans-http3 §2)
)

// begin opens the control stream and the session, and starts to read. The first
// message goes out beside CONNECT and not behind its answer, which saves a round
// trip. The draft has a client wait for the relay's SETTINGS: those of a server that
// is no relay would end the connection, which is of no use then anyway.
// What was said early is waited for, or said again where the relay did not take it.
func (s *session) begin(ctx context.Context, to carrier.Target, f flight) (err error) {
	s.quic, s.control = f.conn, f.control
	if s.control == nil {
		if s.control, err = s.quic.OpenStream(); err != nil {
			return fmt.Errorf("control stream: %w", err)
		}
	}
	if id := s.control.StreamID(); id != controlID {
		return fmt.Errorf("the control stream is stream %d", id)
	}
	s.tasks.Go(func() { s.connect(to) })
	s.tasks.Go(func() {
		s.err = s.reason(s.read(s.control, carrier.Control))
		close(s.done)
	})
	switch {
	case s.first == nil:
		return nil
	case f.control == nil:
		return s.Write(ctx, s.first)
	}
	s.out = []byte{}
	select {
	case err := <-f.said:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect asks for the session, and reads what comes beside the control stream.
func (s *session) connect(to carrier.Target) {
	s.wt, s.bad = s.ask(to)
	close(s.up)
	if s.bad != nil {
		s.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
		return
	}
	context.AfterFunc(s.wt.Context(), func() {
		s.control.SetReadDeadline(time.Now().Add(farewell)) // what is here is read
		s.cancel()
	})
	s.tasks.Go(s.streams)
	s.datagrams()
}

func (s *session) ask(to carrier.Target) (*webtransport.Session, error) {
	tr := &webtransport.Transport{ApplicationProtocols: []string{to.Protocol}}
	client, err := tr.NewClientConn(s.quic)
	if err != nil {
		return nil, err
	}
	_, wt, err := client.Dial(s.ctx, to.URL, http.Header{"User-Agent": {to.Agent}})
	if err != nil {
		return nil, err
	}
	if got := wt.SessionState().ApplicationProtocol; got != to.Protocol {
		wt.CloseWithError(0, "")
		return nil, fmt.Errorf("the relay does not speak %s over WebTransport", to.Protocol)
	}
	return wt, nil
}

// read hands on the messages of a stream: uint length, then the message
// (PROTOCOL §5.1).
func (s *session) read(from io.Reader, way carrier.Way) error {
	in := bufio.NewReader(live{from, s.heard})
	for {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return err
		}
		if size > maxFrame {
			return fmt.Errorf("a message of %d bytes", size)
		}
		data, err := io.ReadAll(io.LimitReader(in, int64(size))) // grows as it comes: size is but a claim
		if err != nil {
			return err
		}
		if uint64(len(data)) < size {
			return io.ErrUnexpectedEOF
		}
		select {
		case s.in <- message{data, way}:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
	}
}

// live is a stream whose every byte is a sign of life.
type live struct {
	io.Reader
	heard func()
}

func (l live) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	if n > 0 {
		l.heard()
	}
	return n, err
}

// streams reads those that the relay opens for channels.
func (s *session) streams() {
	for way := carrier.Control + 1; ; way++ {
		from, err := s.wt.AcceptUniStream(context.Background())
		if err != nil {
			return
		}
		s.tasks.Go(func() {
			err := s.read(from, way)
			if _, reset := errors.AsType[*webtransport.StreamError](err); reset || err == io.EOF {
				return // the control stream tells what becomes of its channel
			}
			s.wt.CloseWithError(0, "") // a relay that breaks the rules
		})
	}
}

func (s *session) datagrams() {
	for {
		data, err := s.wt.ReceiveDatagram(context.Background())
		if err != nil {
			return
		}
		s.heard()
		select {
		case s.in <- message{data, carrier.Datagram}:
		case <-s.ctx.Done():
			return
		}
	}
}

// reason finds how the session ended, when its control stream has.
func (s *session) reason(err error) error {
	<-s.up
	if s.bad != nil {
		return s.bad
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if _, told := s.wt.AcceptStream(ctx); told != nil && ctx.Err() == nil {
		err = told // the stream may know only that the connection was closed, by webtransport-go itself
	}
	if end, ok := errors.AsType[*webtransport.SessionError](err); ok && end.Remote && end.ErrorCode != 0 {
		return &carrier.Closed{Code: wire.CloseCode(end.ErrorCode), Reason: end.Message}
	}
	return err
}

// Read implements carrier.Conn.
func (s *session) Read(ctx context.Context) ([]byte, carrier.Way, error) {
	select {
	case m := <-s.in:
		return m.data, m.way, nil
	case <-s.done:
		return nil, carrier.Control, s.err
	case <-ctx.Done():
		return nil, carrier.Control, ctx.Err()
	}
}

// Write implements carrier.Conn.
func (s *session) Write(ctx context.Context, b []byte) error {
	if s.out == nil {
		s.out = opening(b)
	} else {
		s.out = append(binary.AppendUvarint(s.out[:0], uint64(len(b))), b...)
	}
	return put(ctx, s.control, s.out)
}

// opening is how the control stream begins: which stream it is, whose, and the first
// message on it.
func opening(first []byte) []byte {
	b := quicvarint.Append(quicvarint.Append(nil, streamType), connectID)
	return append(binary.AppendUvarint(b, uint64(len(first))), first...)
}

func put(ctx context.Context, to *quic.Stream, b []byte) error {
	defer context.AfterFunc(ctx, func() { to.SetWriteDeadline(time.Now()) })()
	_, err := to.Write(b)
	return err
}

// Close implements carrier.Conn.
func (s *session) Close() { s.end(uint32(wire.CloseNormal)) }

// Abort implements carrier.Conn.
func (s *session) Abort() { s.end(0) }

func (s *session) end(code uint32) {
	s.once.Do(func() {
		select {
		case <-s.up:
			if s.wt != nil {
				s.wt.CloseWithError(webtransport.SessionErrorCode(code), "")
			}
		default:
		}
		s.cancel()
		s.release()
		s.tasks.Wait()
	})
}

// release closes the connection and its sockets.
func (s *session) release() {
	s.mu.Lock()
	s.over = true
	paths := s.paths
	s.mu.Unlock()
	if s.quic != nil {
		s.quic.CloseWithError(0, "")
	}
	for _, p := range paths {
		p.socket.free()
		p.Close()
		p.socket.Close()
	}
}

// Migrate implements carrier.Migrator: the connection moves to a new socket, and
// so to the address and the route that the system gives it now (RFC 9000 §9).
func (s *session) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migration)
	defer cancel()
	select {
	case <-s.up: // what asks for the session reads what a move replaces
	case <-ctx.Done():
		return ctx.Err()
	}
	p, err := s.open()
	if err != nil {
		return err
	}
	p.socket.free()
	to, err := s.quic.AddPath(p.Transport)
	if err != nil {
		return fmt.Errorf("new path: %w", err)
	}
	if err := to.Probe(ctx); err != nil {
		to.Close() // its socket stays: closing a quic.Transport ends the connections that know it
		return fmt.Errorf("new path: %w", err)
	}
	// quic-go v0.64.1 replaces there what ConnectionState reads: passing its lock
	// puts what HTTP/3 read when it began before that.
	s.quic.ConnectionState()
	if err := to.Switch(); err != nil {
		return fmt.Errorf("new path: %w", err)
	}
	return nil
}
