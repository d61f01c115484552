package suite

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// kinds of clients. Bare ones (sse, poll) know only the cursor that they were given last.
var kinds = []string{"ws-json", "ws-bin", "wt-json", "wt-bin", "sse", "poll"}

// want is what a client asks for.
type want struct {
	channels []string
	cursor   string // "" begins now
	last     int
	policy   string
	presence bool
	token    string
}

// client is one connection, read by hand so that it can be cut at any byte.
type client struct {
	t       *testing.T
	s       *relaytest.Server
	kind    string
	want    want
	conn    net.Conn // nil for poll
	buf     []byte   // read, not yet a whole event
	queue   []wire.Frame
	tracker *position.Tracker
	cursor  string
	ended   bool
	close   wire.CloseCode // of the close frame
	reason  string
	retry   string // the last "retry:" of an event stream
}

func open(t *testing.T, s *relaytest.Server, kind string, w want) *client {
	t.Helper()
	c := &client{t: t, s: s, kind: kind, want: w, cursor: w.cursor, tracker: position.NewTracker()}
	if kind == "poll" {
		return c
	}
	var err error
	protocol := map[string]string{"json": "chappe.v1.json", "bin": "chappe.v1.bin"}[strings.TrimLeft(kind, "wst-")]
	if c.streams() {
		session, err := s.DialWT(t.Context(), protocol)
		if err != nil {
			t.Fatal(err)
		}
		control, err := session.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		c.conn = controlStream{control, session}
		c.hello()
		return c
	}
	if c.conn, err = s.Dial(t.Context(), "", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	auth := ""
	if w.token != "" {
		auth = "Authorization: Bearer " + w.token + "\r\n"
	}
	if kind == "sse" {
		fmt.Fprintf(c.conn, "GET /v1/sse?%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", c.query(), auth)
		c.head()
		return c
	}
	fmt.Fprintf(c.conn, "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", protocol)
	c.head()
	c.hello()
	return c
}

// controlStream is a WebTransport session's first stream; closing it ends the session.
type controlStream struct {
	*webtransport.Stream
	session *webtransport.Session
}

func (s controlStream) Close() error         { return s.session.CloseWithError(0, "") }
func (s controlStream) LocalAddr() net.Addr  { return s.session.LocalAddr() }
func (s controlStream) RemoteAddr() net.Addr { return s.session.RemoteAddr() }

// streams reports whether the client speaks over a byte stream of WebTransport.
func (c *client) streams() bool { return strings.HasPrefix(c.kind, "wt") }

// own reports whether the client computes its positions itself.
func (c *client) own() bool { return strings.HasPrefix(c.kind, "w") }

func (c *client) binary() bool { return strings.HasSuffix(c.kind, "bin") }

// hello opens the session.
func (c *client) hello() {
	w := c.want
	h := &wire.Hello{Version: 1, Token: w.token}
	for _, name := range w.channels {
		h.Subs = append(h.Subs, wire.Sub{Channel: name, Cursor: w.cursor, Last: w.last, Policy: w.policy, Presence: w.presence})
		if w.cursor != "" {
			c.tracker.Subscribed(name, w.cursor)
		}
	}
	c.send(h)
}

func (c *client) query() string {
	q := url.Values{"channel": c.want.channels}
	if c.cursor != "" {
		q.Set("cursor", c.cursor)
	}
	if c.want.last > 0 {
		q.Set("last", fmt.Sprint(c.want.last))
	}
	if c.want.policy != "" {
		q.Set("policy", c.want.policy)
	}
	if c.want.presence {
		q.Set("presence", "1")
	}
	return q.Encode()
}

// head reads the head of the answer, byte by byte: what follows is the stream's.
func (c *client) head() {
	c.t.Helper()
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		var b [1]byte
		if _, err := c.conn.Read(b[:]); err != nil {
			c.t.Fatalf("%s: head %q: %v", c.kind, head, err)
		}
		head = append(head, b[0])
	}
	if status := string(head[9:12]); status != "101" && status != "200" {
		c.t.Fatalf("%s: %s", c.kind, head)
	}
}

// send writes one frame of the client's (not of a bare one), masked with zeros.
func (c *client) send(f wire.Frame) {
	c.t.Helper()
	if c.binary() {
		c.raw(2, wire.AppendBinary(nil, f))
	} else {
		c.raw(1, wire.AppendJSON(nil, f))
	}
}

func (c *client) raw(opcode byte, b []byte) {
	c.t.Helper()
	if c.streams() {
		if _, err := c.conn.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil {
			c.t.Fatal(err)
		}
		return
	}
	m := []byte{0x80 | opcode, 0x80 | 126, byte(len(b) >> 8), byte(len(b)), 0, 0, 0, 0}
	if _, err := c.conn.Write(append(m, b...)); err != nil {
		c.t.Fatal(err)
	}
}

// read takes at most n bytes from the connection. It reports false at its end.
func (c *client) read(n int) bool {
	b := make([]byte, min(n, 4096))
	k, err := c.conn.Read(b)
	c.buf = append(c.buf, b[:k]...)
	c.parse()
	if c.ended = c.ended || err != nil; c.ended && c.streams() {
		c.why()
	}
	return !c.ended
}

// why reads with what code the server closed a WebTransport session.
func (c *client) why() {
	var se *webtransport.SessionError
	if _, err := c.conn.(controlStream).session.AcceptUniStream(c.t.Context()); errors.As(err, &se) && se.Remote {
		c.close, c.reason = wire.CloseCode(se.ErrorCode), se.Message
	}
}

func (c *client) parse() {
	for {
		n := 0
		if c.kind == "sse" {
			n = c.block()
		} else {
			n = c.message()
		}
		if n == 0 {
			return
		}
		c.buf = c.buf[n:]
	}
}

// message takes one message of a WebSocket or stream off the buffer.
func (c *client) message() int {
	b := c.buf
	if c.streams() {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return 0
		}
		c.frames(b[k : k+int(n)])
		return k + int(n)
	}
	if len(b) < 2 {
		return 0
	}
	head, n := 2, int(b[1])
	switch {
	case n == 126 && len(b) >= 4:
		head, n = 4, int(b[2])<<8|int(b[3])
	case n == 127 && len(b) >= 10:
		head, n = 10, int(b[6])<<24|int(b[7])<<16|int(b[8])<<8|int(b[9])
	case n >= 126:
		return 0
	}
	if len(b) < head+n {
		return 0
	}
	body := b[head : head+n]
	if b[0]&0xf == 8 {
		c.close, c.reason, c.ended = wire.CloseCode(int(body[0])<<8|int(body[1])), string(body[2:]), true
		return head + n
	}
	c.frames(body)
	return head + n
}

func (c *client) frames(body []byte) {
	decode := wire.DecodeJSON
	if c.binary() {
		decode = wire.DecodeBinary
	}
	fs, err := decode(bytes.Clone(body), wire.FromServer)
	if err != nil {
		c.t.Fatalf("%s: %v in %q", c.kind, err, body)
	}
	for _, f := range fs {
		c.frame(f)
	}
}

// block takes one block of an event stream off the buffer.
func (c *client) block() int {
	i := bytes.Index(c.buf, []byte("\n\n"))
	if i < 0 {
		return 0
	}
	for line := range strings.SplitSeq(string(c.buf[:i]), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			c.cursor = value
		case "retry":
			c.retry = value
		case "data":
			c.json([]byte(value))
		}
	}
	return i + 2
}

func (c *client) json(b []byte) {
	c.t.Helper()
	fs, err := wire.DecodeJSON(b, wire.FromServer)
	if err != nil {
		c.t.Fatalf("%s: %v in %q", c.kind, err, b)
	}
	for _, f := range fs {
		c.frame(f)
	}
}

// frame queues what a test looks at.
func (c *client) frame(f wire.Frame) {
	switch f := f.(type) {
	case *wire.Subbed:
		if c.own() {
			c.tracker.Subscribed(f.Channel, f.Cursor)
			c.cursor = c.tracker.Cursor(c.want.channels[0])
		}
	case *wire.Progress:
		c.tracker.Progress(f.Cursor)
		c.cursor = c.tracker.Cursor(c.want.channels[0])
		return
	case *wire.Msg:
		if c.own() {
			fresh := false
			for _, name := range c.want.channels {
				if name == f.Channel || strings.ContainsAny(name, "*>") {
					fresh = c.tracker.Message(name, f.Channel, f.Stamp) || fresh
				}
			}
			if !fresh {
				return
			}
			c.cursor = c.tracker.Cursor(c.want.channels[0])
		}
	case *wire.Welcome, *wire.Ping:
		if _, ok := f.(*wire.Ping); ok {
			return
		}
	}
	c.queue = append(c.queue, f)
}

// poll makes one long poll. It reports false when the server says no.
func (c *client) poll() bool {
	c.t.Helper()
	req := relaytest.URL + "/v1/poll?" + c.query()
	resp, err := c.s.Client().Get(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	var answer struct {
		Frames []json.RawMessage `json:"frames"`
		Cursor string            `json:"cursor"`
		Error  struct {
			Code wire.Code `json:"code"`
		} `json:"error"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		c.t.Fatalf("poll: %v in %q", err, b)
	}
	if resp.StatusCode != 200 {
		c.queue = append(c.queue, &wire.Err{Code: answer.Error.Code})
		c.ended = true
		return false
	}
	for _, f := range answer.Frames {
		c.json(f)
	}
	c.cursor, c.want.last = answer.Cursor, 0
	return true
}

// next returns the next frame of a type, passing others; nil at the end.
func next[T wire.Frame](c *client) (none T) {
	c.t.Helper()
	for {
		for len(c.queue) > 0 {
			f := c.queue[0]
			c.queue = c.queue[1:]
			if f, ok := f.(T); ok {
				return f
			}
		}
		if c.ended {
			return none
		}
		if c.kind == "poll" {
			c.poll()
		} else {
			c.read(4096)
		}
	}
}

// ready waits until the subscriptions stand, so that what is published now comes.
func (c *client) ready() *client {
	c.t.Helper()
	if c.kind == "poll" {
		c.poll()
		c.queue = nil
		return c
	}
	for range c.want.channels {
		if next[*wire.Subbed](c) == nil {
			c.t.Fatalf("%s: not subscribed", c.kind)
		}
	}
	for c.kind == "sse" && c.cursor == "" {
		c.read(4096)
	}
	return c
}

// texts reads n messages. A gap among them is a failure.
func (c *client) texts(n int) (out []string) {
	c.t.Helper()
	for len(out) < n {
		f := next[wire.Frame](c)
		switch f := f.(type) {
		case *wire.Msg:
			out = append(out, string(f.Data))
		case *wire.Gap, *wire.Err:
			c.t.Fatalf("%s: %+v after %d messages", c.kind, f, len(out))
		case nil:
			c.t.Fatalf("%s: ended (%d %s) after %d of %d messages", c.kind, c.close, c.reason, len(out), n)
		}
	}
	return out
}

// cut ends the connection without a word, and returns where the client stands.
func (c *client) cut() string {
	if c.conn != nil {
		c.conn.Close()
	}
	return c.cursor
}

// silent reports that nothing comes for a while.
func (c *client) silent(d time.Duration) bool {
	if c.kind == "poll" {
		return true // a poll that is held shows nothing: its next answer does
	}
	c.conn.SetReadDeadline(time.Now().Add(d))
	before := len(c.queue)
	for c.read(4096) {
	}
	c.ended = false
	c.conn.SetReadDeadline(time.Time{})
	return len(c.queue) == before
}
