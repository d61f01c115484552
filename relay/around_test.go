package relay

import (
	"slices"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/session"
)

// The window is what the formula in docs/operations.md says.
func TestWindow(t *testing.T) {
	us := func(admission int) Neighbour { return Neighbour{Region: "us", URL: "http://us", Admission: admission} }
	near := func(clients, admission int) Neighbour {
		return Neighbour{Region: "eu", URL: "http://eu2", Clients: clients, Admission: admission}
	}
	for name, c := range map[string]struct {
		clients int
		others  []Neighbour
		want    time.Duration
	}{
		"nobody here":                           {0, nil, 2 * time.Second},
		"they come back here":                   {5000, nil, 5 * time.Second}, // 1,000 a second
		"few":                                   {1000, []Neighbour{us(4000)}, 2 * time.Second},
		"many":                                  {20_000, []Neighbour{us(4000)}, 5 * time.Second},
		"shared by two":                         {20_000, []Neighbour{us(4000), near(0, 4000)}, 5 * time.Second}, // if the region is lost
		"the node alone is lost":                {20_000, []Neighbour{near(0, 4000)}, 5 * time.Second},
		"the region's clients come as well":     {10_000, []Neighbour{us(2000), near(10_000, 2000)}, 10 * time.Second},
		"more than can be":                      {1_000_000, []Neighbour{us(2000)}, 30 * time.Second},
		"who is full takes nobody":              {20_000, []Neighbour{us(4000), us(0)}, 5 * time.Second},
		"who has no URL takes nobody":           {20_000, []Neighbour{us(4000), {Region: "ap", Admission: 4000}}, 5 * time.Second},
		"who is crowded takes nobody":           {20_000, []Neighbour{us(4000), {Region: "ap", URL: "http://ap", Load: 0.95, Admission: 4000}}, 5 * time.Second},
		"nobody takes anybody: they come back":  {5000, []Neighbour{us(0)}, 5 * time.Second},
		"clients of a full neighbour come also": {1000, []Neighbour{us(1000), near(4000, 0)}, 5 * time.Second},
	} {
		cfg := Config{Region: "eu"}
		cfg.Limits.Reconnect = 2 * time.Second
		a := newAround(&cfg)
		a.look(c.others, c.clients, &session.Limits{Reconnect: 2 * time.Second, Admission: 1000})
		if got := a.Window(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	cfg := Config{}
	cfg.Limits.Reconnect = time.Minute
	a := newAround(&cfg)
	a.look([]Neighbour{us(1)}, 1<<20, &session.Limits{Reconnect: time.Minute})
	if a.Window() != time.Minute {
		t.Errorf("less than what is configured: %s", a.Window())
	}
}

// Targets are nodes of the own region first, then others, by chance and weight; no
// node that takes nobody.
func TestTargets(t *testing.T) {
	cfg := Config{Region: "eu"}
	a := newAround(&cfg)
	if got := a.Targets(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	others := []Neighbour{
		{Region: "us", URL: "near", Admission: 2000, RTT: 20 * time.Millisecond},
		{Region: "ap", URL: "far", Admission: 2000, RTT: 180 * time.Millisecond},
		{Region: "eu", URL: "idle", Admission: 2000, Load: 0.1},
		{Region: "eu", URL: "busy", Admission: 2000, Load: 0.7},
		{Region: "eu", URL: "draining"},
		{Region: "eu", URL: "crowded", Admission: 2000, Load: 0.9},
		{Region: "eu", Admission: 2000},
	}
	a.look(others, 0, &session.Limits{})
	const times = 4000
	first, third := map[string]int{}, map[string]int{}
	for range times {
		got := a.Targets()
		if len(got) != 4 || !slices.Contains([]string{"idle", "busy"}, got[0]) || !slices.Contains([]string{"near", "far"}, got[2]) {
			t.Fatalf("%q", got)
		}
		first[got[0]]++
		third[got[2]]++
	}
	// Three to one, and five to one; the chance of less is nothing.
	if first["idle"] < 2*first["busy"] || third["near"] < 4*third["far"] || first["busy"] == 0 || third["far"] == 0 {
		t.Errorf("%v %v", first, third)
	}
	for i := range 2 * targets {
		others = append(others, Neighbour{Region: "us", URL: string(rune('a' + i)), Admission: 1})
	}
	a.look(others, 0, &session.Limits{})
	if got := a.Targets(); len(got) != targets {
		t.Errorf("%d targets", len(got))
	}
	cfg.Alternatives = []string{"far", "unheard"}
	a = newAround(&cfg)
	a.look(others, 0, &session.Limits{})
	if got := a.Targets(); !slices.Equal(got, cfg.Alternatives) {
		t.Errorf("what is configured does not win: %q", got)
	}
	if got := a.others(); len(got) != 2 || got[0].Region != "ap" || *got[0].Load != 0 || got[1].Region != "" || got[1].Load != nil {
		t.Errorf("%+v", got)
	}
}
