package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// config is what calls.wasm is loaded with.
const config = `{"text":"a\"b","number":12,"object":{"a":[1,2]},"no":false,"empty":""}`

// call is a case for calls.wasm, the guest that calls the host as it is told.
type call struct {
	Name string `json:"name"`
	Op   string `json:"op"`
	Now  uint64 `json:"now"`
	A    int32  `json:"a"`
	B    int32  `json:"b"`
	C    int32  `json:"c"`
	D    int32  `json:"d"`
	E    int32  `json:"e"`
	F    int64  `json:"f"`
	Data string `json:"data"`
	Fill int    `json:"fill"` // zeros behind it
	Use  string `json:"use"`  // a is the result saved by this name

	Want   *int64  `json:"want"`
	Least  *int64  `json:"least"`
	Got    *string `json:"got"`
	GotHex string  `json:"gothex"`
	Save   string  `json:"save"` // the result, by a name
	Same   string  `json:"same"` // as the one saved
	Differ string  `json:"differ"`
	Fault  bool    `json:"fault"` // the guest must be stopped

	Clock  bool  `json:"clock"`
	Log    *Line `json:"log"`
	Metric *struct {
		Name  string `json:"name"`
		Value int64  `json:"value"`
	} `json:"metric"`
}

func runCalls(t *testing.T, host Host) {
	g, err := host.Load(file("calls.wasm"), []byte(config))
	if err != nil {
		t.Fatalf("load calls.wasm: %v", err)
	}
	defer g.Close()
	clock, _ := g.(Clock)
	saved := map[string]int64{}
	for _, c := range load[call](t, "calls.jsonl") {
		t.Run(c.Name, func(t *testing.T) {
			if c.Clock && (clock == nil || !clock.FollowsFrames()) {
				t.Skip("the host's store does not follow the time in the frames")
			}
			if err := c.run(g, saved); err != nil {
				t.Error(err)
			}
		})
	}
}

// run says what the host does wrong.
func (c *call) run(g Guest, saved map[string]int64) error {
	o, _ := g.(Observer)
	if o != nil {
		o.Log()
	}
	word, out, err := g.Call(abi.Publish, c.frame(saved))
	if c.Fault {
		if err == nil {
			return errors.New("the guest was not stopped")
		}
		return nil
	}
	var r abi.Result
	if err == nil {
		err = r.Parse(word, out, abi.Publish, 0)
	}
	if err != nil {
		return err
	}
	if r.Verdict != abi.Replace || len(r.Payload) < 8 {
		return fmt.Errorf("verdict %s with %d bytes: the host did not run calls.wasm", r.Verdict, len(r.Payload))
	}
	result, got := int64(binary.LittleEndian.Uint64(r.Payload)), r.Payload[8:]
	all := c.check(result, got, saved)
	if c.Save != "" {
		saved[c.Save] = result
	}
	if o != nil {
		all = append(all, c.observe(o)...)
	}
	return errors.Join(all...)
}

func (c *call) check(result int64, got []byte, saved map[string]int64) (all []error) {
	wrong := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }
	if c.Want != nil && result != *c.Want {
		wrong("result %d, want %d", result, *c.Want)
	}
	if c.Least != nil && result < *c.Least {
		wrong("result %d, want at least %d", result, *c.Least)
	}
	if c.Got != nil && string(got) != *c.Got {
		wrong("got %q, want %q", got, *c.Got)
	}
	if c.GotHex != "" && hex.EncodeToString(got) != c.GotHex {
		wrong("got %x, want %s", got, c.GotHex)
	}
	if c.Same != "" && result != saved[c.Same] {
		wrong("result %d, want %d as %s", result, saved[c.Same], c.Same)
	}
	if c.Differ != "" && result == saved[c.Differ] {
		wrong("result %d, as %s", result, c.Differ)
	}
	return all
}

func (c *call) observe(o Observer) (all []error) {
	if c.Log != nil {
		if lines := o.Log(); !slices.Contains(lines, *c.Log) {
			all = append(all, fmt.Errorf("log %v, want %v", lines, *c.Log))
		}
	}
	if c.Metric != nil {
		if v := o.Metric(c.Metric.Name); v != c.Metric.Value {
			all = append(all, fmt.Errorf("metric %s is %d, want %d", c.Metric.Name, v, c.Metric.Value))
		}
	}
	return all
}

func (c *call) frame(saved map[string]int64) []byte {
	a := c.A
	if c.Use != "" {
		a = int32(saved[c.Use])
	}
	le := binary.LittleEndian
	var p []byte
	for _, v := range []int32{a, c.B, c.C, c.D, c.E, 0} {
		p = le.AppendUint32(p, uint32(v))
	}
	p = le.AppendUint64(p, uint64(c.F))
	p = append(p, c.Data...)
	p = append(p, make([]byte, c.Fill)...)
	now := c.Now
	if now == 0 {
		now = fixture.Epoch
	}
	e := abi.Event{Now: now, Key: c.Op, Channel: "c", Payload: p}
	return abi.AppendFrame(nil, abi.Publish, &e)
}
