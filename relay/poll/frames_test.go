package poll

import (
	"bytes"
	"testing"

	"github.com/chappe-relay/chappe/relay/wire"
)

// FuzzEach: frames are found again as they were put together, whatever is in them.
func FuzzEach(f *testing.F) {
	f.Add("news", []byte(`{"a":[1,2,{"b":"},{"}]}`), "a text with \" and \\ and },{")
	f.Add("", []byte("\xff\x00"), "")
	f.Fuzz(func(t *testing.T, channel string, data []byte, text string) {
		frames := []wire.Frame{
			&wire.Subbed{Channel: channel},
			&wire.Msg{Channel: channel, Data: data, Key: text},
			&wire.Err{Code: wire.CodeInternal, Text: text},
			&wire.Gap{Channels: []string{channel, text}},
		}
		var all []byte
		var want [][]byte
		for _, fr := range frames {
			want = append(want, wire.AppendJSON(nil, fr))
			all = append(wire.AppendJSON(all, fr), ',')
		}
		i := 0
		for got := range each(all) {
			if i >= len(want) || !bytes.Equal(got, want[i]) {
				t.Fatalf("frame %d: %q, want %q", i, got, want[min(i, len(want)-1)])
			}
			if k := kind(got); k != []string{"subbed", "msg", "err", "gap"}[i] {
				t.Errorf("frame %d is a %q", i, k)
			}
			i++
		}
		if i != len(want) {
			t.Errorf("%d frames, want %d", i, len(want))
		}
	})
}
