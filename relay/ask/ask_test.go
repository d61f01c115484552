package ask

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/chappe-relay/chappe/relay/position"
)

func request(query, id string) *http.Request {
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/v1/sse", RawQuery: query}, Header: http.Header{}}
	if id != "" {
		r.Header.Set("Last-Event-ID", id)
	}
	return r
}

func TestTheHeaderWins(t *testing.T) {
	var old, new position.Position
	old.Raise(1, 10)
	new.Raise(1, 20)
	a, err := Read(request("channel=a&channel=b&channel=a&last=5&policy=latest&presence=1&raw=1&cursor="+old.Cursor(), new.Cursor()))
	if err != nil {
		t.Fatal(err)
	}
	if a.Hello.Cursor != new.Cursor() || len(a.Hello.Subs) != 2 || !a.Raw {
		t.Errorf("got %+v", a)
	}
	for _, s := range a.Hello.Subs {
		if s.Last != 0 || s.Cursor != "" || s.Policy != "latest" || !s.Presence {
			t.Errorf("sub %+v: last is for the first visit, the cursor for the whole stream", s)
		}
	}
	if a, err = Read(request("channel=a&last=5", "")); err != nil || a.Hello.Subs[0].Last != 5 {
		t.Errorf("first visit: %+v, %v", a, err)
	}
}

// FuzzRead: whatever is asked, the answer is a stream or a coded refusal.
func FuzzRead(f *testing.F) {
	f.Add("channel=a&channel=b.*&last=3", "")
	f.Add("channel=%zz", "x")
	f.Add("cursor=AYrA39mToNcBAWe8d-l7Hq_yAQDTUg&raw=2", "")
	f.Add("last=99999999999999999999&presence=1;", "AYrA39mToNcBAWe8d-l7Hq_yAQDTUg")
	f.Fuzz(func(t *testing.T, query, id string) {
		a, err := Read(request(query, id))
		if err != nil {
			if err.Code == "" || err.Text == "" {
				t.Errorf("a refusal without a code: %+v", err)
			}
			return
		}
		if a.Hello.Cursor != "" {
			if _, perr := position.Parse(a.Hello.Cursor); perr != nil {
				t.Errorf("took the cursor %q: %v", a.Hello.Cursor, perr)
			}
		}
		seen := make(map[string]bool)
		for _, s := range a.Hello.Subs {
			if seen[s.Channel] || s.Last < 0 || a.Hello.Cursor != "" && s.Last != 0 {
				t.Errorf("sub %+v", s)
			}
			seen[s.Channel] = true
		}
	})
}
