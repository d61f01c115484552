package chappe

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"
)

// top is the worst luck: all of the ceiling.
func top(d time.Duration) time.Duration { return d }

func TestBackoff(t *testing.T) {
	failed := loss{err: errors.New("refused")}
	p := newPacer([]string{"http://a"}, top)
	for _, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, backoffCap, backoffCap} {
		if got := p.next(failed, 0); got != want {
			t.Errorf("waits up to %s, want %s", got, want)
		}
	}
	p.welcomed(p.target(), time.Second, nil)
	if got := p.next(failed, 9*time.Second); got != backoffCap {
		t.Errorf("a connection of 9 s is not stable, yet: up to %s", got)
	}
	if got := p.next(failed, 10*time.Second); got != time.Second {
		t.Errorf("after a stable connection: up to %s, want the window", got)
	}
	if got := p.next(failed, 0); got != time.Second {
		t.Errorf("then backoff again: up to %s", got)
	}
	p.welcomed(p.target(), 2*time.Minute, nil)
	if got := p.next(failed, time.Second); got != 2*time.Minute {
		t.Errorf("a window longer than the backoff: up to %s", got)
	}
	if got := p.next(loss{delay: 42 * time.Second}, time.Hour); got != 42*time.Second {
		t.Errorf("told 42 s: %s", got)
	}
	for range 100 {
		if got := p.next(failed, 0); got > backoffCap {
			t.Fatalf("up to %s", got)
		}
	}
}

// Each relay is asked once in a round, and only then the waits grow: a client is
// soon where one works, and a relay that fails sees it less and less.
func TestBackoffIsByRounds(t *testing.T) {
	failed := loss{err: errors.New("refused")}
	p := newPacer([]string{"http://a", "http://b", "http://c"}, top)
	p.welcomed("http://b", time.Second, nil)
	if got := p.next(failed, time.Minute); got != time.Second || p.target() != "http://b" {
		t.Errorf("the first attempt is in up to %s at %s", got, p.target())
	}
	for i, want := range []struct {
		at   string
		wait time.Duration
	}{{"http://a", 1000}, {"http://c", 1000}, {"http://b", 1000}, {"http://a", 2000}, {"http://c", 2000}, {"http://b", 2000}, {"http://a", 4000}} {
		if got := p.next(failed, 0); got != want.wait*time.Millisecond || p.target() != want.at {
			t.Errorf("failure %d: in up to %s at %s, want %+v", i+1, got, p.target(), want)
		}
	}
}

// A relay that drains and names no other is not the one to go to, if there is one.
func TestDrainWithoutAlternatives(t *testing.T) {
	p := newPacer([]string{"http://a", "http://b"}, top)
	p.welcomed("http://a", time.Second, nil)
	if got := p.next(loss{drained: true}, time.Minute); got != 0 || p.target() != "http://b" {
		t.Errorf("in %s at %s", got, p.target())
	}
}

func TestDrainThatFlapsIsAFault(t *testing.T) {
	p := newPacer([]string{"http://a"}, top)
	p.welcomed(p.target(), 5*time.Second, nil)
	if got := p.next(loss{drained: true}, 10*time.Second); got != 0 {
		t.Errorf("a drain: %s", got)
	}
	if got := p.next(loss{drained: true}, time.Millisecond); got != 5*time.Second {
		t.Errorf("a drain right behind the welcome: up to %s, want the window", got)
	}
}

func TestToldURLs(t *testing.T) {
	told := []string{"https://good/", "wss://also", "http://clear", "//none", "ftp://x", ":", "https://"}
	if got, want := acceptable("https://a", told), []string{"https://good", "https://also"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := acceptable("http://a", []string{"http://clear"}); len(got) != 1 {
		t.Errorf("from the clear into the clear: %v", got)
	}
}

func TestRound(t *testing.T) {
	p := newPacer([]string{"https://a", "https://b"}, top)
	failed := loss{err: errors.New("refused")}
	var tried []string
	for range 3 {
		tried = append(tried, p.target())
		p.next(failed, 0)
	}
	p.welcomed(p.target(), time.Second, []string{"https://z", "https://a"}) // b
	p.next(failed, time.Minute)
	for range 4 {
		tried = append(tried, p.target())
		p.next(failed, 0)
	}
	p.next(loss{drained: true, moved: []string{"https://m"}}, time.Minute)
	tried = append(tried, p.target())
	p.next(loss{auth: true}, 0)
	tried = append(tried, p.target())
	want := []string{"https://a", "https://b", "https://a", "https://b", "https://z", "https://a", "https://b", "https://m", "https://m"}
	if !slices.Equal(tried, want) {
		t.Errorf("tried %v, want %v", tried, want)
	}
}

func TestRetryAfter(t *testing.T) {
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	if got := retryAfter(date); got < 85*time.Second || got > 90*time.Second {
		t.Errorf("a date 90 s away: %s", got)
	}
	for in, want := range map[string]time.Duration{"": 0, "x": 0, "-3": 0, "7": 7 * time.Second, "999999999999999999": maxAdvice} {
		if got := retryAfter(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for _, c := range []*Client{
		New("relay.example", Options{}), New("http://", Options{}), New("http://a", Options{Transport: "carrier pigeon"}),
		New("http://a", Options{Format: "xml"}), New("http://a", Options{Regions: []string{"gopher://b"}}),
	} {
		if _, err := c.Subscribe(t.Context(), "x", SubOptions{}); err == nil {
			t.Error("no error")
		}
		if _, err := c.Publish(t.Context(), "x", Message{}); err == nil {
			t.Error("no error")
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
