package plugins_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/relaytest"
	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// viewer is a token of somebody who sees within a radius of a place.
func viewer(t *testing.T, secret []byte, user string, lat, lon, radius float64) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "exp": time.Now().Add(time.Hour).Unix(), "lat": lat, "lon": lon, "radius_m": radius,
		"chappe": map[string]any{"grants": []map[string]any{{"channels": []string{"rides.>"}, "actions": []string{"subscribe", "history"}}}},
	})
	text, err := token.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A whole relay with the geofence plugin: what a client gets live, after a cut, by
// rewind and from history is the same, on every transport, and nothing is told lost.
func TestGeofenceOnARelay(t *testing.T) {
	wasm, err := os.ReadFile("../wasm/examples/geofence/geofence.wasm")
	if err != nil {
		t.Fatal(err)
	}
	host := newReal(t, false)
	host.bind("geofence", host.push("geofence", wasm, ""), 0, "rides.>")
	secret := []byte("0123456789abcdef0123456789abcdef")
	cfg := relaytest.Open()
	cfg.Policy = host.Host
	cfg.Auth = auth.Config{Keys: []auth.Key{{Algorithm: "HS256", Secret: secret}}, Secret: secret}
	s := relaytest.New(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := func(user string, lat float64, transport string) *chappe.Client {
		c := chappe.New(relaytest.URL, chappe.Options{Token: viewer(t, secret, user, lat, 2.35, 1000), Transport: transport, Dialer: s.Dial})
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			c.Close(ctx)
		})
		return c
	}
	take := func(sub *chappe.Subscription, n int) (out []string) {
		t.Helper()
		for len(out) < n {
			e, err := sub.Next(ctx)
			if err != nil {
				t.Fatalf("after %d of %d: %v", len(out), n, err)
			}
			switch e := e.(type) {
			case *chappe.Message:
				out = append(out, string(e.Data))
			case *chappe.Gap:
				t.Fatalf("told lost: %+v", e)
			}
		}
		return out
	}
	live := make(map[string]*chappe.Subscription)
	cursors := make(map[string]string)
	for _, transport := range []string{"ws", "sse", "poll"} {
		sub, err := client("ann", 48.85, transport).Subscribe(ctx, "rides.42", chappe.SubOptions{})
		if err != nil {
			t.Fatal(err)
		}
		live[transport], cursors[transport] = sub, sub.Cursor()
	}
	const n = 150
	var near []string
	for i := range n {
		lat := 48.85 // where ann is
		if i%3 != 0 && i != n-1 {
			lat = 50
		}
		data := fmt.Sprintf(`{"lat":%v,"lon":2.35,"n":%d}`, lat, i)
		if lat == 48.85 {
			near = append(near, data)
		}
		if _, _, err := s.Publish("rides.42", relay.Message{Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	for transport, sub := range live {
		if got := take(sub, len(near)); !slices.Equal(got, near) {
			t.Errorf("%s, live: %q", transport, got)
		}
	}
	calls := func() (n uint64) {
		for _, p := range host.List() {
			for _, v := range p.Versions {
				n += v.Stats.Hooks[2].Calls // subscribe
			}
		}
		return n
	}
	for transport, cursor := range cursors {
		sub, err := client("ann", 48.85, transport).Subscribe(ctx, "rides.42", chappe.SubOptions{Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		if got := take(sub, len(near)); !slices.Equal(got, near) {
			t.Errorf("%s, by cursor: %q", transport, got)
		}
	}
	rewound, err := client("ann", 48.85, "ws").Subscribe(ctx, "rides.*", chappe.SubOptions{Last: n})
	if err != nil {
		t.Fatal(err)
	}
	if got := take(rewound, len(near)); !slices.Equal(got, near) {
		t.Errorf("rewound: %q", got)
	}
	page, err := client("ann", 48.85, "ws").History(ctx, "rides.42", chappe.HistoryOptions{Last: n})
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, m := range page.Messages {
		kept = append(kept, string(m.Data))
	}
	if !slices.Equal(kept, near) {
		t.Errorf("history: %q", kept)
	}
	if calls() == 0 {
		t.Error("the subscribe hook was never asked")
	}
}
