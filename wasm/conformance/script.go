package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// script is a case for script.wasm, the guest that answers what it is told.
type script struct {
	Name  string        `json:"name"`
	Hook  string        `json:"hook"`
	Count uint32        `json:"count"` // readers or messages
	Word  string        `json:"word"`
	Out   string        `json:"out"`   // hex
	Fill  int           `json:"fill"`  // zeros behind it
	Key   string        `json:"key"`   // instead: what the guest does otherwise
	Fresh bool          `json:"fresh"` // for people: needs a new instance
	Fault bool          `json:"fault"` // the host must find it
	Want  *fixture.Want `json:"want"`
	// Messages of a batch, in order.
	Messages []struct {
		Fault bool          `json:"fault"`
		Want  *fixture.Want `json:"want"`
	} `json:"messages"`
}

// Run tests a host.
func Run(t *testing.T, host Host) {
	t.Run("answers", func(t *testing.T) { runScripts(t, host) })
	t.Run("calls", func(t *testing.T) { runCalls(t, host) })
}

func runScripts(t *testing.T, host Host) {
	g, err := host.Load(file("script.wasm"), nil)
	if err != nil {
		t.Fatalf("load script.wasm: %v", err)
	}
	defer g.Close()
	for _, c := range load[script](t, "host.jsonl") {
		t.Run(c.Name, func(t *testing.T) {
			if err := c.run(g); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("frames arrive whole", func(t *testing.T) {
		if err := echo(g); err != nil {
			t.Error(err)
		}
	})
}

// run says what the host does wrong.
func (c *script) run(g Guest) error {
	frame, err := c.frame()
	if err != nil {
		return err
	}
	h, _ := abi.ParseHook(c.Hook)
	word, out, err := g.Call(h, frame)
	switch {
	case c.Fault && err == nil:
		return fmt.Errorf("the host took the word %#016x", word)
	case c.Fault:
		return nil
	case err != nil:
		return err
	case h == abi.PublishBatch:
		return c.batch(word, out)
	}
	return c.compare(word, out, h, c.Want)
}

func (c *script) compare(word uint64, out []byte, h abi.Hook, want *fixture.Want) error {
	x := fixture.Case{Hook: h.String(), Want: want, Readers: make([]fixture.Reader, c.Count)}
	return x.Check(word, out, nil)
}

func (c *script) batch(word uint64, out []byte) error {
	var a abi.Answers
	if err := a.Parse(word, out, int(c.Count)); err != nil {
		return err
	}
	if a.Len() != len(c.Messages) {
		return fmt.Errorf("%d messages answered, want %d", a.Len(), len(c.Messages))
	}
	var all []error
	for i, m := range c.Messages {
		var r abi.Result
		_, err := a.Next(&r)
		switch {
		case m.Fault && err == nil:
			err = errors.New("no fault")
		case m.Fault:
			err = nil
		case err == nil:
			x := fixture.Case{Hook: "publish", Want: m.Want}
			err = x.Compare(&r, nil)
		}
		if err != nil {
			all = append(all, fmt.Errorf("message %d: %w", i, err))
		}
	}
	return errors.Join(all...)
}

// frame has the script as payload, whatever the hook; ABI §5 would not have it so.
func (c *script) frame() ([]byte, error) {
	h, ok := abi.ParseHook(c.Hook)
	if !ok {
		return nil, fmt.Errorf("unknown hook %q", c.Hook)
	}
	e := abi.Event{Now: fixture.Epoch, Key: c.Key, Channel: "c", Arg0: c.Count}
	if c.Key == "" {
		word, err := strconv.ParseUint(c.Word, 0, 64)
		if err != nil {
			return nil, err
		}
		out, err := hex.DecodeString(c.Out)
		if err != nil {
			return nil, err
		}
		e.Payload = append(binary.LittleEndian.AppendUint64(nil, word), out...)
		e.Payload = append(e.Payload, make([]byte, c.Fill)...)
	}
	if h != abi.Deliver {
		return abi.AppendFrame(nil, h, &e), nil
	}
	var r abi.Readers
	buf := make([]byte, abi.InBuffer)
	r.Reset(buf, int(c.Count), e.Size())
	for i := range c.Count {
		r.Add(uint64(i), i, i, 0, nil)
	}
	n, err := r.Encode(&e)
	return buf[:n], err
}

// echo has the guest answer with the frame: the shortest, and up to one that
// fills the output.
func echo(g Guest) error {
	for _, size := range []int{0, 1, 128, 4096, abi.OutBuffer - abi.HeaderLen - 1} {
		e := abi.Event{Now: fixture.Epoch, Key: "f", Payload: make([]byte, size)}
		for i := range e.Payload {
			e.Payload[i] = byte(i * 7)
		}
		frame := abi.AppendFrame(nil, abi.Publish, &e)
		word, out, err := g.Call(abi.Publish, frame)
		var r abi.Result
		if err == nil {
			err = r.Parse(word, out, abi.Publish, 0)
		}
		if err != nil {
			return fmt.Errorf("frame of %d bytes: %w", len(frame), err)
		}
		if !bytes.Equal(r.Payload, frame) {
			return fmt.Errorf("frame of %d bytes: came back as %d others", len(frame), len(r.Payload))
		}
	}
	return nil
}
