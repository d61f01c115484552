package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// Sandbox calls one guest directly, one call at a time, with the limits of a node
// but no failure policy and no breaker: for self-tests, tools and benchmarks.
type Sandbox struct {
	v     *Version
	in    *instance
	lines []Line
	owned bool // Close ends the version too
}

// Line is one line of a guest's log.
type Line struct {
	Level plugins.Level
	Text  string
}

// maxLines is how many lines of one call are kept.
const maxLines = 1000

// Outcome is what one recorded frame came to.
type Outcome struct {
	Verdict abi.Verdict
	Fuel    int64
	Time    time.Duration // of the guest's call
	Memory  uint64        // bytes of the instance afterwards
	Log     []Line
	Err     error // how it differs from what the frame wants, or why the call failed
}

// NewSandbox makes a version and one instance of it to call.
func (e *Engine) NewSandbox(ctx context.Context, s Spec) (*Sandbox, error) {
	s.Limits.Lanes = 1
	v, err := e.Make(ctx, s)
	if err != nil {
		return nil, err
	}
	return &Sandbox{v: v, owned: true}, nil
}

// Version returns what is being called.
func (s *Sandbox) Version() *Version { return s.v }

// Close ends it.
func (s *Sandbox) Close() {
	s.drop()
	if s.owned {
		s.v.Close()
	}
}

func (s *Sandbox) drop() {
	if s.in != nil {
		s.in.close()
		s.in = nil
	}
}

// Log returns the lines since it was last called.
func (s *Sandbox) Log() []Line {
	out := s.lines
	s.lines = nil
	return out
}

// Metric returns the value of a metric that the guest defined.
func (s *Sandbox) Metric(name string) int64 {
	for _, m := range s.v.metrics.snapshot() {
		if m.Name == name {
			return m.Value
		}
	}
	return 0
}

// Begin makes a new instance, with another configuration if config is not nil.
func (s *Sandbox) Begin(config []byte) error {
	s.drop()
	if config != nil {
		s.v.config, s.v.members = config, members(config)
	}
	in, err := s.v.newInstance()
	if err != nil {
		return err
	}
	in.collect = func(level uint32, text []byte) {
		if len(s.lines) < maxLines {
			s.lines = append(s.lines, Line{plugins.Level(level), string(text)})
		}
	}
	s.in = in
	return nil
}

// Call calls a hook with a frame. A trap and an answer that is not of the ABI are
// errors, and end the instance: the next call has another. The output is the
// out-buffer; it holds until the next call.
func (s *Sandbox) Call(h abi.Hook, frame []byte) (word uint64, out []byte, err error) {
	if s.in == nil {
		if err := s.Begin(nil); err != nil {
			return 0, nil, err
		}
	}
	in := s.in
	if in.hooks[h] == nil {
		return 0, nil, fmt.Errorf("the module does not export %s", h.Export())
	}
	if len(frame) > abi.InBuffer {
		return 0, nil, abi.FaultTooBig
	}
	f := abi.Frame(frame)
	in.now = f.Now()
	copy(in.buffer(), frame)
	readers := int(f.Arg0())
	if h == abi.PublishBatch {
		in.many = int64(readers)
	}
	err = in.call(h, len(frame), readers)
	in.many = 0
	in.used()
	word, out = in.stack[0], in.output()
	if err == nil && h == abi.PublishBatch {
		var a abi.Answers
		err = a.Parse(word, out, readers)
	}
	if err != nil {
		if len(in.result.Reason) > 0 && errors.Is(err, abi.FaultGuest) {
			err = fmt.Errorf("%w: %s", err, in.result.Reason)
		}
		s.drop() // with its memory: no view of it may leave
		out = nil
	}
	return word, out, err
}

// Run plays one recorded frame. A line with hook init begins a new instance.
func (s *Sandbox) Run(c *fixture.Case) (o Outcome) {
	h := c.ABIHook()
	s.lines = nil
	defer func() {
		o.Log = s.lines
		texts := make([]string, len(o.Log))
		for i := range o.Log {
			texts[i] = o.Log[i].Text
		}
		o.Err = errors.Join(o.Err, c.CheckLines(texts))
	}()
	if h == abi.Init {
		config := []byte(c.Payload)
		if len(config) == 0 {
			config = []byte("{}")
		}
		begun := time.Now()
		err := s.Begin(config)
		o.Time = time.Since(begun)
		o.Verdict, o.Err = abi.Allow, err
		if c.Want != nil && c.Want.Verdict != abi.Allow.String() {
			o.Verdict, o.Err = abi.Deny, nil
			if err == nil {
				o.Verdict, o.Err = abi.Allow, fmt.Errorf("the configuration is taken, want %s", c.Want.Verdict)
			}
		}
		if s.in != nil {
			o.Fuel, o.Memory = s.in.used(), uint64(s.in.mem.Size())
		}
		return o
	}
	frame := make([]byte, abi.InBuffer)
	n, err := c.Encode(frame)
	if err != nil {
		o.Err = err
		return o
	}
	if s.in == nil {
		if o.Err = s.Begin(nil); o.Err != nil {
			return o
		}
	}
	in := s.in
	begun := time.Now()
	word, out, err := s.Call(h, frame[:n])
	o.Time = time.Since(begun)
	o.Fuel = in.used()
	o.Verdict, _, _, _ = abi.Unword(word)
	if err != nil {
		o.Verdict = abi.Error
	} else {
		o.Memory = uint64(in.mem.Size())
	}
	o.Err = c.Check(word, out, err)
	return o
}

// Test plays recorded frames on an instance of its own. See plugins.Guest.
func (v *Version) Test(ctx context.Context, cases []fixture.Case) error {
	s := &Sandbox{v: v}
	config, parts := v.config, v.members
	defer func() {
		s.drop()
		v.config, v.members = config, parts
	}()
	for i := range cases {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if o := s.Run(&cases[i]); o.Err != nil {
			return fmt.Errorf("frame %d (%s): %w", i+1, cases[i].Hook, o.Err)
		}
	}
	return nil
}
