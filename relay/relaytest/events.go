package relaytest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Event is one block of an event stream.
type Event struct {
	Name string // "" is message
	Data string
	ID   string // of this block; "": it has none
	// Retry is the last retry field before the end of this block, "" if there was none.
	Retry string
}

// Events is an open event stream, read as `curl -N` shows it.
type Events struct {
	Response *http.Response
	LastID   string
	Retry    string // the last told

	t    testing.TB
	in   *bufio.Reader
	stop context.CancelFunc
}

// patience is how long a stream may last: in virtual time, whose clock runs as
// long as anything waits, a test that waits for nothing would never end.
const patience = 30 * time.Minute

// longest is a query that goes into a URL, in bytes.
const longest = 8000

// Events opens /v1/sse with a query, and Last-Event-ID unless id is empty. The
// test fails if the answer is not a stream.
func (s *Server) Events(query, id string) *Events {
	s.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, URL+"/v1/sse?"+query, nil)
	if len(query) > longest {
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, URL+"/v1/sse", strings.NewReader(query))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatalf("GET /v1/sse?%s: %v", query, err)
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("GET /v1/sse?%s: %s %s", query, resp.Status, body)
	}
	e := Read(s.t, resp)
	e.stop = stop
	return e
}

// Read reads the body of a response as a stream. It is closed at the end of the
// test.
func Read(t testing.TB, resp *http.Response) *Events {
	e := &Events{Response: resp, t: t, in: bufio.NewReader(resp.Body), stop: func() {}}
	t.Cleanup(e.Close)
	return e
}

// Close cuts the stream.
func (e *Events) Close() {
	e.stop()
	e.Response.Body.Close()
}

// Block returns the next block; io.EOF when the stream ended.
func (e *Events) Block() (b Event, err error) {
	for {
		line, err := e.in.ReadString('\n')
		if err != nil {
			return b, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return b, nil
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch key {
		case "event":
			b.Name = value
		case "data":
			if b.Data != "" {
				b.Data += "\n"
			}
			b.Data += value
		case "id":
			b.ID, e.LastID = value, value
		case "retry":
			b.Retry, e.Retry = value, value
		}
	}
}

// Next returns the next block of one of the names ("message" for those without
// a name, "id" for those with an id alone); others are passed over. The test fails if the stream ends before.
func (e *Events) Next(names ...string) Event {
	e.t.Helper()
	for {
		b, err := e.Block()
		if err != nil {
			e.t.Fatalf("the stream ended before %v: %v", names, err)
		}
		name := b.Name
		if name == "" {
			name = "message"
		}
		if b.Data == "" {
			if name = "id"; b.ID == "" {
				name = "retry"
			}
		}
		for _, n := range names {
			if n == name {
				return b
			}
		}
	}
}
