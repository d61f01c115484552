package session

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Server-sent events (WHATWG HTML §9.2.6). Every event carries the id that is
// the client's position after it; an event block with an id alone moves the
// position and dispatches nothing.

// ReservedEvents are the event names that the server itself uses on SSE: a
// publisher may not give them to a message.
var ReservedEvents = map[string]bool{
	"gap": true, "presence": true, "drain": true, "error": true, "welcome": true, "subbed": true, "unsubbed": true,
	"ack": true, "history": true, "ping": true, "progress": true, "open": true,
}

func (s *Session) appendID(dst []byte) []byte {
	dst = append(dst, "id: "...)
	dst = s.pos.Append(dst)
	return append(dst, "\n\n"...)
}

func (s *Session) appendMessage(dst []byte, m *log.Entry) []byte {
	dst = append(dst, "id: "...)
	dst = s.pos.Append(dst)
	if m.Event != "" {
		dst = append(dst, "\nevent: "...)
		dst = append(dst, m.Event...)
	}
	if s.form == FormSSERaw {
		return appendRaw(dst, m.Data)
	}
	dst = append(dst, "\ndata: "...)
	dst = append(dst, m.JSON()...)
	return append(dst, "\n\n"...)
}

// appendRaw appends the payload as data lines. Line ends become line feeds, as
// a parser joins lines with them; what is not UTF-8 comes in base64.
func appendRaw(dst, data []byte) []byte {
	text := string(data)
	if !utf8.Valid(data) {
		text = base64.StdEncoding.EncodeToString(data)
	}
	if strings.ContainsRune(text, '\r') {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	for line := range strings.SplitSeq(text, "\n") {
		dst = append(dst, "\ndata: "...)
		dst = append(dst, line...)
	}
	return append(dst, "\n\n"...)
}

// appendEvent appends a frame that belongs to this client as an event of the
// frame's name. A gap leaves the id where it was: who is cut right behind it is
// told again.
func (s *Session) appendEvent(dst []byte, f wire.Frame) []byte {
	name := ""
	switch f.(type) {
	case *wire.Welcome:
		name = "welcome"
	case *wire.Subbed:
		name = "subbed"
	case *wire.Unsubbed:
		name = "unsubbed"
	case *wire.Gap:
		name = "gap"
	case *wire.Presence:
		name = "presence"
	case *wire.Drain:
		name = "drain"
	case *wire.Err:
		name = "error"
	case *wire.Ack:
		name = "ack"
	case *wire.HistoryPage:
		name = "history"
	default:
		return dst
	}
	if _, ok := f.(*wire.Gap); ok {
		dst = append(dst, "id: "...)
		dst = s.pos.Append(dst)
		dst = append(dst, '\n')
	}
	dst = append(dst, "event: "...)
	dst = append(dst, name...)
	dst = append(dst, "\ndata: "...)
	dst = wire.AppendJSON(dst, f)
	return append(dst, "\n\n"...)
}
