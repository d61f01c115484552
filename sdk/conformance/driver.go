package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Command is one line that a driver reads. Members that are zero are left out.
type Command struct {
	Do         string          `json:"do"` // open, subscribe, unsubscribe, publish, history, close
	URL        string          `json:"url,omitempty"`
	URLs       []string        `json:"urls,omitempty"`       // further relays, to be tried in order
	Hashes     []string        `json:"hashes,omitempty"`     // of the certificate that is to be believed, SHA-256 in base64
	Transports []string        `json:"transports,omitempty"` // allowed, the best first
	Token      string          `json:"token,omitempty"`
	Tokens     []string        `json:"tokens,omitempty"`   // what the token source brings, one after the other
	TokenMS    int             `json:"token_ms,omitempty"` // how long it takes for each
	Channel    string          `json:"channel,omitempty"`
	Policy     string          `json:"policy,omitempty"` // subscribe
	Via        string          `json:"via,omitempty"`    // subscribe
	Cursor     string          `json:"cursor,omitempty"`
	Last       int             `json:"last,omitempty"`
	ID         string          `json:"id,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
}

// Event is one line that a driver writes.
type Event struct {
	Event      string          `json:"event"` // ready, state, token, subscribed, message, gap, ended, ack, failed, page, closed
	SDK        string          `json:"sdk,omitempty"`
	Transports []string        `json:"transports,omitempty"` // ready: that the library has
	Can        []string        `json:"can,omitempty"`        // ready: "fallback" if it changes transport by itself
	Phase      string          `json:"phase,omitempty"`      // state: idle, connecting, live, waiting, closed
	URL        string          `json:"url,omitempty"`        // state: of which relay
	Code       string          `json:"code,omitempty"`       // state, ended, failed: why
	Channel    string          `json:"channel,omitempty"`    // the subscription it is of
	Data       json.RawMessage `json:"data,omitempty"`
	Cursor     string          `json:"cursor,omitempty"` // message, gap: the subscription's after it was taken
	Count      uint64          `json:"count,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Dup        bool            `json:"dup,omitempty"`
}

// Driver is a running program that obeys commands.
type Driver interface {
	io.Reader
	io.Writer
	// Close ends it and waits for it.
	Close() error
}

// Start begins a driver for one case.
type Start func() (Driver, error)

// Program starts a command for each case. Its standard error is passed on.
func Program(name string, args ...string) Start {
	return func() (Driver, error) {
		cmd := exec.Command(name, args...)
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, fmt.Errorf("driver: %w", err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, fmt.Errorf("driver: %w", err)
		}
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("driver: %w", err)
		}
		return &process{ReadCloser: out, WriteCloser: in, cmd: cmd}, nil
	}
}

type process struct {
	io.ReadCloser
	io.WriteCloser
	cmd *exec.Cmd
}

// Close closes the driver's input, which ends it; one that stays is killed.
func (p *process) Close() error {
	p.WriteCloser.Close()
	t := time.AfterFunc(5*time.Second, func() { p.cmd.Process.Kill() })
	defer t.Stop()
	return p.cmd.Wait()
}

// InProcess runs a driver as a function of its input and output.
func InProcess(main func(in io.Reader, out io.Writer)) Start {
	return func() (Driver, error) {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		f := &function{PipeReader: outR, PipeWriter: inW, done: make(chan struct{})}
		go func() {
			defer close(f.done)
			main(inR, outW)
			outW.Close()
			inR.Close()
		}()
		return f, nil
	}
}

type function struct {
	*io.PipeReader
	*io.PipeWriter
	done chan struct{}
}

func (f *function) Close() error {
	f.PipeWriter.Close()
	go io.Copy(io.Discard, f.PipeReader)
	<-f.done
	return nil
}

// client is the driver as a case sees it.
type client struct {
	d     Driver
	ready Event

	mu     sync.Mutex
	events []Event
	ended  error
	kick   chan struct{} // capacity 1
	done   chan struct{} // closed when the driver's output has ended
}

// begin starts a driver and hears its ready line.
func begin(start Start) (*client, error) {
	d, err := start()
	if err != nil {
		return nil, err
	}
	c := &client{d: d, kick: make(chan struct{}, 1), done: make(chan struct{})}
	go c.read()
	e, ok := c.next(func(Event) bool { return true }, patience)
	if !ok || e.Event != "ready" {
		c.end()
		return nil, fmt.Errorf("driver: %+v instead of a ready line (%w)", e, c.ended)
	}
	c.ready = e
	return c, nil
}

func (c *client) read() {
	in := bufio.NewScanner(c.d)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var e Event
		err := json.Unmarshal(in.Bytes(), &e)
		c.mu.Lock()
		if err != nil {
			c.ended = fmt.Errorf("driver: a line that is no event: %.200s", in.Text())
		}
		c.events = append(c.events, e)
		c.mu.Unlock()
		c.signal()
	}
	close(c.done)
	c.signal()
}

func (c *client) signal() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// next takes the first event that is wanted, and waits for it.
func (c *client) next(wanted func(Event) bool, within time.Duration) (Event, bool) {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		c.mu.Lock()
		for i, e := range c.events {
			if wanted(e) {
				c.events = append(c.events[:i:i], c.events[i+1:]...)
				c.mu.Unlock()
				return e, true
			}
		}
		c.mu.Unlock()
		select {
		case <-c.kick:
		case <-late.C:
			return Event{}, false
		case <-c.done:
			c.mu.Lock()
			left := len(c.events)
			c.mu.Unlock()
			if left == 0 {
				return Event{}, false
			}
			select { // what came last is looked at once more
			case <-c.kick:
			case <-late.C:
				return Event{}, false
			case <-time.After(50 * time.Millisecond):
				return Event{}, false
			}
		}
	}
}

func (c *client) send(cmd Command) error {
	b, err := json.Marshal(cmd)
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	if _, err := c.d.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("driver: %w", err)
	}
	return nil
}

func (c *client) end() {
	c.d.Close()
	<-c.done
}
