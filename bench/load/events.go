package load

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/wire"
)

// maxUnit bounds what must be complete before it is scanned: a WebSocket
// message, an HTTP chunk, an SSE event. It is below the size of a read buffer.
const maxUnit = 512 << 10

var errEvent = errors.New("bad event stream")

// events scans server-sent events (WHATWG HTML §9.2.6), inside HTTP chunks or not.
type events struct {
	chunked bool
	text    []byte // an event that continues in the next chunk
}

func (e *events) scan(b []byte, to sink) (int, error) {
	if !e.chunked {
		n, err := scanEvents(b, to)
		if err == nil && len(b)-n > maxUnit {
			err = fmt.Errorf("%w: an event of more than %d bytes", errEvent, maxUnit)
		}
		return n, err
	}
	n := 0
	for {
		data, used, err := readChunk(b[n:])
		switch {
		case err != nil:
			return n, err
		case used == 0 && len(b)-n > maxUnit:
			return n, fmt.Errorf("%w: a chunk of more than %d bytes", errEvent, maxUnit)
		case used == 0:
			return n, nil
		case len(data) == 0:
			return n, fmt.Errorf("%w: the server ended it", errEvent)
		}
		n += used
		if len(e.text) > 0 {
			e.text = append(e.text, data...)
			data = e.text
		}
		taken, err := scanEvents(data, to)
		if err != nil {
			return n, err
		}
		if e.text = append(e.text[:0], data[taken:]...); len(e.text) > maxUnit {
			return n, fmt.Errorf("%w: an event of more than %d bytes", errEvent, maxUnit)
		}
	}
}

// scanEvents scans the complete event blocks of b. The server ends lines with
// a line feed alone.
func scanEvents(b []byte, to sink) (int, error) {
	n := 0
	for {
		end := bytes.Index(b[n:], []byte("\n\n"))
		if end < 0 {
			return n, nil
		}
		if err := scanEvent(b[n:n+end], to); err != nil {
			return n, err
		}
		n += end + 2
	}
}

func scanEvent(block []byte, to sink) error {
	whole := block
	var name, data []byte
	for len(block) > 0 {
		var line []byte
		line, block, _ = bytes.Cut(block, []byte("\n"))
		field, value, found := bytes.Cut(line, []byte(":"))
		if !found || len(field) == 0 { // a comment, or a field without a value
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			to.id(value)
		case "event":
			name = value
		case "data":
			data = value
		}
	}
	switch {
	case data == nil:
		return nil
	case len(name) == 0 || string(name) == "message":
		var payload []byte
		if at := bytes.IndexByte(data, mark); at >= 0 {
			payload = data[at:]
		}
		to.message(payload, whole)
		return nil
	}
	fs, err := wire.DecodeJSON(data, wire.FromServer)
	if err != nil {
		return fmt.Errorf("%w: event %q: %w", errEvent, clip(name), err)
	}
	for _, f := range fs {
		to.frame(f)
	}
	return nil
}
