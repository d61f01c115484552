package conformance

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/wire"
)

// pipe carries messages of frames to a client. What is written to one that has
// left is lost.
type pipe interface {
	write(b []byte)
	// cut ends the connection without a word.
	cut()
	// close ends it, and says why.
	close(told *wire.CloseError)
}

type socketPipe struct {
	conn *websocket.Conn
	kind websocket.MessageType
}

func (p *socketPipe) write(b []byte) { p.conn.Write(context.Background(), p.kind, b) }
func (p *socketPipe) cut()           { p.conn.CloseNow() }
func (p *socketPipe) close(told *wire.CloseError) {
	p.conn.Close(websocket.StatusCode(told.Close), string(wire.ReasonJSON(told)))
}

// transportPipe is the control stream of a WebTransport session.
type transportPipe struct {
	quic    *quic.Conn
	bin     bool
	session *webtransport.Session
	mu      sync.Mutex
	control *webtransport.Stream
}

func (p *transportPipe) write(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.control.Write(framed(b))
}

func (p *transportPipe) cut() {
	p.quic.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeInternalError), "")
}

// close says why on the control stream, for a browser may not tell a page the code
// and reason of a session that the relay closes (PROTOCOL §1.11).
func (p *transportPipe) close(told *wire.CloseError) {
	p.write(encode(&wire.Err{Code: told.Code, Text: told.Text, Retry: told.Retry, Terminal: !told.Close.Reconnects()}, p.bin))
	p.control.Close()
	select {
	case <-p.session.Context().Done():
	case <-time.After(300 * time.Millisecond):
		p.session.CloseWithError(webtransport.SessionErrorCode(told.Close), string(wire.ReasonJSON(told)))
	}
}

// framed puts a message behind its length (PROTOCOL §1.11).
func framed(b []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }
