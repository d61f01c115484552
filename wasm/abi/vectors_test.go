package abi_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

var update = flag.Bool("update", false, "write the bytes of testdata/vectors.json and ABI.md anew; look at the difference")

// vector is a frame and its bytes, or an output and its bytes.
type vector struct {
	Name  string          `json:"name"`
	Frame json.RawMessage `json:"frame,omitempty"` // a case of package fixture
	Out   *output         `json:"out,omitempty"`
	Hex   string          `json:"hex"`
}

// output is a list of TLVs, in the order of the fields.
type output struct {
	Payload *string    `json:"payload,omitempty"`
	Tags    *abi.Tags  `json:"tags,omitempty"`
	Match   *abi.Match `json:"match,omitempty"`
	Reason  *string    `json:"reason,omitempty"`
	Fan     []struct {
		Channel string `json:"channel"`
		Payload string `json:"payload"`
	} `json:"fan,omitempty"`
}

func (o *output) bytes() []byte {
	var b []byte
	if o.Payload != nil {
		b = abi.AppendTLV(b, abi.TLVPayload, []byte(*o.Payload))
	}
	if o.Tags != nil {
		b = abi.AppendTags(b, o.Tags)
	}
	if o.Match != nil {
		b = abi.AppendMatch(b, o.Match)
	}
	if o.Reason != nil {
		b = abi.AppendTLV(b, abi.TLVReason, []byte(*o.Reason))
	}
	for _, f := range o.Fan {
		b = abi.AppendFanOut(b, f.Channel, []byte(f.Payload))
	}
	return b
}

func frameCase(t *testing.T, text []byte) fixture.Case {
	t.Helper()
	cases, err := fixture.Read(bytes.NewReader(text))
	if err != nil || len(cases) != 1 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	return cases[0]
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no vectors")
	}
	return all
}

func TestVectors(t *testing.T) {
	all := readVectors(t)
	for i := range all {
		v := &all[i]
		t.Run(v.Name, func(t *testing.T) {
			var got []byte
			if v.Out != nil {
				got = v.Out.bytes()
			} else {
				c := frameCase(t, oneLine(t, v.Frame))
				buf := make([]byte, abi.InBuffer)
				for i := range buf {
					buf[i] = 0xa5 // what was there before must not matter
				}
				n, err := c.Encode(buf)
				if err != nil {
					t.Fatal(err)
				}
				got = buf[:n]
				readBack(t, c, got)
			}
			if *update {
				v.Hex = hex.EncodeToString(got)
			}
			if hex.EncodeToString(got) != v.Hex {
				t.Errorf("encoded as\n%x, want\n%s", got, v.Hex)
			}
		})
	}
	if *update {
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(all); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/vectors.json", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func oneLine(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readBack compares what a guest reads with what the case says.
func readBack(t *testing.T, c fixture.Case, frame []byte) {
	t.Helper()
	f := abi.Frame(frame)
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	if f.Hook() != c.ABIHook() || f.HeaderLen() != abi.HeaderLen || f[abi.OffVersion] != abi.Version {
		t.Errorf("hook %s, header %d, version %d", f.Hook(), f.HeaderLen(), f[abi.OffVersion])
	}
	if f.Hook() == abi.PublishBatch {
		for i, m := range c.Messages {
			readBack(t, m, f.Message(i)[:len(f.Message(i)):len(f.Message(i))])
		}
		return
	}
	for at, want := range map[int]string{
		abi.OffChannel: c.Channel, abi.OffClient: c.Client, abi.OffClaims: string(c.Claims), abi.OffEvent: c.Event,
		abi.OffUser: c.User, abi.OffKey: c.Key, abi.OffID: c.ID,
	} {
		if got := string(f.Ref(at)); got != want {
			t.Errorf("reference at %d: %q, want %q", at, got, want)
		}
	}
	if got := f.Ref(abi.OffPayload); c.Payload != nil && !bytes.Equal(got, c.Payload) {
		t.Errorf("payload %q, want %q", got, c.Payload)
	}
	if want := map[bool]uint32{true: abi.FlagBinary}[c.Binary]; f.Flags()&abi.FlagBinary != want {
		t.Errorf("flags %#x", f.Flags())
	}
	if f.Tick() != c.Tick && f.Tick() != c.Now*1000 || f.Now() != c.Now {
		t.Errorf("tick %d, now %d", f.Tick(), f.Now())
	}
	for i, want := range c.Readers {
		tags, user := f.Reader(i)
		if tags.Bits != want.Tags || tags.Level != want.Level || tags.Group != want.Group ||
			!bytes.Equal(tags.Ext, want.Ext) || user != abi.HashUser(want.User) {
			t.Errorf("reader %d: %+v, user %#x", i, tags, user)
		}
	}
}

var (
	block = regexp.MustCompile("(?s)<!-- vector: ([a-z-]+) -->\n```\n(.*?)```")
	words = regexp.MustCompile("(?m)^[0-9a-f]{4}  ((?:[0-9a-f]{2} {1,2})+)")
)

// The dumps of ABI.md are the vectors of the same names.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for _, v := range readVectors(t) {
		known[v.Name] = v.Hex
	}
	blocks := block.FindAllSubmatch(text, -1)
	if len(blocks) < 3 {
		t.Fatalf("%d dumps in ABI.md", len(blocks))
	}
	for _, b := range blocks {
		name := string(b[1])
		var got strings.Builder
		for _, line := range words.FindAllSubmatch(b[2], -1) {
			got.WriteString(strings.ReplaceAll(string(line[1]), " ", ""))
		}
		if got.String() != known[name] && !*update {
			t.Errorf("%s:\n%s, want\n%s", name, got.String(), known[name])
		}
	}
	if !*update {
		return
	}
	text = block.ReplaceAllFunc(text, func(b []byte) []byte {
		name := string(block.FindSubmatch(b)[1])
		raw, _ := hex.DecodeString(known[name])
		return []byte("<!-- vector: " + name + " -->\n```\n" + dump(raw) + "```")
	})
	if err := os.WriteFile("../ABI.md", text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// dump is hex.Dump with offsets of four digits.
func dump(b []byte) string {
	var out strings.Builder
	for line := range strings.Lines(hex.Dump(b)) {
		line = strings.TrimRight(line, "\n")
		if len(line) > 10 {
			out.WriteString(line[4:] + "\n")
		}
	}
	return out.String()
}

// The examples of ABI §6.3.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		word  uint64
		v     abi.Verdict
		flags uint8
		code  uint16
		n     uint32
	}{
		{0x0000000000000001, abi.Allow, 0, 0, 0},
		{0x0000000000000002, abi.Drop, 0, 0, 0},
		{0x0000000901930003, abi.Deny, 0, 403, 9},
		{0x0000001600000004, abi.Replace, 0, 0, 22},
		{0x0000000100000005, abi.Bitmap, 0, 0, 1},
		{0x0000002400000206, abi.Matched, abi.VerdictTLV, 0, 36},
		{0xffffffffffffffff, 255, 255, 65535, 1<<32 - 1},
	} {
		if w := abi.Word(c.v, c.flags, c.code, c.n); w != c.word {
			t.Errorf("%#016x, want %#016x", w, c.word)
		}
		if v, flags, code, n := abi.Unword(c.word); v != c.v || flags != c.flags || code != c.code || n != c.n {
			t.Errorf("%#016x is %v %d %d %d", c.word, v, flags, code, n)
		}
	}
}
