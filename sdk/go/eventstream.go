package chappe

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// block is one block of an event stream: what stands before an empty line.
type block struct {
	name string // "" is "message"
	data []byte // nil: the block only moves the id
	id   string // the last id so far, of this block or one before
}

// eventStream reads text/event-stream as the WHATWG HTML standard §9.2.6 says.
type eventStream struct {
	r     *bufio.Reader
	limit int
	retry time.Duration // of the last retry field; 0: none

	id    string // last event id buffer
	begun bool   // something was read: no byte order mark may follow
	cr    bool   // the last line ended with CR: an LF right behind belongs to it
}

var errBlockTooBig = errors.New("an event is too big")

func newEventStream(r io.Reader, limit int) *eventStream {
	return &eventStream{r: bufio.NewReader(r), limit: limit}
}

// next returns the next block. A block that the end of the stream cuts off is
// dropped, as the standard says: its id does not count.
func (s *eventStream) next() (block, error) {
	var b block
	data, held, fields := []byte(nil), 0, false
	for {
		line, err := s.line()
		if err != nil {
			return block{}, err
		}
		if len(line) == 0 {
			if !fields {
				continue // nothing but comments, or nothing at all
			}
			if data != nil {
				data = data[:len(data)-1] // the last newline
			}
			b.data, b.id = data, s.id
			return b, nil
		}
		if line[0] == ':' {
			continue
		}
		if held += len(line); held > s.limit {
			return block{}, errBlockTooBig
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "event":
			b.name, fields = text(value), true
		case "data":
			data, fields = append(append(data, value...), '\n'), true
		case "id":
			if !bytes.Contains(value, []byte{0}) {
				s.id, fields = text(value), true
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 63); err == nil && digits(value) {
				s.retry = advice(int64(ms))
			}
		}
	}
}

// line returns the next line without its end: LF, CR or CR LF. It does not wait
// for what follows a CR. A line that the end of the stream cuts off is dropped.
func (s *eventStream) line() ([]byte, error) {
	var line []byte
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if c == '\n' && s.cr {
			s.cr = false
			continue
		}
		s.cr = false
		if c != '\n' && c != '\r' {
			if len(line) >= s.limit {
				return nil, errBlockTooBig
			}
			line = append(line, c)
			continue
		}
		s.cr = c == '\r'
		if !s.begun {
			s.begun = true
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		return line, nil
	}
}

// text decodes UTF-8, with replacement characters for what is not.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string(bytes.ToValidUTF8(b, []byte("\ufffd")))
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
