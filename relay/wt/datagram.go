package wt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// datagrams writes each message as a datagram. One that the network loses is
// shown by the stamp of the next. All other frames, and messages that no datagram
// can hold, go over the control stream: a grant or a gap must not be lost.
type datagrams struct{ c *conn }

// errUnread ends a client that reads its datagrams and not its control stream.
var errUnread = errors.New("the control stream is not read")

// Write writes whole frames, each behind its length. SendDatagram waits while 32
// are queued and takes no deadline; it ends with the connection. Only one line
// per connection calls it, since its waiters may miss their turn when there are two.
func (d *datagrams) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		size, k := binary.Uvarint(rest)
		end := k + int(size)
		message := d.isMessage(rest[k:end])
		if message {
			err := d.c.wt.SendDatagram(rest[k:end])
			if _, big := errors.AsType[*quic.DatagramTooLargeError](err); !big {
				rest = rest[end:]
				continue
			}
		}
		if !d.c.main.session.Forward(rest[:end]) && !message {
			return 0, errUnread
		}
		rest = rest[end:]
	}
	if err := d.c.wt.Context().Err(); err != nil {
		return 0, err
	}
	return len(b), nil
}

var jsonMessage = []byte(`{"t":"msg",`)

func (d *datagrams) isMessage(frame []byte) bool {
	if d.c.form == session.FormStreamBinary {
		return len(frame) > 0 && wire.Type(frame[0]) == wire.TypeMsg
	}
	return bytes.HasPrefix(frame, jsonMessage)
}

func (*datagrams) SetWriteDeadline(time.Time) error { return nil }
func (*datagrams) Close() error                     { return nil }
