package edge

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// stream is an event stream as curl reads it.
type stream struct {
	r       *region
	lines   *bufio.Scanner
	kept    []string // frames that came and were not asked for yet
	session string
}

// listen opens one, and reads its welcome.
func (r *region) listen(user, query string) *stream {
	r.t.Helper()
	ctx, stop := context.WithTimeout(r.t.Context(), within)
	r.t.Cleanup(stop)
	req, err := http.NewRequestWithContext(ctx, "GET", r.url()+"/v1/sse?"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token(user, ""))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { res.Body.Close() })
	s := &stream{r: r, lines: bufio.NewScanner(res.Body)}
	var w struct{ Session string }
	if err := json.Unmarshal([]byte(s.next("welcome", "")), &w); err != nil || w.Session == "" {
		r.t.Fatalf("%+v, %v", w, err)
	}
	s.session = w.Session
	return s
}

// next returns the next frame of a type, with a text in it. What comes meanwhile is
// kept: answers and messages have no order among themselves.
func (s *stream) next(kind, with string) string {
	s.r.t.Helper()
	wanted := func(data string) bool {
		return strings.Contains(data, `"t":"`+kind+`"`) && strings.Contains(data, with)
	}
	if i := slices.IndexFunc(s.kept, wanted); i >= 0 {
		data := s.kept[i]
		s.kept = slices.Delete(s.kept, i, i+1)
		return data
	}
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			if wanted(data) {
				return data
			}
			s.kept = append(s.kept, data)
		}
	}
	s.r.t.Fatalf("%s: no %s with %s comes: %v", s.r.name(), kind, with, s.lines.Err())
	return ""
}

// upstream posts frames of a session at a node, and returns the status and body.
func (r *region) upstream(user, session, frames string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequest("POST", r.url()+"/v1/session/"+session, strings.NewReader(frames))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token(user, ""))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// reaches posts frames until the session's node is heard: on a busy machine it may
// not be for a moment, and then the answer says so.
func (r *region) reaches(user, session, frames, want string) {
	r.t.Helper()
	r.eventually("frames reach the session", func() bool {
		status, body := r.upstream(user, session, frames)
		if status == 404 && strings.Contains(body, "is not reached") {
			return false
		}
		if status != 200 || strings.TrimSpace(body) != want {
			r.t.Fatalf("%s: %d %s", r.name(), status, body)
		}
		return true
	})
}

// What a client of an event stream has to say may be posted at any node of any
// region: it reaches the session where that is.
func TestFramesArePostedAnywhere(t *testing.T) {
	t.Parallel()
	ap, eu, eu2, between := twoRegions(t, nil)
	s, at2 := ap.listen("ann", "channel=rides.1"), eu2.listen("ann", "channel=rides.1")
	for i, at := range []*region{eu, eu2, ap} {
		channel := []string{"more.0", "more.1", "more.2"}[i]
		at.reaches("ann", s.session, `[{"t":"sub","ref":7,"channel":"`+channel+`"},{"t":"pub","ref":8,"channel":"`+channel+`","data":"from `+at.name()+`"}]`, `{"accepted":2}`)
		s.next("subbed", channel)
		s.next("ack", `"ref":8`)
		s.next("msg", `"data":"from `+at.name()+`"`)
	}
	eu.reaches("ann", at2.session, `{"t":"sub","ref":1,"channel":"more.3"}`, `{"accepted":1}`)
	at2.next("subbed", "more.3")
	for name, c := range map[string]struct {
		user, session, frames, code string
		status                      int
	}{
		"another client's":             {"bob", s.session, `{"t":"pong"}`, "forbidden", 403},
		"not frames":                   {"ann", s.session, `{`, "bad_json", 400},
		"a frame that is the server's": {"ann", s.session, `{"t":"msg"}`, "bad_frame", 400},
		"no session of that node":      {"ann", s.session[:len(s.session)-4] + "AAAA", `{"t":"pong"}`, "no_session", 404},
		"no node of ours":              {"ann", strings.Repeat("A", 32), `{"t":"pong"}`, "no_session", 404},
		"no session id at all":         {"ann", "x", `{"t":"pong"}`, "no_session", 404},
	} {
		if status, body := eu.upstream(c.user, c.session, c.frames); status != c.status || !strings.Contains(body, `"code":"`+c.code+`"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	// The node of the session is not reached, and then it is no more: told by a code
	// after which the client opens its stream anew.
	between.cut(true)
	eu.eventually("ap is not heard", func() bool { return len(eu.node.join.Missing()) == 1 })
	if status, body := eu.upstream("ann", s.session, `{"t":"pong"}`); status != 404 || !strings.Contains(body, `"code":"no_session"`) || !strings.Contains(body, `"retry_ms":`) {
		t.Errorf("it is not reached: %d %s", status, body)
	}
	between.cut(false)
	eu.reaches("ann", s.session, `{"t":"sub","ref":1,"channel":"more.4"}`, `{"accepted":1}`)
	s.next("subbed", "more.4")
	ap.stop()
	if status, body := eu.upstream("ann", s.session, `{"t":"pong"}`); status != 404 || !strings.Contains(body, `"code":"no_session"`) {
		t.Errorf("it has ended: %d %s", status, body)
	}
}
